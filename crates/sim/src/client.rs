//! Requests of those who are no controllers: users and nodes.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Object, Status, Subresource, Verb};
use coracle_server::{Api, Body, Content, Options, Request, User};
use serde_json::Value;

use crate::ready::ready;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub resource: &'a str,
    pub namespace: &'a str,
    /// Empty for a creation.
    pub name: &'a str,
    pub subresource: &'a str,
}

/// Sends one request and gives the object that it is answered with, if it is.
pub(crate) fn call(
    api: &Api,
    user: &str,
    verb: Verb,
    place: &Place<'_>,
    body: Body,
) -> Result<Option<Arc<Object>>, Status> {
    let kind = api.kinds().stored(place.resource).cloned();
    let kind =
        kind.ok_or_else(|| Status::internal(format!("{} are not served", place.resource)))?;
    let request = Request {
        user: User { name: user.to_owned(), groups: groups(user), ..User::default() },
        verb,
        kind,
        namespace: place.namespace.to_owned(),
        name: place.name.to_owned(),
        subresource: Subresource::parse(place.subresource),
        options: Options { field_manager: user.to_owned(), ..Options::default() },
        body,
    };
    ready(api.call(request)).map(|reply| reply.object().cloned())
}

/// Users who may do everything, and nodes.
fn groups(user: &str) -> Vec<String> {
    let group = match user.strip_prefix("system:node:") {
        Some(_) => "system:nodes",
        None => "system:masters",
    };
    vec![group.to_owned()]
}

/// A merge patch, as `kubectl` sends it.
pub(crate) fn merge(patch: &Value) -> Body {
    Body::Encoded(Content::MergePatch, Bytes::from(patch.to_string()))
}
