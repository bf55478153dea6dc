//! Responses: a body that is there or that comes, a Status, and what is said in headers.

use std::io;

use bytes::Bytes;
use coracle_api::Status;
use futures_util::stream::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};

/// Upstream's limits of the `Warning` headers.
const WARNINGS_MAX: usize = 4096;
const WARNING_MAX: usize = 256;

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// It came from elsewhere, and broke off there.
    #[error(transparent)]
    Elsewhere(#[from] hyper::Error),
    /// It could not be compressed.
    #[error(transparent)]
    Compressed(#[from] io::Error),
    /// It took longer than it may.
    #[error("the answer took too long")]
    Late,
}
/// A body of ours; one that is handed on from elsewhere may break off.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;
/// A body that somebody sends us, to be handed on.
pub(crate) fn incoming(body: Incoming) -> Body {
    body.map_err(Broken::from).boxed_unsync()
}

/// A response of ours.
pub(crate) type Response = http::Response<Body>;

/// A response with a body that is there.
pub(crate) fn full(code: u16, media_type: &str, body: impl Into<Bytes>) -> Response {
    let body = Full::new(body.into()).map_err(|never| match never {});
    with_body(code, media_type, body.boxed_unsync())
}

/// A response with a body that comes.
pub(crate) fn streamed(
    media_type: &str,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Response {
    let frames = pieces.map(|piece| Ok::<_, Broken>(Frame::data(piece)));
    with_body(200, media_type, StreamBody::new(frames).boxed_unsync())
}

fn with_body(code: u16, media_type: &str, body: Body) -> Response {
    let mut response = http::Response::new(body);
    if let Ok(code) = http::StatusCode::from_u16(code) {
        *response.status_mut() = code;
    }
    if let Ok(media_type) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A Status as a response.
pub(crate) fn failure(status: &Status) -> Response {
    let mut body = serde_json::to_vec(status).unwrap_or_default();
    body.push(b'\n');
    let mut response = full(status.code, "application/json", body);
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    warn(response.headers_mut(), &status.warnings);
    response
}

/// `Warning: 299 - "text"`, one a warning; long ones are cut when together they are too long.
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let total: usize = warnings.iter().map(String::len).sum();
    let max = if total > WARNINGS_MAX { WARNING_MAX } else { usize::MAX };
    let mut sent = 0;
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).take(max).collect();
        sent += text.len();
        if sent > WARNINGS_MAX {
            return;
        }
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
}
