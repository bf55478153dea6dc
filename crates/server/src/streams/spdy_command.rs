//! exec and attach over SPDY: the client opens a stream for each channel and says with a header which
//! it is, then the session begins.
//!
//! What a client may have us keep is bounded: five streams, headers as [`super::spdy`] takes them, and
//! a line of a terminal's size (as with the floods of CVE-2019-9512 to CVE-2019-9518, and of
//! CVE-2023-44487, in what came after SPDY).

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::split;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::streams::channels::{self, Input, Protocol, sizes};
use crate::streams::command::{QUEUE, Streams, Target, Wire};
use crate::streams::spdy::{self, Decoder, Encoder, Frame, SpdyError};
use crate::streams::spdy_upgrade::{self, Connection};
use crate::streams::websocket::{Gone, Message};

/// The protocols, by the names that clients ask for; the last is also for those that name none.
pub(super) const PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// How long a client may take to open its streams, as upstream.
const OPENS_WITHIN: Duration = Duration::from_secs(30);
/// A terminal's size takes less.
const SIZE_MAX: usize = 1 << 10;

type Arriving = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What the client says, frame by frame.
struct Reader {
    arriving: Arriving,
    decoder: Decoder,
    encoder: Encoder,
    /// It ends with the session, whoever still listens.
    frames: mpsc::WeakSender<Message>,
    streams: Streams,
    /// A terminal's sizes that are not through yet.
    line: Vec<u8>,
}

/// Why a session did not begin.
#[derive(Debug, thiserror::Error)]
enum NoSession {
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Serves one client.
pub(super) async fn run(target: Target, connection: Connection, protocol: &'static str) {
    let (reader, writer) = split(connection);
    let (frames, queue) = mpsc::channel(QUEUE);
    let sending = spdy_upgrade::send_all(writer, queue);
    let serving = async {
        let mut reader = Reader {
            arriving: Box::pin(spdy_upgrade::bytes(reader)),
            decoder: Decoder::new(),
            encoder: Encoder::new()?,
            frames: frames.downgrade(),
            streams: Streams::default(),
            line: Vec::new(),
        };
        let wanted = wanted(&target, protocol);
        match timeout(OPENS_WITHIN, reader.open(wanted)).await {
            Ok(opened) => opened.map(|()| reader),
            Err(_) => {
                tracing::debug!("a client did not open its streams");
                Err(NoSession::Gone(Gone))
            }
        }
    };
    let mut sending = std::pin::pin!(sending);
    let reader = tokio::select! {
        reader = serving => match reader {
            Ok(reader) => reader,
            Err(error) => return tracing::debug!(%error, "a session over SPDY"),
        },
        _ = &mut sending => return,
    };
    let wire = Wire::Spdy(reader.streams);
    let said = reader.inputs();
    target.converse(Box::pin(said), frames, Protocol::named(protocol), wire, sending).await;
}

/// How many streams the client opens.
fn wanted(target: &Target, protocol: &str) -> usize {
    let options = &target.options;
    let resizes = options.tty && matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let all = [true, options.stdin, options.stdout, options.stderr, resizes];
    all.into_iter().filter(|it| *it).count()
}

impl Reader {
    /// Takes the streams that the client opens, until there are as many as it `wants`.
    async fn open(&mut self, wanted: usize) -> Result<(), NoSession> {
        while self.streams.count() < wanted {
            match self.decoder.next()? {
                Some(frame) => drop(self.take(frame).await?),
                None => match self.arriving.next().await {
                    Some(bytes) => self.decoder.push(&bytes),
                    None => return Err(Gone.into()),
                },
            }
        }
        Ok(())
    }

    /// What the client says from then on.
    fn inputs(self) -> impl Stream<Item = Input> {
        stream::unfold((self, VecDeque::new()), async |(mut reader, mut said)| {
            loop {
                if let Some(input) = said.pop_front() {
                    return Some((input, (reader, said)));
                }
                match reader.decoder.next() {
                    Ok(Some(frame)) => said.extend(reader.take(frame).await.ok()?),
                    Ok(None) => reader.decoder.push(&reader.arriving.next().await?),
                    Err(error) => {
                        tracing::debug!(%error, "a client speaks no SPDY");
                        return None;
                    }
                }
            }
        })
    }

    /// What a frame says of the session.
    async fn take(&mut self, frame: Frame) -> Result<Vec<Input>, NoSession> {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let opened = self.streams.open(stream, headers.get("streamtype"));
                let reply = match &opened {
                    Ok(()) => self.encoder.syn_reply(stream)?,
                    Err(_) => spdy::reset(stream),
                };
                self.send(reply).await?;
                Ok(self.ended(stream, fin && opened.is_ok()))
            }
            Frame::Data { stream, fin, data } => {
                let mut inputs = match self.streams.channel(stream) {
                    Some(channels::STDIN) if !data.is_empty() => vec![Input::Stdin(data)],
                    Some(channels::RESIZE) => self.resized(&data),
                    _ => Vec::new(),
                };
                inputs.extend(self.ended(stream, fin));
                Ok(inputs)
            }
            Frame::Reset { stream } => Ok(self.ended(stream, true)),
            Frame::Ping { id } => {
                self.send(spdy::ping(id)).await?;
                Ok(Vec::new())
            }
        }
    }

    fn ended(&self, stream: u32, fin: bool) -> Vec<Input> {
        let is_stdin = self.streams.channel(stream) == Some(channels::STDIN);
        if fin && is_stdin { vec![Input::EndOfStdin] } else { Vec::new() }
    }

    /// Sizes come in lines, which may be cut.
    fn resized(&mut self, data: &[u8]) -> Vec<Input> {
        self.line.extend_from_slice(data);
        let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') else {
            self.line.truncate(SIZE_MAX);
            return Vec::new();
        };
        let whole: Vec<u8> = self.line.drain(..=end).collect();
        vec![Input::Resize(sizes(&whole))]
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), Gone> {
        let frames = self.frames.upgrade().ok_or(Gone)?;
        frames.send(Message::Binary(frame)).await.map_err(|_| Gone)
    }
}
