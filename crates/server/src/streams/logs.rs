//! `pods/log`: text as the container wrote it, as a body or over a WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::time::after;
use coracle_api::{FieldError, Status, Timestamp};
use futures_util::{StreamExt, stream};
use http::request::Parts;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::edge::response::{Response, full, streamed};
use crate::pipeline::parse::Query;
use crate::streams::node::{Call, LogOptions};
use crate::streams::pods;
use crate::streams::websocket::{self, FAREWELL, Gone, Message, Socket, goodbye, send_all};

/// In messages of text, for clients that can take nothing else.
const ENCODED: &str = "base64.binary.k8s.io";
/// The protocols, by the names that clients ask for; the last is for those that name none.
const PROTOCOLS: [&str; 3] = ["binary.k8s.io", ENCODED, ""];
/// Messages that wait for the client.
const QUEUE: usize = 8;

/// Answers `pods/log`.
///
/// # Errors
/// 404 without the pod, 400 for options that do not fit, and what the node says.
pub(crate) async fn serve(
    call: Call<'_>,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    of_container(call, query.get("container"), query, parts).await
}

/// The same of the container called `name`, whatever the query says.
pub(super) async fn of_container(
    call: Call<'_>,
    name: &str,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let (mut options, errors) = options(query, call.now)?;
    if !errors.is_empty() {
        return Err(Status::invalid_of("", "PodLogOptions", &call.resource.name, &errors));
    }
    let object = pods::find(call.snapshot, call.resource)?;
    options.container = pods::container(object, name)?;
    if pods::placed(call.snapshot, call.resource).is_err() {
        // What no node has, has said nothing yet.
        return Ok(full(204, "text/plain", Bytes::new()));
    }
    let chunks = call.node.logs(&call.resource.namespace, &call.resource.name, options).await?;
    if websocket::is_asked_for(&parts.headers) {
        return websocket::upgrade(parts, &PROTOCOLS, call.stopping, |socket, protocol| {
            tell(socket, protocol, chunks)
        });
    }
    let chunks =
        stream::unfold(chunks, async |mut chunks| chunks.recv().await.map(|chunk| (chunk, chunks)));
    Ok(streamed("text/plain", chunks))
}

/// Sends `chunks` as they come. The first message is empty, as upstream's: it says that the log is
/// there, however long it stays silent.
async fn tell(socket: Socket, protocol: &'static str, mut chunks: mpsc::Receiver<Bytes>) {
    let message = |chunk: Bytes| match protocol {
        ENCODED => Message::text(STANDARD.encode(chunk)),
        _ => Message::Binary(chunk),
    };
    let (sink, source) = socket.split();
    let (frames, queue) = mpsc::channel(QUEUE);
    let telling = async move {
        let mut next = Some(Bytes::new());
        while let Some(chunk) = next {
            frames.send(message(chunk)).await.map_err(|_| Gone)?;
            next = chunks.recv().await;
        }
        frames.send(goodbye()).await.map_err(|_| Gone)
    };
    // What a client says is of no concern, only when it goes.
    let mut listening = source.take_while(|heard| std::future::ready(heard.is_ok())).count();
    let said = tokio::select! {
        _ = &mut listening => Err(Gone),
        said = async { tokio::try_join!(send_all(sink, queue), telling) } => said,
    };
    if said.is_ok() && timeout(FAREWELL, listening).await.is_err() {
        tracing::debug!("a reader of logs did not hang up");
    }
}

/// `PodLogOptions`; the second is what is wrong with them.
fn options(query: &Query, now: Timestamp) -> Result<(LogOptions, Vec<FieldError>), Status> {
    let mut errors = Vec::new();
    let mut count = |key: &str, least: i64| -> Result<Option<u64>, Status> {
        let given = query.number(key)?;
        if let Some(wrong) = given.filter(|given| *given < least) {
            let why = match least {
                0 => "must be greater than or equal to 0",
                _ => "must be greater than 0",
            };
            errors.push(FieldError::invalid(key, &wrong.into(), why));
        }
        Ok(given.and_then(|given| u64::try_from(given).ok()))
    };
    let tail_lines = count("tailLines", 0)?;
    let limit_bytes = count("limitBytes", 1)?;
    let seconds = count("sinceSeconds", 1)?;
    let time = query.get("sinceTime");
    let ago =
        |seconds: u64| after(now, i64::try_from(seconds).unwrap_or(i64::MAX).saturating_neg());
    let since = match (seconds, time) {
        (None, "") => None,
        (Some(seconds), "") => Some(ago(seconds)),
        (_, time) => Some(time.parse().map_err(|_| {
            Status::bad_request(format!(
                "parsing time {time:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {time:?} as \
                 \"2006\""
            ))
        })?),
    };
    if query.has("sinceSeconds") && !time.is_empty() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("[]", why));
    }
    if query.has("stream") {
        errors.push(FieldError::forbidden("stream", "may not be specified"));
    }
    let options = LogOptions {
        container: String::new(),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines,
        since,
        limit_bytes,
    };
    Ok((options, errors))
}
