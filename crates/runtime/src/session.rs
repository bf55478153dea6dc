//! Streams of a command or of an attached container.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::RuntimeError;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The exit code (128 + signal when a signal ended it), or why there is none.
pub type ExitResult = Result<i32, RuntimeError>;

/// A running command, or a connection to a container's first process.
///
/// Dropping `exit` before it resolves kills an exec's command; it never harms a container that
/// was attached to.
pub struct Session {
    /// Write end of its input; shut down or dropped is end of file.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its output; with a terminal, all of it.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its error output; none with a terminal.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// New sizes of its terminal; none without one.
    pub resize: Option<mpsc::UnboundedSender<TerminalSize>>,
    /// Resolves once: how the command, or the attached container, ended.
    pub exit: oneshot::Receiver<ExitResult>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}
