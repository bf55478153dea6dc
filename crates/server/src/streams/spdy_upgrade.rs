//! Upgrades to SPDY/3.1, which clients speak that are older than WebSockets in them, or told to.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use coracle_api::Status;
use futures_util::{Stream, stream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

use crate::edge::response::Response;
use crate::streams::upgrade;
use crate::streams::websocket::{Gone, Message};

const SPDY: &str = "SPDY/3.1";
/// How clients name the protocols that they would speak over it.
const VERSIONS: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What is read at once.
const CHUNK: usize = 32 << 10;

/// An upgraded connection.
pub(crate) type Connection = TokioIo<Upgraded>;

/// Whether the client would rather speak SPDY.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    upgrade::is_asked_for(headers, SPDY)
}

/// Answers an upgrade, and runs `serve` on the connection, with the protocol agreed on: the first
/// of the client's that is `supported`, or an empty one for clients that name none.
///
/// # Errors
/// 403 when no protocol is shared, in upstream's words.
pub(crate) fn upgrade<F>(
    parts: &mut Parts,
    supported: &[&'static str],
    stopping: watch::Receiver<bool>,
    serve: impl FnOnce(Connection, &'static str) -> F + Send + 'static,
) -> Result<Response, Status>
where
    F: Future<Output = ()> + Send,
{
    let protocol = agree(&parts.headers, supported)?;
    let mut response = upgrade::switching(SPDY);
    if !protocol.is_empty() {
        response.headers_mut().insert(VERSIONS, HeaderValue::from_static(protocol));
    }
    upgrade::run(parts, stopping, move |connection| serve(connection, protocol))?;
    Ok(response)
}

fn agree(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, Status> {
    let asked: Vec<&str> = upgrade::tokens(headers, &VERSIONS).collect();
    if asked.is_empty() {
        return Ok("");
    }
    let known = |name: &&str| supported.iter().copied().find(|own| own == name);
    asked.iter().find_map(known).ok_or_else(|| {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            asked.join(" "),
            supported.join(" ")
        );
        Status::failure(403, "Forbidden", why)
    })
}

/// What arrives, until the client has said all.
pub(crate) fn bytes(reader: ReadHalf<Connection>) -> impl Stream<Item = Bytes> {
    stream::unfold(reader, async |mut reader| {
        let mut data = BytesMut::with_capacity(CHUNK);
        match reader.read_buf(&mut data).await {
            Ok(1..) => Some((data.freeze(), reader)),
            Ok(0) | Err(_) => None,
        }
    })
}

/// Sends the frames that are queued until the queue is closed.
///
/// # Errors
/// When the client takes nothing any more.
pub(crate) async fn send_all(
    mut writer: WriteHalf<Connection>,
    mut queue: mpsc::Receiver<Message>,
) -> Result<(), Gone> {
    while let Some(frame) = queue.recv().await {
        let Message::Binary(frame) = frame else { continue };
        writer.write_all(&frame).await.map_err(|_| Gone)?;
        if queue.is_empty() {
            writer.flush().await.map_err(|_| Gone)?;
        }
    }
    writer.flush().await.map_err(|_| Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_first_choice_that_is_known_is_taken() {
        let agreed = |asked: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in asked {
                headers.append(VERSIONS, HeaderValue::from_static(value));
            }
            agree(&headers, &["v4", "v3"]).map_err(|status| (status.code, status.message))
        };
        assert_eq!(agreed(&["v5", "v3", "v4"]), Ok("v3"));
        assert_eq!(agreed(&[]), Ok(""));
        let why = "unable to upgrade: unable to negotiate protocol: client supports [v5 v6], server \
                   accepts [v4 v3]";
        assert_eq!(agreed(&["v5, v6"]), Err((403, why.to_owned())));
    }
}
