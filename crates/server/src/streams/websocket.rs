//! Upgrades to WebSocket (RFC 6455): the handshake, and the connection that comes of it.

use std::future::Future;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::Status;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::edge::response::Response;
use crate::streams::upgrade::{self, has_token, tokens};

pub(crate) use tokio_tungstenite::tungstenite::Message;

/// What a key is hashed with; RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest message taken. Clients send 32 KiB.
const MESSAGE_MAX: usize = 4 << 20;
/// What is read at once.
const BUFFER: usize = 32 << 10;
/// Longest time without a word from us.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long a client may take to hang up once all is said.
pub(crate) const FAREWELL: Duration = Duration::from_secs(30);

/// An upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How a message says which channel it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its first byte.
    Binary,
    /// By its first digit; what follows is base64, in messages of text.
    Base64,
}

impl Framing {
    /// That of the protocol of this name.
    pub(crate) fn of(protocol: &str) -> Self {
        if protocol.contains("base64") { Self::Base64 } else { Self::Binary }
    }

    /// A message with `data` for `channel`.
    pub(crate) fn message(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Self::Binary => Message::Binary([&[channel], data].concat().into()),
            Self::Base64 => {
                let digit = char::from(b'0'.saturating_add(channel));
                Message::text(format!("{digit}{}", STANDARD.encode(data)))
            }
        }
    }

    /// The channel and the data of a message; text is data too, as some clients send it. `None` for
    /// what is neither.
    pub(crate) fn read(self, message: Message) -> Option<Bytes> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        if self == Self::Binary {
            return Some(bytes);
        }
        let (digit, data) = bytes.split_first()?;
        let channel = digit.checked_sub(b'0')?;
        let data = STANDARD.decode(data.trim_ascii()).ok()?;
        Some([&[channel], data.as_slice()].concat().into())
    }
}

/// The other end has gone.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
pub(crate) struct Gone;

/// Answers an upgrade, and runs `serve` on the connection, with the protocol agreed on, until it
/// ends or the server stops. `supported` has the protocols; an empty one is for clients that name
/// none.
///
/// # Errors
/// 400 when the request is no upgrade, 403 when no protocol is shared.
pub(crate) fn upgrade<F>(
    parts: &mut Parts,
    supported: &[&'static str],
    stopping: watch::Receiver<bool>,
    serve: impl FnOnce(Socket, &'static str) -> F + Send + 'static,
) -> Result<Response, Status>
where
    F: Future<Output = ()> + Send,
{
    if !has_token(&parts.headers, &header::UPGRADE, "websocket") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    if !has_token(&parts.headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Status::bad_request("missing or bad WebSocket Version"));
    }
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Status::bad_request("missing or bad Sec-WebSocket-Key"))?;
    let protocol = agree(&parts.headers, supported)?;
    let response = switching(key, protocol).map_err(Status::internal)?;
    upgrade::run(parts, stopping, move |upgraded| async move {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        serve(socket, protocol).await;
    })?;
    Ok(response)
}

/// Whether the client names `protocol` among those it speaks.
pub(crate) fn names(parts: &Parts, protocol: &str) -> bool {
    has_token(&parts.headers, &header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// Whether the client would rather have a WebSocket than a body.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    upgrade::is_asked_for(headers, "websocket")
}

/// The first protocol the client names that is supported.
fn agree(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, Status> {
    let asked: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
    let known = |name: &str| supported.iter().copied().find(|own| *own == name);
    let agreed = match asked.as_slice() {
        [] => known(""),
        asked => asked.iter().find_map(|name| known(name)),
    };
    agreed.ok_or_else(|| {
        let message = format!(
            "requested protocol(s) are not supported: [{}]; supports [{}]",
            asked.join(" "),
            supported.join(" ").trim_end()
        );
        Status::failure(403, "Forbidden", message)
    })
}

fn switching(
    key: &HeaderValue,
    protocol: &'static str,
) -> Result<Response, header::InvalidHeaderValue> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID.as_bytes()].concat());
    let mut response = upgrade::switching("websocket");
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, STANDARD.encode(hash).try_into()?);
    if !protocol.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

/// Sends what is queued until the queue is closed. Pongs that nobody asked for tell a client that
/// pings while nothing is read from it (its pings wait behind its data) that we are there.
///
/// # Errors
/// When the client takes nothing any more.
pub(crate) async fn send_all(
    mut sink: SplitSink<Socket, Message>,
    mut queue: mpsc::Receiver<Message>,
) -> Result<(), Gone> {
    let mut silence = interval(SILENCE_MAX);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    silence.tick().await;
    loop {
        let message = tokio::select! {
            queued = queue.recv() => match queued {
                Some(message) => message,
                None => return Ok(()),
            },
            _ = silence.tick() => Message::Pong(Bytes::new()),
        };
        sink.send(message).await.map_err(|_| Gone)?;
    }
}

/// The end of a conversation that went well.
pub(crate) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_rfc_has_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let response = switching(&key, "v5.channel.k8s.io").unwrap();
        assert_eq!(
            response.headers()[header::SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_text_is_data() {
        for framing in [Framing::Binary, Framing::Base64] {
            let read = framing.read(framing.message(2, b"a\xff")).unwrap();
            assert_eq!(&read[..], b"\x02a\xff");
        }
        let text = |text: &str| Message::text(text.to_owned());
        assert_eq!(&Framing::Binary.read(text("\0ls\n")).unwrap()[..], b"\0ls\n");
        assert_eq!(Framing::Base64.message(1, b"hello"), text("1aGVsbG8="));
        for wrong in ["", "1!", "\u{1}aGVsbG8="] {
            assert_eq!(Framing::Base64.read(text(wrong)), None);
        }
        assert_eq!(Framing::Binary.read(Message::Ping(Bytes::new())), None);
    }

    #[test]
    fn the_client_s_first_choice_that_is_known_is_taken() {
        let agreed = |asked: &[&'static str], supported| {
            let mut headers = HeaderMap::new();
            for value in asked {
                let value = HeaderValue::from_static(value);
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, value);
            }
            agree(&headers, supported).map_err(|status| status.message)
        };
        assert_eq!(agreed(&["v9, b", "a"], &["a", "b"]), Ok("b"));
        assert_eq!(agreed(&[], &["a", ""]), Ok(""));
        assert_eq!(
            agreed(&["c,d"], &["a", "b", ""]),
            Err("requested protocol(s) are not supported: [c d]; supports [a b]".into())
        );
        assert!(agreed(&[], &["a"]).is_err());
    }
}
