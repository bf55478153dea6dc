//! `pods/portforward`: connections to a pod's ports, as streams of SPDY, inside a WebSocket as
//! kubectl asks for them, or without one as it did before; others are served by [`port_channels`].
//!
//! For each connection the client opens two streams with one `requestid`: one for errors, which we
//! close at the end, with or without words, and one for the bytes themselves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Status;
use futures_util::stream::SplitStream;
use futures_util::{Stream, StreamExt, future};
use http::request::Parts;
use tokio::io;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::edge::response::Response;
use crate::pipeline::parse::Query;
use crate::streams::forwarding::{INPUT, QUEUE, Target, from_pod, to_pod};
use crate::streams::node::Call;
use crate::streams::spdy::{self, Decoder, Encoder, Frame, Headers, SpdyError};
use crate::streams::websocket::{self, Framing, Gone, Message, Socket, send_all};
use crate::streams::{pods, port_channels, spdy_upgrade};

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// Without a WebSocket around it.
const PLAIN: &str = "portforward.k8s.io";
/// Streams that a client may have open at once. Who opens more is refused them: nothing else bounds
/// what one client has us keep (as with CVE-2023-44487 in what came after SPDY).
const STREAMS_MAX: usize = 2048;

/// Answers `pods/portforward`.
///
/// # Errors
/// 404 without the pod, 400 when it does not run or when the request is no upgrade.
pub(crate) fn serve(call: Call<'_>, query: &Query, parts: &mut Parts) -> Result<Response, Status> {
    let pod = pods::placed(call.snapshot, call.resource)?;
    let phase = pod.str_at("/status/phase").unwrap_or_default();
    if phase != "Running" {
        let why = "unable to forward port because pod is not running";
        return Err(Status::bad_request(format!("{why}. Current status={phase}")));
    }
    let target = Arc::new(Target {
        node: Arc::clone(call.node),
        namespace: call.resource.namespace.clone(),
        pod: call.resource.name.clone(),
        uid: pod.metadata().uid.clone(),
    });
    if spdy_upgrade::is_asked_for(&parts.headers) {
        return spdy_upgrade::upgrade(parts, &[PLAIN], call.stopping, |connection, _| async move {
            let (reader, writer) = io::split(connection);
            let (frames, queue) = mpsc::channel(QUEUE);
            let sending = spdy_upgrade::send_all(writer, queue);
            run(spdy_upgrade::bytes(reader), frames, sending, target).await;
        });
    }
    // Only who opens a channel for each port says at once which they are.
    let known: Vec<&'static str> = [PROTOCOL].into_iter().chain(port_channels::PROTOCOLS).collect();
    let known = if websocket::names(parts, PROTOCOL) { &known[..1] } else { &known[1..] };
    if known == [PROTOCOL] {
        return websocket::upgrade(parts, known, call.stopping, |socket, _| async move {
            let (sink, source) = socket.split();
            let (frames, queue) = mpsc::channel(QUEUE);
            run(bytes(source), frames, send_all(sink, queue), target).await;
        });
    }
    let ports = match websocket::is_asked_for(&parts.headers) {
        true => port_channels::ports(query)?,
        false => Vec::new(),
    };
    websocket::upgrade(parts, known, call.stopping, |socket, name| {
        port_channels::run(socket, Framing::of(name), target, ports)
    })
}

async fn run(
    arriving: impl Stream<Item = Bytes>,
    frames: mpsc::Sender<Message>,
    sending: impl Future<Output = Result<(), Gone>>,
    target: Arc<Target>,
) {
    let serving = async {
        let mut session = Session::new(target, frames)?;
        session.serve(arriving).await
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%error, "a session of port-forward ended");
        },
        Err(gone) = sending => tracing::debug!(%gone, "port-forward"),
    }
}

/// What the messages carry: where they begin and end means nothing.
fn bytes(source: SplitStream<Socket>) -> impl Stream<Item = Bytes> {
    let messages = source.take_while(|message| future::ready(message.is_ok()));
    messages.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(bytes),
            _ => None,
        })
    })
}

/// Why a session ended before the client closed it.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A stream with bytes for a pod. Once dropped, its connection ends.
struct Open {
    /// Gone once the client has said all.
    input: Option<mpsc::Sender<Bytes>>,
    /// Ends the connection when it is dropped.
    _reset: oneshot::Sender<Infallible>,
}

/// The other ends, until both streams of a request are there.
#[derive(Default)]
struct Request {
    error: Option<u32>,
    data: Option<Data>,
}

struct Data {
    stream: u32,
    port: u16,
    input: mpsc::Receiver<Bytes>,
    reset: oneshot::Receiver<Infallible>,
}

/// What a stream is for.
#[derive(Debug, PartialEq, Eq)]
enum Purpose {
    Error,
    Data(u16),
}

/// One client, with as many connections as it likes.
struct Session {
    target: Arc<Target>,
    frames: mpsc::Sender<Message>,
    encoder: Encoder,
    requests: HashMap<String, Request>,
    open: HashMap<u32, Open>,
    /// Connections, which give the id of their stream when they end.
    running: JoinSet<u32>,
}

impl Session {
    fn new(target: Arc<Target>, frames: mpsc::Sender<Message>) -> Result<Self, SpdyError> {
        Ok(Self {
            target,
            frames,
            encoder: Encoder::new()?,
            requests: HashMap::new(),
            open: HashMap::new(),
            running: JoinSet::new(),
        })
    }

