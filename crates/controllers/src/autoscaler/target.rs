//! What an autoscaler scales: anything with a scale, built in or custom.

use std::sync::{Arc, LazyLock};

use coracle_api::kinds::{Kinds, custom, split_api_version};
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS;
use coracle_api::{Kind, Object, ScalePaths, Selector, Subresource, scale};
use coracle_store::Snapshot;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use serde_json::Value;

/// The rows that are compiled in, of kinds in namespaces.
static BUILTIN: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
    let kinds = Kinds::builtin();
    kinds.iter().filter(|kind| kind.is_namespaced() && kind.is_stored()).cloned().collect()
});

/// The scale of an object.
pub(super) struct Target {
    pub object: Arc<Object>,
    /// The body of its `/scale`.
    pub scale: Value,
}

/// Where the objects of a kind are, and what `/scale` shows of them.
struct Place {
    resource: String,
    paths: Option<ScalePaths>,
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
        let place = place(snapshot, reference)?;
        let name = &reference.name;
        let unserved = || "the server could not find the requested resource".to_owned();
        let paths = place.paths.ok_or_else(unserved)?;
        let object = snapshot.find(&place.resource, namespace, name);
        let object = object.ok_or_else(|| format!("{} \"{name}\" not found", place.resource))?;
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

fn place(snapshot: &Snapshot, reference: &CrossVersionObjectReference) -> Result<Place, String> {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let (group, kind) = (split_api_version(api_version).0, &*reference.kind);
    if let Some(row) = BUILTIN.iter().find(|row| row.group == group && row.kind == kind) {
        let has_scale = row.subresource(Subresource::Scale).is_some();
        let paths = has_scale.then(|| row.scale.clone());
        return Ok(Place { resource: row.storage_resource(), paths });
    }
    let definitions = snapshot.list(CUSTOM_RESOURCE_DEFINITIONS, None);
    let mut found = definitions.filter(|definition| {
        let spec = &definition.value()["spec"];
        spec["group"] == group && spec["names"]["kind"] == kind
    });
    let Some(definition) = found.next() else {
        return Err(format!("no matches for kind {kind:?} in group {group:?}"));
    };
    let paths = custom::scale_paths(definition.value());
    Ok(Place { resource: definition.metadata().name.clone(), paths })
}
