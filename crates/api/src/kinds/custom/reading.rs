//! What a stored custom object is given when it is read.
//!
//! A default that came to a schema after an object was written shows in the object all the same, as
//! upstream's decoder fills it in on the way from storage: by the schema of the version in which the
//! object is stored, whichever version is asked for.

use std::sync::Arc;

use serde_json::Value;

use crate::defaults;
use crate::kinds::split_api_version;
use crate::schema::Schema;

/// The schemas of all versions of a definition.
#[derive(Debug)]
pub struct Reading {
    /// Version, the schema that has it, and the name that it has there.
    versions: Vec<(String, Arc<Schema>, String)>,
}

impl Reading {
    /// Of versions, each with its schema and what its definition is called there; `None` when no
    /// object can lack anything.
    pub(super) fn of(
        definition: &Value,
        versions: impl IntoIterator<Item = (String, Arc<Schema>, String)>,
    ) -> Option<Arc<Self>> {
        let all = definition["spec"]["versions"].as_array().into_iter().flatten();
        let declares = all.map(|version| &version["schema"]).any(declares_default);
        declares.then(|| Arc::new(Self { versions: versions.into_iter().collect() }))
    }

    /// Fills in what `object`, as it is stored, lacks.
    pub fn complete(&self, object: &mut Value) {
        let stored = object["apiVersion"].as_str().unwrap_or_default();
        let (_, version) = split_api_version(stored);
        let Some((_, schema, name)) = self.versions.iter().find(|known| known.0 == version) else {
            return;
        };
        if let Some(ty) = schema.type_named(name) {
            defaults::of_schema(schema, ty, object);
        }
    }
}

fn declares_default(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("default") || map.values().any(declares_default),
        Value::Array(items) => items.iter().any(declares_default),
        _ => false,
    }
}
