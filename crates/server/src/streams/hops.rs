//! What a proxy does at both of its ends: headers that are about one connection alone, and bytes both
//! ways after an upgrade.

use std::sync::Arc;

use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use crate::audit::{self, Trail};
use crate::edge::connections::{Place, stopped};
use crate::edge::response::{Body, incoming};

/// Headers that are about one connection alone (RFC 9110, section 7.6.1), or that we have answered.
pub(crate) const OWN_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What whoever is behind us may not say in our name.
pub(crate) const CORS_HEADERS: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Takes out `names`, and what the header `Connection` names.
pub(crate) fn remove(headers: &mut HeaderMap, names: &[&str]) {
    let listed: Vec<String> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in names.iter().copied().chain(listed.iter().map(String::as_str)) {
        headers.remove(name);
    }
}

/// A body without a known end does not keep a server from stopping.
pub(crate) fn until_stopped(body: Incoming, mut stopping: watch::Receiver<bool>) -> Body {
    if body.size_hint().exact().is_some() {
        return incoming(body);
    }
    let frames =
        BodyStream::new(incoming(body)).take_until(async move { stopped(&mut stopping).await });
    StreamBody::new(frames).boxed_unsync()
}

/// What an upgraded connection holds until it ends: its place, and what is remembered of the request.
pub(crate) struct Kept {
    _place: Option<Arc<Place>>,
    _trail: Option<Trail>,
}

impl Kept {
    /// That of the request which `parts` begin.
    pub(crate) fn of(parts: &mut Parts) -> Self {
        Self { _place: parts.extensions.remove(), _trail: audit::of(parts).cloned() }
    }
}

/// Carries bytes both ways once both ends have changed the protocol.
pub(crate) fn join(client: OnUpgrade, other: OnUpgrade, kept: Kept) {
    tokio::spawn(async move {
        let both = tokio::try_join!(client, other);
        let (client, other) = match both {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "upgrade a proxied connection"),
        };
        let (mut client, mut other) = (TokioIo::new(client), TokioIo::new(other));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut other).await {
            tracing::debug!(%error, "a proxied connection ended");
        }
        drop(kept);
    });
}
