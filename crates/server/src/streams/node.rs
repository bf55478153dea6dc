//! What the server asks of a node when a client wants logs, exec, attach or a port: implemented by
//! the node, proxied here.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::{Status, Timestamp};
use coracle_store::Snapshot;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use crate::pipeline::parse::ResourceRef;

/// A byte stream in both directions: a connection to a port of a pod.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The node, as the server sees it. Errors are what the client gets, with upstream's texts.
#[async_trait]
pub trait NodeStreams: Send + Sync {
    /// Chunks of the container's log as text; the channel closes at its end.
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, Status>;

    /// A new process in a container.
    async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        options: ExecOptions,
    ) -> Result<Session, Status>;

    /// The streams of a container's first process.
    async fn attach(
        &self,
        namespace: &str,
        pod: &str,
        options: ExecOptions,
    ) -> Result<Session, Status>;

    /// A connection to `port` on the pod's loopback.
    async fn connect(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<Box<dyn Duplex>, Status>;

    /// What the node called `node` serves of its own at `path`, as a kubelet does: its type, and itself;
    /// 503 when it has no machine here.
    async fn door(&self, node: &str, path: &str) -> Result<(&'static str, Bytes), Status>;

    /// A connection to `port` on the pod's address; with `tls`, whatever certificate it shows.
    async fn reach(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Duplex>, Status>;
}

/// `v1.PodLogOptions`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Empty when the pod has one only.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// The instance before the last restart.
    pub previous: bool,
    /// Prefix lines with RFC 3339 time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// `v1.PodExecOptions` and `v1.PodAttachOptions` (whose command is empty).
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Empty for the default container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the client sends input.
    pub stdin: bool,
    /// Whether the client wants output.
    pub stdout: bool,
    /// Whether the client wants errors apart; never with `tty`.
    pub stderr: bool,
    /// Whether there is a terminal.
    pub tty: bool,
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running exec or attach.
pub struct Session {
    /// Present when asked for; dropping it closes the process's input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Present when asked for.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Present when asked for and there is no terminal.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Present with a terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code, or why there is none.
    pub exit: oneshot::Receiver<Result<i32, String>>,
}

/// A request for streams, with what answers it.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Arc<dyn NodeStreams>,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) resource: &'a ResourceRef,
    /// When it was made.
    pub(crate) now: Timestamp,
    /// True once the server is to stop; streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
}
