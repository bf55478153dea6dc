//! Requests that are handed on to another API server, with who asks: upstream's
//! `kube-aggregator/pkg/apiserver/handler_proxy.go`.
//!
//! It admits and checks for itself. What it may not do is hold anybody else: an answer that does not
//! come is given up, its head is bounded, and so is the number of those who wait.

use std::time::Duration;

use coracle_api::Status;
use coracle_store::Snapshot;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::{Aggregator, Answered, host, place};
use super::headers;
use super::lent::{Ends, Lent};
use super::target::Target;
use crate::edge::connections::stopped;
use crate::edge::response::{Broken, Response, full, incoming};
use crate::pipeline::parse::{Query, Route};
use crate::pipeline::request::User;
use crate::streams::hops::{CORS_HEADERS, Kept, OWN_HEADERS, join, remove};

/// How long a request may take that does not go on as long as its client likes: upstream's limit.
const LIMIT: Duration = Duration::from_secs(60);

/// A request to be handed on.
pub(crate) struct Handed<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) target: Target,
    /// Who asks, as we found out.
    pub(crate) user: &'a User,
    pub(crate) route: &'a Route,
    pub(crate) query: &'a Query,
    /// True once we are to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// The answer of the other server.
///
/// # Errors
/// 429 when too many wait for it, 504 when it does not answer in time.
pub(crate) async fn serve(
    aggregator: &Aggregator,
    handed: Handed<'_>,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Response, Status> {
    let Handed { snapshot, target, user, route, query, stopping } = handed;
    if !target.is_available {
        return Ok(plain(503, "service unavailable"));
    }
    let Ok(place) = place(snapshot, &target.server) else {
        return Ok(plain(503, "service unavailable"));
    };
    let is_upgrade = parts.headers.contains_key(header::UPGRADE);
    let is_long = is_upgrade || goes_on(route, query);
    let bounds = aggregator.bounds(&target.server.name);
    let turns = if is_long { bounds.long } else { bounds.short };
    let permit = turns.try_acquire_owned().map_err(|_| too_many())?;
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = http::Request::new(incoming(body));
    request.method_mut().clone_from(&parts.method);
    *request.uri_mut() = format!("{}{query}", target.path)
        .parse()
        .map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    *request.headers_mut() = headers::handed_on(&parts.headers, user, &host(&target.server))
        .map_err(Status::bad_request)?;
    let (client, kept) = (parts.extensions.remove::<OnUpgrade>(), Kept::of(parts));
    let deadline = (!is_long).then(|| Instant::now().checked_add(LIMIT)).flatten();
    let sent = aggregator.send(&place, request);
    let answered = match deadline {
        Some(deadline) => timeout_at(deadline, sent).await.map_err(|_| too_late())?,
        None => sent.await,
    };
    let Answered { mut response, loan } = match answered {
        Ok(answered) => answered,
        Err(why) => return Ok(plain(503, &why)),
    };
    // The connection is the client's only if the server said so: after an upgrade that failed it
    // would carry whatever the client likes under our name (CVE-2018-1002105).
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client.filter(|_| is_upgrade) else {
            return Ok(plain(502, "the backend changed the protocol although nobody asked for it"));
        };
        join(client, hyper::upgrade::on(&mut response), kept);
        return Ok(response.map(incoming));
    }
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        // A client would follow, with its credentials, wherever the server likes (CVE-2022-3172).
        let why = "the backend attempted to redirect this request, which is not permitted";
        return Ok(plain(502, why));
    }
    remove(response.headers_mut(), OWN_HEADERS);
    remove(response.headers_mut(), CORS_HEADERS);
    let ends = ends(deadline, is_long.then_some(stopping));
    Ok(response.map(|body| Lent::new(body, loan, ends, permit).boxed_unsync()))
}

/// Whether a request goes on as long as its client likes.
fn goes_on(route: &Route, query: &Query) -> bool {
    match route {
        Route::Resource(resource) => {
            resource.verb == "watch" || query.flag("watch") || resource.is_long()
        }
        Route::Path(_) => false,
    }
}

/// When the body of an answer ends before its end.
fn ends(deadline: Option<Instant>, stopping: Option<watch::Receiver<bool>>) -> Ends {
    Box::pin(async move {
        match (deadline, stopping) {
            (Some(deadline), _) => {
                sleep_until(deadline).await;
                Some(Broken::Late)
            }
            (None, Some(mut stopping)) => {
                stopped(&mut stopping).await;
                None
            }
            (None, None) => std::future::pending().await,
        }
    })
}

/// What Go's `http.Error` answers.
pub(crate) fn plain(code: u16, text: &str) -> Response {
    let mut response = full(code, "text/plain; charset=utf-8", format!("{text}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn too_many() -> Status {
    Status::too_many_requests("Too many requests to this API server, please try again later.")
}

fn too_late() -> Status {
    let why =
        "Timeout: request did not complete within requested timeout - context deadline exceeded";
    Status::failure(504, "Timeout", why)
}
