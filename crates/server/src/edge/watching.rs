//! A watch as a response: a line an event, or a message over a WebSocket.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Status;
use futures_util::stream::{self, Stream, StreamExt};
use http::request::Parts;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::Api;
use crate::edge::connections::stopped;
use crate::edge::negotiate::Form;
use crate::edge::render::Rendering;
use crate::edge::response::{Response, streamed, warn};
use crate::pipeline::request::Request;
use crate::pipeline::watch::Frame;
use crate::streams::websocket::{self, Gone, Message, Socket, goodbye, send_all};

/// Events of a watch over a WebSocket that wait for the client.
const EVENTS_WAITING: usize = 8;

/// Answers a watch.
///
/// # Errors
/// As the watch is opened, or the upgrade refused.
pub(crate) fn watched(
    api: &Api,
    request: Request,
    rendering: &Rendering<'_>,
    mut stopping: watch::Receiver<bool>,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let watch = api.watch(&request)?;
    let (kind, form, include) = (request.kind, rendering.form, rendering.include);
    let deprecation: Vec<_> = kind.deprecation.iter().map(ToString::to_string).collect();
    let (api, media_type) = (api.clone(), Form::JSON.encoding.media_type());
    let lines = stream::unfold((Some(watch), true), move |(watch, is_first)| {
        let (api, kind) = (api.clone(), Arc::clone(&kind));
        async move {
            let mut watch = watch?;
            let frame = api.shown(&kind, watch.next().await?).await;
            let goes_on = !matches!(frame, Frame::Error(_));
            let now = api.source().now();
            let rendering = Rendering { kind: &kind, form, include, now };
            let line = rendering.frame(&frame, is_first).ok()?;
            Some((line, (goes_on.then_some(watch), false)))
        }
    });
    if websocket::is_asked_for(&parts.headers) {
        return websocket::upgrade(parts, &["", "binary.k8s.io"], stopping, |socket, protocol| {
            events(socket, protocol == "binary.k8s.io", lines)
        });
    }
    let lines = lines.take_until(async move { stopped(&mut stopping).await });
    let mut response = streamed(media_type, lines);
    warn(response.headers_mut(), &deprecation);
    Ok(response)
}

/// Sends each line of a watch as a message, until the client has gone or the watch is over.
async fn events(socket: Socket, is_binary: bool, lines: impl Stream<Item = Bytes>) {
    let (sink, source) = socket.split();
    let (frames, queue) = mpsc::channel(EVENTS_WAITING);
    let telling = async move {
        let mut lines = std::pin::pin!(lines);
        while let Some(line) = lines.next().await {
            let message = match is_binary {
                true => Message::Binary(line),
                false => Message::text(String::from_utf8_lossy(&line).into_owned()),
            };
            frames.send(message).await.map_err(|_| Gone)?;
        }
        frames.send(goodbye()).await.map_err(|_| Gone)
    };
    // What a client says is of no concern, only when it goes.
    let mut listening = source.take_while(|heard| std::future::ready(heard.is_ok())).count();
    tokio::select! {
        _ = &mut listening => {}
        told = async { tokio::try_join!(send_all(sink, queue), telling) } => {
            if told.is_ok() && timeout(websocket::FAREWELL, listening).await.is_err() {
                tracing::debug!("a watcher did not hang up");
            }
        }
    }
}
