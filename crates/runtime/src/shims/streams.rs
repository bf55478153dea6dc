//! Descriptors that came from a shim, as a [`Session`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use crate::protocol::Reply;
use crate::{ExitResult, RuntimeError, Session, TerminalSize, sys};

/// Makes a session of a shim's answer; `stdin`: whether the caller wants to write to a terminal.
pub fn session(
    mut client: Client,
    pod_uid: &str,
    reply: &Reply,
    stdin: bool,
) -> io::Result<Session> {
    let Reply::Session { stdin: has_stdin, stdout, stderr, terminal } = *reply else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no session"));
    };
    let mut take = |is_there: bool| -> io::Result<Option<OwnedFd>> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing");
        is_there.then(|| client.descriptors.pop_front().ok_or_else(missing)).transpose()
    };
    let (input, output, errors, terminal) =
        (take(has_stdin)?, take(stdout)?, take(stderr)?, take(terminal)?);

    let mut session_input = input.map(writer).transpose()?;
    let mut session_output = output.map(reader).transpose()?;
    let session_errors = errors.map(reader).transpose()?;
    let mut resize = None;
    if let Some(terminal) = terminal {
        if stdin {
            session_input = Some(writer(terminal.try_clone()?)?);
        }
        // A command's terminal is read directly; an attached container's through the shim.
        if session_output.is_none() {
            session_output = Some(reader(terminal.try_clone()?)?);
        }
        resize = Some(resizer(terminal));
    }
    let (sender, exit) = oneshot::channel();
    tokio::spawn(wait(client, pod_uid.to_owned(), sender));
    Ok(Session {
        stdin: session_input.map(|pipe| Box::new(pipe) as _),
        stdout: session_output.map(|pipe| Box::new(pipe) as _),
        stderr: session_errors.map(|pipe| Box::new(pipe) as _),
        resize,
        exit,
    })
}

/// Passes on how it ended. When nobody wants to know any more the connection is dropped, and the
/// shim kills the command.
async fn wait(mut client: Client, pod_uid: String, mut sender: oneshot::Sender<ExitResult>) {
    let result = tokio::select! {
        reply = client.receive() => match reply {
            Ok(Reply::Exit(code)) => Ok(code),
            Ok(Reply::Error(failure)) => Err(failure.into()),
            _ => Err(RuntimeError::SandboxLost(pod_uid)),
        },
        () = sender.closed() => return,
    };
    // The receiver may have been dropped just now; then nobody wants to know.
    drop(sender.send(result));
}

fn resizer(terminal: OwnedFd) -> mpsc::UnboundedSender<TerminalSize> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(size) = receiver.recv().await {
            if let Err(error) = sys::set_terminal_size(terminal.as_fd(), size) {
                tracing::debug!(%error, "cannot resize a terminal");
            }
        }
    });
    sender
}

fn writer(fd: OwnedFd) -> io::Result<pipe::Sender> {
    sys::set_nonblocking(fd.as_fd())?;
    pipe::Sender::from_owned_fd_unchecked(fd)
}

fn reader(fd: OwnedFd) -> io::Result<Reader> {
    sys::set_nonblocking(fd.as_fd())?;
    Ok(Reader(pipe::Receiver::from_owned_fd_unchecked(fd)?))
}

/// A pipe, or a terminal, which says EIO where a pipe would end.
struct Reader(pipe::Receiver);

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, buffer) {
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}
