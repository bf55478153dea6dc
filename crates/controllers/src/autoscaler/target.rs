//! What an autoscaler scales: anything with a scale, built in or custom.

use std::sync::Arc;

use coracle_api::kinds::split_api_version;
use coracle_api::{Object, Selector, scale};
use coracle_store::Snapshot;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use serde_json::Value;

use crate::served::Served;

/// The scale of an object.
pub(super) struct Target {
    pub object: Arc<Object>,
    /// The body of its `/scale`.
    pub scale: Value,
}

impl Target {
    /// What `reference` names.
    ///
    /// # Errors
    /// What a client of upstream's API is told that asks for its scale.
    pub fn find(
        snapshot: &Snapshot,
        namespace: &str,
        reference: &CrossVersionObjectReference,
    ) -> Result<Self, String> {
        let kind = kind(snapshot, reference)?;
        let name = &reference.name;
        let unserved = || "the server could not find the requested resource".to_owned();
        let paths = kind.scale_paths().ok_or_else(unserved)?;
        let resource = kind.resource();
        let object = snapshot.find(&resource, namespace, name);
        let object = object.ok_or_else(|| format!("{resource} \"{name}\" not found"))?;
        Ok(Self { object: Arc::clone(object), scale: scale::of(&paths, object) })
    }

    /// How many replicas are wanted.
    pub fn replicas(&self) -> i64 {
        self.scale["spec"]["replicas"].as_i64().unwrap_or(0)
    }

    /// Which pods are its own; `Err` with the text when that is no selector.
    pub fn selector(&self) -> Result<Option<Selector>, String> {
        match self.scale["status"]["selector"].as_str() {
            None => Ok(None),
            Some(text) => Selector::parse(text).map(Some).map_err(|error| error.to_string()),
        }
    }

    /// The body of its `/scale`, for another number.
    pub fn with_replicas(&self, replicas: i64) -> Value {
        let mut scale = self.scale.clone();
        scale["spec"]["replicas"] = replicas.into();
        scale
    }
}

fn kind(snapshot: &Snapshot, reference: &CrossVersionObjectReference) -> Result<Served, String> {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let (group, kind) = (split_api_version(api_version).0, &*reference.kind);
    Served::find(snapshot, api_version, kind)
        .ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))
}