    async fn serve(&mut self, bytes: impl Stream<Item = Bytes>) -> Result<(), SessionError> {
        let (mut decoder, mut bytes) = (Decoder::new(), std::pin::pin!(bytes));
        loop {
            tokio::select! {
                arrived = bytes.next() => {
                    let Some(arrived) = arrived else { return Ok(()) };
                    decoder.push(&arrived);
                    while let Some(frame) = decoder.next()? {
                        self.take(frame).await?;
                    }
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok(stream) => drop(self.open.remove(&stream)),
                    Err(error) => tracing::error!(%error, "a forwarded connection"),
                },
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SessionError> {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let reply = match self.accept(stream, fin, &headers) {
                    Ok(()) => self.encoder.syn_reply(stream)?,
                    Err(why) => {
                        tracing::debug!(%why, stream, "a stream was refused");
                        spdy::reset(stream)
                    }
                };
                self.send(reply).await?;
                self.pair(&headers, stream);
            }
            Frame::Data { stream, fin, data } => {
                let input = self.open.get_mut(&stream).and_then(|open| open.input.take());
                if let Some(input) = input {
                    self.feed(stream, input, fin, data).await;
                }
            }
            Frame::Reset { stream } => drop(self.open.remove(&stream)),
            Frame::Ping { id } => self.send(spdy::ping(id)).await?,
        }
        Ok(())
    }

    /// Hands bytes on; waits while the pod has not taken earlier ones.
    async fn feed(&mut self, stream: u32, input: mpsc::Sender<Bytes>, fin: bool, data: Bytes) {
        let taken = data.is_empty() || input.send(data).await.is_ok();
        if let Some(open) = self.open.get_mut(&stream).filter(|_| taken && !fin) {
            open.input = Some(input);
        }
    }

    async fn send(&self, frame: Bytes) -> Result<(), Gone> {
        self.frames.send(Message::Binary(frame)).await.map_err(|_| Gone)
    }

    /// Notes a stream of a request.
    fn accept(&mut self, stream: u32, fin: bool, headers: &Headers) -> Result<(), String> {
        let purpose = purpose(headers)?;
        if self.open.len().max(self.requests.len()) >= STREAMS_MAX {
            return Err("too many streams are open".into());
        }
        let request = self.requests.entry(request_id(headers, stream)).or_default();
        match purpose {
            Purpose::Error if request.error.is_some() => {
                Err("error stream already assigned".into())
            }
            Purpose::Data(_) if request.data.is_some() => {
                Err("data stream already assigned".into())
            }
            Purpose::Error => {
                request.error = Some(stream);
                Ok(())
            }
            Purpose::Data(port) => {
                let (sender, input) = mpsc::channel(INPUT);
                let (_reset, reset) = oneshot::channel();
                request.data = Some(Data { stream, port, input, reset });
                self.open.insert(stream, Open { input: (!fin).then_some(sender), _reset });
                Ok(())
            }
        }
    }

    /// Connects once both streams of the request are there.
    fn pair(&mut self, headers: &Headers, stream: u32) {
        let id = request_id(headers, stream);
        match self.requests.remove(&id) {
            Some(Request { error: Some(error), data: Some(data) }) => {
                let (target, frames) = (Arc::clone(&self.target), self.frames.clone());
                self.running.spawn(async move {
                    let stream = data.stream;
                    if target.forward(error, data, &frames).await.is_err() {
                        tracing::debug!(stream, "the client went before its connection");
                    }
                    stream
                });
            }
            Some(half) => drop(self.requests.insert(id, half)),
            None => {}
        }
    }
}

/// What the headers of a stream say it is for, or why it is for nothing.
fn purpose(headers: &Headers) -> Result<Purpose, String> {
    let port = match headers.get("port") {
        "" => return Err("\"port\" header is required".into()),
        text => text.parse().map_err(|_| format!("unable to parse \"{text}\" as a port"))?,
    };
    match headers.get("streamtype") {
        _ if port == 0 => Err("port \"0\" must be > 0".into()),
        "" => Err("\"streamtype\" header is required".into()),
        "error" => Ok(Purpose::Error),
        "data" => Ok(Purpose::Data(port)),
        other => Err(format!("invalid stream type \"{other}\"")),
    }
}

/// Old clients name no request: they open the stream for data right after the one for errors.
fn request_id(headers: &Headers, stream: u32) -> String {
    match (headers.get("requestid"), headers.get("streamtype")) {
        ("", "data") => format!("stream {}", stream.wrapping_sub(2)),
        ("", _) => format!("stream {stream}"),
        (id, _) => id.to_owned(),
    }
}

impl Target {
    /// One connection, from beginning to end.
    async fn forward(
        &self,
        error: u32,
        data: Data,
        frames: &mpsc::Sender<Message>,
    ) -> Result<(), Gone> {
        let Data { stream, port, input, reset } = data;
        let send = async |frame| frames.send(Message::Binary(frame)).await.map_err(|_| Gone);
        let outcome = tokio::select! {
            outcome = self.carry(stream, port, input, frames) => outcome?,
            _ = reset => Ok(()),
        };
        if let Err(status) = outcome {
            let text = self.failure(port, &status);
            send(spdy::data(error, false, text.as_bytes())).await?;
        }
        send(spdy::data(stream, true, b"")).await?;
        send(spdy::data(error, true, b"")).await
    }

    /// Connects, and carries bytes both ways until the pod has said all.
    async fn carry(
        &self,
        stream: u32,
        port: u16,
        input: mpsc::Receiver<Bytes>,
        frames: &mpsc::Sender<Message>,
    ) -> Result<Result<(), Status>, Gone> {
        let (reader, writer) = match self.connect(port).await {
            Ok(connection) => io::split(connection),
            Err(status) => return Ok(Err(status)),
        };
        let wrap = |data: &[u8]| Message::Binary(spdy::data(stream, false, data));
        tokio::select! {
            ended = from_pod(reader, wrap, frames) => ended?,
            never = to_pod(writer, input) => match never {},
        }
        Ok(Ok(()))
    }
}
