//! Kinds by the names that references have: which are served, whether of ours or defined.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use coracle_api::kinds::{Kinds, custom, split_api_version};
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS;
use coracle_api::{Kind, Object, ScalePaths, Subresource};
use coracle_store::Snapshot;

/// The rows that are compiled in.
pub(crate) fn builtin() -> &'static Kinds {
    static BUILTIN: LazyLock<Kinds> = LazyLock::new(Kinds::builtin);
    &BUILTIN
}

/// A kind that is served.
pub(crate) enum Served {
    /// A row that is compiled in.
    Builtin(Arc<Kind>),
    /// The CustomResourceDefinition of one.
    Defined(Arc<Object>),
}

impl Served {
    /// What `apiVersion` and `kind` name, whatever the version.
    pub fn find(snapshot: &Snapshot, api_version: &str, kind: &str) -> Option<Self> {
        static BY_NAME: LazyLock<BTreeMap<(String, String), Arc<Kind>>> = LazyLock::new(|| {
            let kinds = builtin();
            let named = |row: &Arc<Kind>| (row.group.to_string(), row.kind.to_string());
            kinds.iter().map(|row| (named(row), Arc::clone(row))).collect()
        });
        let group = split_api_version(api_version).0;
        if let Some(row) = BY_NAME.get(&(group.to_string(), kind.to_owned())) {
            return Some(Self::Builtin(Arc::clone(row)));
        }
        let mut definitions = snapshot.list(CUSTOM_RESOURCE_DEFINITIONS, None);
        let found = definitions.find(|definition| {
            let spec = &definition.value()["spec"];
            spec["group"] == *group && spec["names"]["kind"] == *kind
        })?;
        Some(Self::Defined(Arc::clone(found)))
    }

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        match self {
            Self::Builtin(row) => row.is_namespaced(),
            Self::Defined(definition) => definition.str_at("/spec/scope") != Some("Cluster"),
        }
    }

    /// `RESOURCE.GROUP` of its objects.
    pub fn resource(&self) -> String {
        match self {
            Self::Builtin(row) => row.storage_resource(),
            Self::Defined(definition) => definition.metadata().name.clone(),
        }
    }

    /// What `/scale` shows of its objects; `None` when they have none.
    pub fn scale_paths(&self) -> Option<ScalePaths> {
        match self {
            Self::Builtin(row) => row.subresource(Subresource::Scale).map(|_| row.scale.clone()),
            Self::Defined(definition) => custom::scale_paths(definition.value()),
        }
    }
}
