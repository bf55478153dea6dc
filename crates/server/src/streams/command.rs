//! A process's streams and a client's, whichever protocol that speaks: [`super::remote_command`] has
//! WebSockets, [`super::spdy_command`] SPDY.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coracle_api::Status;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::streams::channels::{self, Input, Outcome, Protocol};
use crate::streams::node::{ExecOptions, NodeStreams, Session, TerminalSize};
use crate::streams::spdy;
use crate::streams::websocket::{FAREWELL, Framing, Gone, Message, goodbye};

/// Bytes of output in a message.
const CHUNK: usize = 32 << 10;
/// Messages that wait for the slower side; whoever makes more waits too.
pub(super) const QUEUE: usize = 8;

/// The streams that a client has opened, by channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streams([Option<u32>; 5]);

impl Streams {
    /// The stream of a channel.
    pub(super) fn id(&self, channel: u8) -> Option<u32> {
        self.0.get(usize::from(channel)).copied().flatten()
    }

    /// The channel that a stream is.
    pub(super) fn channel(&self, stream: u32) -> Option<u8> {
        let index = self.0.iter().position(|id| *id == Some(stream))?;
        u8::try_from(index).ok()
    }

    /// Takes a new stream for what it says that it is.
    ///
    /// # Errors
    /// Why it is nothing.
    pub(super) fn open(&mut self, stream: u32, kind: &str) -> Result<(), String> {
        let channel = match kind {
            "stdin" => channels::STDIN,
            "stdout" => channels::STDOUT,
            "stderr" => channels::STDERR,
            "error" => channels::ERROR,
            "resize" => channels::RESIZE,
            other => return Err(format!("invalid stream type {other:?}")),
        };
        match self.0.get_mut(usize::from(channel)) {
            Some(place @ None) => {
                *place = Some(stream);
                Ok(())
            }
            _ => Err(format!("stream type {kind:?} is there already")),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// What is to be run, or attached to.
pub(super) struct Target {
    pub(super) node: Arc<dyn NodeStreams>,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) attaches: bool,
    pub(super) options: ExecOptions,
}

/// How what is said on a channel is written to the client.
#[derive(Clone, Copy)]
pub(super) enum Wire {
    WebSocket(Framing),
    Spdy(Streams),
}

impl Wire {
    /// A message; nothing when the client has not asked for that channel.
    fn message(self, channel: u8, data: &[u8]) -> Option<Message> {
        match self {
            Self::WebSocket(framing) => Some(framing.message(channel, data)),
            Self::Spdy(streams) => {
                Some(Message::Binary(spdy::data(streams.id(channel)?, false, data)))
            }
        }
    }

    /// The end of a conversation that went well.
    fn goodbye(self) -> Vec<Message> {
        match self {
            Self::WebSocket(_) => vec![goodbye()],
            Self::Spdy(streams) => {
                let channels = [channels::STDOUT, channels::STDERR, channels::ERROR];
                let open = channels.into_iter().filter_map(|channel| streams.id(channel));
                open.map(|id| Message::Binary(spdy::data(id, true, b""))).collect()
            }
        }
    }
}

impl Target {
    async fn start(&self) -> Result<Session, Status> {
        let (namespace, pod, options) = (&self.namespace, &self.pod, self.options.clone());
        match self.attaches {
            true => self.node.attach(namespace, pod, options).await,
            false => self.node.exec(namespace, pod, options).await,
        }
    }

    /// Starts the process, and carries what it and the client say until one of them has gone.
    /// `sending` ends when all that was put into `frames` has been sent.
    pub(super) async fn converse(
        self,
        said: impl Stream<Item = Input> + Unpin,
        frames: mpsc::Sender<Message>,
        protocol: Protocol,
        wire: Wire,
        sending: impl Future<Output = Result<(), Gone>>,
    ) {
        let output = Output { frames, protocol, wire };
        let (stdin, resize, input, speaking) = match self.start().await {
            Ok(Session { stdin, stdout, stderr, resize, exit }) => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let speaking = output.of_session(&self, stdout, stderr, exit);
                (stdin.is_some().then_some(sender), resize, Some((receiver, stdin)), Ok(speaking))
            }
            Err(status) => (None, None, None, Err(output.end(Outcome::Failure(Box::new(status))))),
        };
        let speaking = async {
            match speaking {
                Ok(session) => session.await,
                Err(refusal) => refusal.await,
            }
        };
        let mut listening = pin!(listen(said, stdin, resize));
        let said = tokio::select! {
            () = &mut listening => Err(Gone),
            said = async { tokio::try_join!(sending, speaking) } => said,
            never = feed(input) => match never {},
        };
        // Until the client has hung up, what it still sends is read: a closed socket with unread
        // bytes is reset, and takes with it what the client has not read yet.
        if said.is_ok() && timeout(FAREWELL, listening).await.is_err() {
            tracing::debug!(pod = self.pod, "a client did not hang up");
        }
    }

    /// An exit code as the client is told. Attached clients learn it from the pod.
    fn outcome(&self, exit: Result<i32, String>) -> Outcome {
        match exit {
            Ok(_) if self.attaches => Outcome::Success,
            Ok(0) => Outcome::Success,
            Ok(code) => {
                let command = self.options.command.join(" ");
                let why = format!("error executing command [{command}], exit code {code}");
                Outcome::Exit(code, why)
            }
            Err(error) => {
                let what = match self.attaches {
                    true => "error attaching to container",
                    false => "error executing command in container",
                };
                Outcome::Failure(Box::new(Status::internal(format!("{what}: {error}"))))
            }
        }
    }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// What goes to the client.
struct Output {
    frames: mpsc::Sender<Message>,
    protocol: Protocol,
    wire: Wire,
}

impl Output {
    /// Everything that the process writes, then how it ended.
    async fn of_session(
        self,
        target: &Target,
        stdout: Option<Reader>,
        stderr: Option<Reader>,
        exit: oneshot::Receiver<Result<i32, String>>,
    ) -> Result<(), Gone> {
        if let Wire::WebSocket(_) = self.wire {
            // An empty message on the lowest channel tells the client that it is through.
            let options = &target.options;
            let lowest = match (options.stdout, options.stderr) {
                (true, _) => channels::STDOUT,
                (_, true) => channels::STDERR,
                _ => channels::ERROR,
            };
            self.send(lowest, b"").await?;
        }
        tokio::try_join!(self.copy(channels::STDOUT, stdout), self.copy(channels::STDERR, stderr))?;
        let lost = |_| Err("the session ended without an exit code".to_owned());
        self.end(target.outcome(exit.await.unwrap_or_else(lost))).await
    }

    /// How it ended, and goodbye.
    async fn end(self, outcome: Outcome) -> Result<(), Gone> {
        if let Some(status) = self.protocol.outcome(&outcome) {
            self.send(channels::ERROR, &status).await?;
        }
        for message in self.wire.goodbye() {
            self.frames.send(message).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn send(&self, channel: u8, data: &[u8]) -> Result<(), Gone> {
        let Some(message) = self.wire.message(channel, data) else { return Ok(()) };
        self.frames.send(message).await.map_err(|_| Gone)
    }

    /// Everything from `stream`, as it comes.
    async fn copy(&self, channel: u8, stream: Option<Reader>) -> Result<(), Gone> {
        let Some(mut stream) = stream else { return Ok(()) };
        loop {
            let mut data = BytesMut::with_capacity(CHUNK);
            match stream.read_buf(&mut data).await {
                Ok(0) => return Ok(()),
                Ok(_) => self.send(channel, &data).await?,
                Err(error) => {
                    tracing::debug!(%error, channel, "read from a session");
                    return Ok(());
                }
            }
        }
    }
}

/// Takes what the client says until it is gone. Waits when the process does not take its input.
async fn listen(
    mut said: impl Stream<Item = Input> + Unpin,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    mut resize: Option<mpsc::Sender<TerminalSize>>,
) {
    while let Some(input) = said.next().await {
        match input {
            Input::Stdin(data) => hand(&mut stdin, data).await,
            Input::EndOfStdin => stdin = None,
            Input::Resize(sizes) => {
                for size in sizes {
                    hand(&mut resize, size).await;
                }
            }
            Input::Nothing => {}
        }
    }
}

/// Sends to whoever listens; once nobody does, there is nowhere to send to.
async fn hand<T>(to: &mut Option<mpsc::Sender<T>>, value: T) {
    if let Some(sender) = to
        && sender.send(value).await.is_err()
    {
        *to = None;
    }
}

/// Writes the client's input to the process, and closes it at its end.
async fn feed(input: Option<(mpsc::Receiver<Bytes>, Option<Writer>)>) -> Infallible {
    if let Some((mut chunks, Some(mut stdin))) = input {
        while let Some(chunk) = chunks.recv().await {
            let written = async { stdin.write_all(&chunk).await.and(stdin.flush().await) };
            if let Err(error) = written.await {
                tracing::debug!(%error, "a process takes no more input");
                break;
            }
        }
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_one_stream() {
        let mut streams = Streams::default();
        for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")] {
            streams.open(stream, kind).unwrap();
        }
        assert!(streams.open(9, "stdin").is_err());
        assert!(streams.open(11, "nonsense").is_err());
        assert_eq!(streams.count(), 4);
        assert_eq!(streams.id(channels::STDOUT), Some(5));
        assert_eq!(streams.id(channels::STDERR), None);
        assert_eq!(streams.channel(7), Some(channels::RESIZE));
        assert_eq!(streams.channel(9), None);
    }
}
