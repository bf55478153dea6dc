//! Upgrades of a connection to another protocol: what clients ask for, and the connection that comes
//! of it. WebSockets: [`super::websocket`]; SPDY: [`super::spdy_upgrade`].

use std::future::Future;

use coracle_api::Status;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use crate::edge::connections::stopped;
use crate::edge::response::Response;
use crate::streams::hops::Kept;

/// Whether the client asks for an upgrade to `protocol`.
pub(crate) fn is_asked_for(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, protocol)
}

pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|known| known.eq_ignore_ascii_case(token))
}

/// The members of a header that is a list.
pub(crate) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The answer with which a connection changes to `protocol`.
pub(crate) fn switching(protocol: &'static str) -> Response {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    response
}

/// Runs `serve` on the connection once it has been upgraded, until that ends or the server stops.
///
/// # Errors
/// 400 when the connection cannot be upgraded.
pub(crate) fn run<F>(
    parts: &mut Parts,
    mut stopping: watch::Receiver<bool>,
    serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
) -> Result<(), Status>
where
    F: Future<Output = ()> + Send,
{
    let kept = Kept::of(parts);
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    let on_upgrade = on_upgrade.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    tokio::spawn(async move {
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "upgrade a connection"),
        };
        tokio::select! {
            () = serve(upgraded) => {}
            () = stopped(&mut stopping) => {}
        }
        drop(kept);
    });
    Ok(())
}
