//! Endpoints and EndpointSlices: which pods answer for a Service.
//!
//! Both are made from one reading of the Service and its pods (`backends`). The Endpoints of Services
//! without a selector are left to whoever made them, and mirrored to slices.

mod backends;
mod mirror;
mod plain;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::resources::SERVICES;
use coracle_api::{Key, Object, Selector};
use coracle_store::{Event, Snapshot};
use serde_json::{Map, Value};

use crate::table::selecting;

pub(crate) use self::mirror::CONTROLLER as ENDPOINT_MIRROR;
pub(crate) use self::plain::CONTROLLER as ENDPOINTS;
pub(crate) use self::slices::CONTROLLER as ENDPOINT_SLICES;

/// The selector of a Service; `None` when it has none and its endpoints are somebody else's.
fn selector(service: &Object) -> Option<Arc<Selector>> {
    let is_external = service.str_at("/spec/type") == Some("ExternalName");
    pairs(service).filter(|_| !is_external).map(|_| service.selector())
}

/// The labels by which a Service names pods, of whatever type it is; `None` when it names none.
fn pairs(service: &Object) -> Option<&Map<String, Value>> {
    service.value()["spec"]["selector"].as_object().filter(|pairs| !pairs.is_empty())
}

/// The Services that select the pod, or did before the write.
fn services_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    selecting(event, snapshot, SERVICES)
}
