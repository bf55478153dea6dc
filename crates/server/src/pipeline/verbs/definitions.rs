//! CustomResourceDefinitions take their objects with them.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::kinds::custom::CLEANUP;
use coracle_api::kinds::custom::names::{self, Taken};
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS;
use coracle_store::{Snapshot, Write};
use serde_json::{Value, json};

use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::{deletion, metadata, text};
use crate::pipeline::write::WriteEnv;

/// Gives a definition that is written the names that nobody else in its group has.
pub(crate) fn settle_names(
    snapshot: &Snapshot,
    request: &Request,
    value: &mut Value,
    env: &WriteEnv<'_>,
) {
    if !request.kind.is(DEFINITIONS) {
        return;
    }
    let (group, own) = (text(value, "/spec/group"), text(value, "/metadata/name"));
    let mut taken = Taken::default();
    env.kinds
        .iter()
        .filter(|kind| kind.group == group && kind.types.is_none())
        .for_each(|kind| taken.by_kind(kind));
    snapshot
        .list(DEFINITIONS, None)
        .map(|object| object.value())
        .filter(|other| text(other, "/spec/group") == group)
        .filter(|other| text(other, "/metadata/name") != own)
        .for_each(|other| taken.by_definition(other));
    names::accept(value, &taken, &rfc3339(env.now));
}

/// A definition about to be deleted.
pub(crate) struct Swept {
    /// The definition, without the finalizer that holds it once all its objects are gone.
    pub(crate) definition: Arc<Object>,
    /// What deletes its objects.
    pub(crate) writes: Vec<Write>,
}

/// Deletes the objects of `old`, if it is a definition.
pub(crate) fn sweep(snapshot: &Snapshot, old: &Arc<Object>, env: &WriteEnv<'_>) -> Swept {
    let mut swept = Swept { definition: Arc::clone(old), writes: Vec::new() };
    if *old.key().resource != *DEFINITIONS {
        return swept;
    }
    let resource = &old.metadata().name;
    let mut is_empty = true;
    if let Some(kind) = env.kinds.stored(resource) {
        for object in snapshot.list(resource, None) {
            let (write, is_gone) = deletion::unasked(kind, object, env.now);
            swept.writes.extend(write);
            is_empty &= is_gone;
        }
    }
    if is_empty && let Some(free) = without_cleanup(old) {
        swept.definition = Arc::new(free);
    }
    swept
}

fn without_cleanup(old: &Object) -> Option<Object> {
    let mut value = old.value().clone();
    let kept: Vec<&String> =
        old.metadata().finalizers.iter().filter(|name| *name != CLEANUP).collect();
    let kept = json!(kept);
    metadata(&mut value).insert("finalizers".into(), kept);
    Object::with_resource(Arc::clone(&old.key().resource), value).ok()
}

/// The definition of `resource` when it waits for nothing but its last object, which is gone.
pub(crate) fn is_due(snapshot: &Snapshot, resource: &str) -> bool {
    snapshot.find(DEFINITIONS, "", resource).is_some_and(|definition| {
        definition.metadata().is_deleting()
            && text(definition.value(), "/metadata/name") == resource
    }) && snapshot.list(resource, None).next().is_none()
}
