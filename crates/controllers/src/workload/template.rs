//! Pods made from a template.

use coracle_api::names;
use coracle_api::resources::PODS;
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use super::owner::Owner;
use crate::json;

/// How much of a prefix a generated name keeps before its suffix.
const PREFIX_MAX: usize = 58;

/// A pod of `owner` with this name, made from `template` (a pod template as JSON).
pub(crate) fn pod(owner: &Owner, template: &Value, prefix: &str, name: &str) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(name));
    metadata.insert("generateName".into(), json!(prefix));
    metadata.insert("namespace".into(), json!(owner.namespace()));
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let reference = json::controller_reference(&owner.object);
    metadata.insert("ownerReferences".into(), json!([reference]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Names that begin with `prefix`, which no pod of the namespace has: as the server would give them
/// for `generateName`, but the same for the same snapshot, so that a plan can say what it makes.
pub(crate) struct Names<'a> {
    snapshot: &'a Snapshot,
    owner: &'a Owner,
    drawn: u32,
}

impl<'a> Names<'a> {
    /// Names for the pods of `owner`.
    pub fn new(snapshot: &'a Snapshot, owner: &'a Owner) -> Self {
        Self { snapshot, owner, drawn: 0 }
    }

    /// The next name.
    pub fn next(&mut self, prefix: &str) -> String {
        let kept = cut(prefix, PREFIX_MAX);
        loop {
            self.drawn = self.drawn.wrapping_add(1);
            let seed = format!("{}/{}/{}", self.owner.uid(), self.snapshot.revision(), self.drawn);
            let name = format!("{kept}{}", names::suffix(&seed));
            if self.snapshot.find(PODS, self.owner.namespace(), &name).is_none() {
                return name;
            }
        }
    }
}

/// The beginning of a text, at most `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    &text[..end]
}
