//! `pods/exec` and `pods/attach`: the streams of a process, over a WebSocket.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coracle_api::Status;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::edge::response::Response;
use crate::pipeline::parse::Query;
use crate::streams::channels::{self, Input, Outcome, Protocol};
use crate::streams::node::{Call, ExecOptions, NodeStreams, Session, TerminalSize};
use crate::streams::pods;
use crate::streams::websocket::{
    self, FAREWELL, Framing, Gone, Message, Socket, goodbye, send_all,
};

/// Bytes of output in a message.
const CHUNK: usize = 32 << 10;
/// Messages that wait for the slower side; whoever makes more waits too.
const QUEUE: usize = 8;

/// Answers `pods/exec` and `pods/attach`. What goes wrong after the upgrade is said on the error
/// channel.
///
/// # Errors
/// 404 without the pod, 400 for options that do not fit or when it is no upgrade.
pub(crate) fn serve(call: Call<'_>, query: &Query, parts: &mut Parts) -> Result<Response, Status> {
    let object = pods::find(call.snapshot, call.resource)?;
    let mut options = options(query);
    options.container = pods::container(object, &options.container)?;
    pods::placed(call.snapshot, call.resource)?;
    if !options.stdin && !options.stdout && !options.stderr {
        let why = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Status::bad_request(why));
    }
    let target = Target {
        node: Arc::clone(call.node),
        namespace: call.resource.namespace.clone(),
        pod: call.resource.name.clone(),
        attaches: call.resource.subresource == "attach",
        options,
    };
    websocket::upgrade(parts, &channels::PROTOCOLS, call.stopping, |socket, name| {
        target.run(socket, Protocol::named(name), Framing::of(name))
    })
}

fn options(query: &Query) -> ExecOptions {
    let tty = query.flag("tty");
    ExecOptions {
        container: query.get("container").to_owned(),
        command: query.all("command").map(str::to_owned).collect(),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal is one stream.
        stderr: query.flag("stderr") && !tty,
        tty,
    }
}

/// What is to be run, or attached to.
struct Target {
    node: Arc<dyn NodeStreams>,
    namespace: String,
    pod: String,
    attaches: bool,
    options: ExecOptions,
}

impl Target {
    async fn start(&self) -> Result<Session, Status> {
        let (namespace, pod, options) = (&self.namespace, &self.pod, self.options.clone());
        match self.attaches {
            true => self.node.attach(namespace, pod, options).await,
            false => self.node.exec(namespace, pod, options).await,
        }
    }

    async fn run(self, socket: Socket, protocol: Protocol, framing: Framing) {
        let (sink, source) = socket.split();
        let (frames, queue) = mpsc::channel(QUEUE);
        let output = Output { frames, protocol, framing };
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
        let mut listening = pin!(listen(source, protocol, framing, stdin, resize));
        let said = tokio::select! {
            () = &mut listening => Err(Gone),
            said = async { tokio::try_join!(send_all(sink, queue), speaking) } => said,
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
    framing: Framing,
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
        // An empty message on the lowest channel tells the client that it is through.
        let options = &target.options;
        let lowest = match (options.stdout, options.stderr) {
            (true, _) => channels::STDOUT,
            (_, true) => channels::STDERR,
            _ => channels::ERROR,
        };
        self.send(lowest, b"").await?;
        tokio::try_join!(self.copy(channels::STDOUT, stdout), self.copy(channels::STDERR, stderr))?;
        let lost = |_| Err("the session ended without an exit code".to_owned());
        self.end(target.outcome(exit.await.unwrap_or_else(lost))).await
    }

    /// How it ended, and goodbye.
    async fn end(self, outcome: Outcome) -> Result<(), Gone> {
        if let Some(status) = self.protocol.outcome(&outcome) {
            self.send(channels::ERROR, &status).await?;
        }
        self.frames.send(goodbye()).await.map_err(|_| Gone)
    }

    async fn send(&self, channel: u8, data: &[u8]) -> Result<(), Gone> {
        self.frames.send(self.framing.message(channel, data)).await.map_err(|_| Gone)
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
    mut source: SplitStream<Socket>,
    protocol: Protocol,
    framing: Framing,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    mut resize: Option<mpsc::Sender<TerminalSize>>,
) {
    while let Some(Ok(message)) = source.next().await {
        let Some(message) = framing.read(message) else { continue };
        match protocol.input(&message) {
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
