//! The writes of a plan as requests to the API.

use std::sync::Arc;

use coracle_api::kinds::Kinds;
use coracle_api::{Key, Kind, Subresource, Verb};
use coracle_controllers::{DeleteOptions, Write};
use coracle_server::{Body, Options, Request, User};
use coracle_store::Expect;
use serde_json::{Value, json};

/// A write names a kind that is not served.
#[derive(Debug, thiserror::Error)]
#[error("no kind is served for {0}")]
pub(crate) struct UnknownKind(String);

/// The requests that carry `writes` out for the controller `name`.
pub(crate) fn requests(
    kinds: &Kinds,
    name: &str,
    writes: &[Write],
) -> Result<Vec<Request>, UnknownKind> {
    writes.iter().map(|write| request(kinds, name, write)).collect()
}

/// What must still be as the decision saw it. What it updates must be there at least: some kinds are
/// created by an update, and one that is gone meanwhile is no reason to.
pub(crate) fn requires(
    rests_on: Vec<(Key, Expect)>,
    writes: &[Write],
    requests: &[Request],
) -> Vec<(Key, Expect)> {
    let updated =
        writes.iter().zip(requests).filter(|(write, _)| matches!(write, Write::Update(_)));
    let present = updated.map(|(_, request)| {
        let (resource, name) = (request.kind.storage_resource(), request.name.clone());
        (Key::new(resource, request.namespace.clone(), name), Expect::Present)
    });
    rests_on.into_iter().chain(present).collect()
}

fn request(kinds: &Kinds, name: &str, write: &Write) -> Result<Request, UnknownKind> {
    let user = controller(name);
    match write {
        Write::Create(value) => {
            let kind = kind_of(kinds, value)?;
            Ok(of_value(user, Verb::Create, kind, None, value))
        }
        Write::Update(value) => {
            let kind = kind_of(kinds, value)?;
            Ok(of_value(user, Verb::Update, kind, None, value))
        }
        Write::UpdateSubresource(subresource, value) => {
            let kind = kind_of(kinds, value)?;
            Ok(of_value(user, Verb::Update, kind, Some(*subresource), value))
        }
        Write::UpdateSubresourceOf { key, subresource, body } => {
            let body = Body::Object(body.clone());
            at(kinds, user, Verb::Update, key, Some(*subresource), body)
        }
        Write::CreateSubresource { key, subresource, body } => {
            let body = Body::Object(body.clone());
            at(kinds, user, Verb::Create, key, Some(*subresource), body)
        }
        Write::Delete { key, uid, resource_version, options } => {
            let body = delete_options(uid, resource_version.as_deref(), options);
            at(kinds, user, Verb::Delete, key, None, Body::Object(body))
        }
    }
}

/// The user whose name a controller's writes bear.
pub(crate) fn controller(name: &str) -> User {
    User {
        name: format!("system:controller:{name}"),
        groups: vec!["system:authenticated".to_owned()],
        is_engine: true,
        ..User::default()
    }
}

fn kind_of(kinds: &Kinds, value: &Value) -> Result<Arc<Kind>, UnknownKind> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let found = kinds.of_object(version, kind).cloned();
    found.ok_or_else(|| UnknownKind(format!("{version} {kind}")))
}

fn of_value(
    user: User,
    verb: Verb,
    kind: Arc<Kind>,
    subresource: Option<Subresource>,
    value: &Value,
) -> Request {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    let name = if verb == Verb::Create { String::new() } else { text("name") };
    Request {
        options: options(),
        namespace: text("namespace"),
        name,
        subresource,
        body: Body::Object(value.clone()),
        user,
        verb,
        kind,
    }
}

/// A request for an object at a place, whatever is sent.
pub(crate) fn at(
    kinds: &Kinds,
    user: User,
    verb: Verb,
    key: &Key,
    subresource: Option<Subresource>,
    body: Body,
) -> Result<Request, UnknownKind> {
    let kind = kinds.stored(&key.resource).cloned();
    Ok(Request {
        kind: kind.ok_or_else(|| UnknownKind(key.resource.to_string()))?,
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        subresource,
        options: options(),
        body,
        user,
        verb,
    })
}

/// Controllers are one manager of fields, under the name that tools know.
fn options() -> Options {
    Options { field_manager: "kube-controller-manager".to_owned(), ..Options::default() }
}

fn delete_options(uid: &str, resource_version: Option<&str>, options: &DeleteOptions) -> Value {
    let mut preconditions = json!({"uid": uid});
    if let Some(version) = resource_version {
        preconditions["resourceVersion"] = json!(version);
    }
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": preconditions,
    });
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(propagation) = options.propagation {
        body["propagationPolicy"] = json!(propagation.as_str());
    }
    body
}
