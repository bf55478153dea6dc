//! The verbs, each once for all kinds.

pub(crate) mod computed;
pub mod connect;
pub mod create;
pub(crate) mod definitions;
pub mod delete;
pub mod deletion;
mod fields;
pub mod get;
pub mod list;
mod parts;
pub mod patch;
mod registrations;
pub(crate) mod rules;
pub mod scale;
pub mod selectors;
pub mod update;
mod validation;
mod versions;

use std::sync::Arc;

use coracle_api::{Key, Kind, Object, Status, Subresource};
use coracle_store::Snapshot;
use serde_json::{Map, Value};

use crate::pipeline::request::Request;

/// What of an object a request reads and writes: the whole, or what a subresource shows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Whole,
    /// The status.
    Status,
    /// The number of replicas, as `autoscaling/v1.Scale`.
    Scale,
    /// The ephemeral containers of a pod.
    EphemeralContainers,
    /// The resources of a pod's containers.
    Resize,
    /// The finalizers in a namespace's spec.
    Finalize,
    /// The conditions of a CertificateSigningRequest.
    Approval,
}

impl Part {
    /// The part that `subresource` is; `None` when it is no part of an object (`log`).
    pub fn of(subresource: Option<Subresource>) -> Option<Self> {
        let Some(subresource) = subresource else { return Some(Self::Whole) };
        Some(match subresource {
            Subresource::Status => Self::Status,
            Subresource::Scale => Self::Scale,
            Subresource::EphemeralContainers => Self::EphemeralContainers,
            Subresource::Resize => Self::Resize,
            Subresource::Finalize => Self::Finalize,
            Subresource::Approval => Self::Approval,
            Subresource::Attach
            | Subresource::Binding
            | Subresource::Eviction
            | Subresource::Exec
            | Subresource::Log
            | Subresource::PortForward
            | Subresource::Proxy
            | Subresource::Token => return None,
        })
    }

    /// `subresource` in an entry of `managedFields`.
    pub fn subresource(self) -> &'static str {
        let subresource = match self {
            Self::Whole => return "",
            Self::Status => Subresource::Status,
            Self::Scale => Subresource::Scale,
            Self::EphemeralContainers => Subresource::EphemeralContainers,
            Self::Resize => Subresource::Resize,
            Self::Finalize => Subresource::Finalize,
            Self::Approval => Subresource::Approval,
        };
        subresource.as_str()
    }
}

/// The object that `request` names.
pub(crate) fn existing<'a>(
    snapshot: &'a Snapshot,
    request: &Request,
) -> Result<&'a Arc<Object>, Status> {
    snapshot
        .find(&request.kind.storage_resource(), &request.namespace, &request.name)
        .ok_or_else(|| Status::not_found(&request.kind, &request.name))
}

/// Where the object `name` of `kind` is stored.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    Key::new(kind.storage_resource(), namespace, name)
}

/// `metadata` of an object, made when it is missing.
pub(crate) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    map_at(value, "metadata")
}

/// The map at `field` of a map, made when it is missing or no map.
pub(crate) fn map_at<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let slot = &mut value[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map above"),
    }
}

/// The string at a JSON pointer; empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// 504: the client has seen a state that we do not have.
pub(crate) fn too_large_revision(asked: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    Status::failure(504, "Timeout", format!("Timeout: {message}")).with_details(|details| {
        details.retry_after_seconds = 1;
        details.causes = vec![coracle_api::Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }];
    })
}
