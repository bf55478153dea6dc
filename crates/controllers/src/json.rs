//! Changes to objects as JSON, which keep the fields that no type of ours knows.

use coracle_api::Object;
use serde_json::{Map, Value, json};

/// The map at `path`, made when it is not there.
pub(crate) fn map_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut here = value;
    for step in path {
        here = as_map(here).entry(*step).or_insert(Value::Null);
    }
    as_map(here)
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made a map"),
    }
}

/// Sets the field at `path` to `new`; removes it when `new` is null or an empty list.
pub(crate) fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let map = map_at(value, parents);
    if new.is_null() || new.as_array().is_some_and(Vec::is_empty) {
        map.remove(*last);
    } else {
        map.insert((*last).to_owned(), new);
    }
}

/// The object with the field at `path` set to `new`.
pub(crate) fn with(object: &Object, path: &[&str], new: Value) -> Value {
    let mut value = object.value().clone();
    set(&mut value, path, new);
    value
}

/// A controller reference to `owner`, as the garbage collector and kubectl read it.
pub(crate) fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.value()["apiVersion"],
        "kind": owner.value()["kind"],
        "name": owner.metadata().name,
        "uid": owner.metadata().uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The raw `metadata.ownerReferences`, whatever fields they have.
pub(crate) fn owner_references(object: &Object) -> Vec<Value> {
    object
        .value()
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The object with these owner references.
pub(crate) fn with_owner_references(object: &Object, references: Vec<Value>) -> Value {
    with(object, &["metadata", "ownerReferences"], Value::Array(references))
}

/// The object without `finalizer`.
pub(crate) fn without_finalizer(object: &Object, finalizer: &str) -> Value {
    let mut value = object.value().clone();
    remove_finalizer(&mut value, finalizer);
    value
}

/// The object with `finalizer` added at the end.
pub(crate) fn with_finalizer(object: &Object, finalizer: &str) -> Value {
    let mut value = object.value().clone();
    add_finalizer(&mut value, finalizer);
    value
}

/// Adds a finalizer, unless it is there.
pub(crate) fn add_finalizer(value: &mut Value, finalizer: &str) {
    let mut all = finalizers(value);
    if !all.iter().any(|name| name == finalizer) {
        all.push(json!(finalizer));
        set(value, &["metadata", "finalizers"], Value::Array(all));
    }
}

/// Takes a finalizer away.
pub(crate) fn remove_finalizer(value: &mut Value, finalizer: &str) {
    let mut all = finalizers(value);
    all.retain(|name| name != finalizer);
    set(value, &["metadata", "finalizers"], Value::Array(all));
}

fn finalizers(value: &Value) -> Vec<Value> {
    value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default()
}
