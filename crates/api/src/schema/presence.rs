//! How Go's types write what has no value: some fields always, as a zero, as `null` or as an empty
//! struct; most not at all. Which is which stands in no schema, so there is a table of it
//! (`presence.txt`, facts of upstream's types, made by `scripts/presence-fields`).
//!
//! Clients that speak Go send objects in that form, and others get them so from upstream.
//! [`spell`] brings an object into it: two that say the same are then equal.

use serde_json::Value;

use super::{Field, Object, Schema, Type};

/// How a field is written that has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// As it was said: nothing and zero are two things (a pointer; all of a custom resource).
    #[default]
    AsSaid,
    /// Not at all, also when it was said to be zero.
    LeftOut,
    /// As a zero, or as an empty struct.
    Zero,
    /// As `null`.
    Null,
}

/// Marks the fields of `schema`, whose types are upstream's, by the table.
pub(super) fn mark(schema: &mut Schema) {
    let names: Vec<(String, usize)> =
        schema.names.iter().map(|(name, id)| (short(name), id.0 as usize)).collect();
    for ty in &mut schema.types {
        let Type::Object(object) = ty else { continue };
        object.fields.iter_mut().for_each(|field| field.presence = Presence::LeftOut);
    }
    let table: std::collections::HashMap<&str, &str> =
        include_str!("presence.txt").lines().filter_map(|line| line.split_once(' ')).collect();
    for (name, at) in names {
        if let (Some(marks), Some(Type::Object(object))) =
            (table.get(name.as_str()), schema.types.get_mut(at))
        {
            marks.split(' ').for_each(|field| mark_field(object, field));
        }
    }
}

fn mark_field(object: &mut Object, mark: &str) {
    let (name, presence) = match (mark.strip_suffix('?'), mark.strip_suffix('~')) {
        (Some(name), _) => (name, Presence::AsSaid),
        (_, Some(name)) => (name, Presence::Null),
        _ => (mark, Presence::Zero),
    };
    if let Some(field) = object.fields.iter_mut().find(|field| field.name.as_ref() == name) {
        field.presence = presence;
    }
}

/// `core.v1.Pod` for `io.k8s.api.core.v1.Pod`.
fn short(definition: &str) -> String {
    let parts = definition.split('.').skip(2);
    let kept: Vec<&str> =
        parts.filter(|part| !["pkg", "apis", "api", "apiserver"].contains(part)).collect();
    kept.join(".")
}

/// Brings `value`, which is of type `ty`, into the form in which Go writes it.
pub fn spell(schema: &Schema, ty: &Type, value: &mut Value) {
    match (schema.resolve(ty), value) {
        (Type::Object(object), Value::Object(map)) => {
            map.retain(|name, value| {
                let Some(field) = object.field(name) else { return true };
                spell(schema, &field.ty, value);
                match field.presence {
                    Presence::LeftOut => !is_zero(schema, field, value),
                    Presence::Zero => !value.is_null(),
                    Presence::AsSaid | Presence::Null => true,
                }
            });
            for field in &object.fields {
                if matches!(field.presence, Presence::Zero | Presence::Null)
                    && !map.contains_key(field.name.as_ref())
                {
                    map.insert(field.name.to_string(), nothing(schema, field));
                }
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            map.values_mut().for_each(|value| spell(schema, &inner.elem, value));
        }
        (Type::Array(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|item| spell(schema, &inner.elem, item));
        }
        _ => {}
    }
}

/// Whether `value` is what Go takes for none; an empty struct is a pointer to one.
pub(crate) fn is_zero(schema: &Schema, field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && matches!(schema.resolve(&field.ty), Type::Map(_)),
    }
}

/// What stands for nothing in a field that is always written.
fn nothing(schema: &Schema, field: &Field) -> Value {
    if field.presence == Presence::Null {
        return Value::Null;
    }
    let ty = schema.resolve(&field.ty);
    match ty {
        Type::Boolean => false.into(),
        Type::Integer | Type::Integer32 | Type::Number | Type::IntOrString => 0.into(),
        Type::String(_) => "".into(),
        Type::Quantity => "0".into(),
        Type::Object(_) => {
            let mut empty = Value::Object(Default::default());
            spell(schema, ty, &mut empty);
            empty
        }
        Type::Any | Type::Array(_) | Type::Map(_) | Type::Ref(_) => Value::Null,
    }
}

/// As [`spell`], of a value that the definition `name` describes.
pub fn spell_as(name: &str, value: &mut Value) {
    let schema = Schema::builtin();
    if let Some(ty) = schema.type_named(name) {
        spell(schema, ty, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spelled(name: &str, mut value: Value) -> Value {
        spell_as(&format!("io.k8s.api.{name}"), &mut value);
        value
    }

    #[test]
    fn structs_are_always_there_and_zeros_only_where_go_writes_them() {
        let set = json!({"metadata": {"name": "a", "labels": {}, "generateName": ""},
            "spec": {"replicas": 0, "minReadySeconds": 0, "template": {"spec": {"hostNetwork": false,
                "containers": [{"name": "a", "args": [], "securityContext": {}}]}}}});
        let written = json!({"metadata": {"name": "a"},
            "spec": {"replicas": 0, "selector": null, "serviceName": "", "updateStrategy": {},
                "template": {"metadata": {}, "spec": {
                    "containers": [{"name": "a", "resources": {}, "securityContext": {}}]}}},
            "status": {"replicas": 0, "availableReplicas": 0}});
        assert_eq!(spelled("apps.v1.StatefulSet", set), written);
        assert_eq!(spelled("apps.v1.StatefulSet", written.clone()), written);
    }

    #[test]
    fn what_is_null_upstream_is_null() {
        let role = spelled("rbac.v1.Role", json!({"metadata": {"name": "a"}}));
        assert_eq!(role, json!({"metadata": {"name": "a"}, "rules": null}));
        let event = spelled("core.v1.Event", json!({"count": 0, "source": null}));
        assert_eq!(
            event,
            json!({"metadata": {}, "involvedObject": {}, "source": {}, "eventTime": null,
                "firstTimestamp": null, "lastTimestamp": null, "reportingComponent": "",
                "reportingInstance": ""})
        );
    }

    #[test]
    fn a_pointer_says_zero_or_nothing_and_an_empty_one_is_something() {
        let spec = json!({"containers": [], "priority": 0, "volumes": [{"name": "a", "emptyDir": {}}],
            "automountServiceAccountToken": false, "securityContext": {"runAsUser": 0}});
        assert_eq!(spelled("core.v1.PodSpec", spec.clone()), spec);
    }

    #[test]
    fn a_custom_resource_stays_as_it_is_but_for_its_metadata() {
        let root = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"size": {"type": "integer"}, "on": {"type": "boolean"}}}}});
        let schema = Schema::of_custom_resource("com.example.v1.Boat", &root).unwrap();
        let mut boat = json!({"metadata": {"name": "a", "labels": {}}, "spec": {"size": 0}});
        spell(&schema, schema.type_named("com.example.v1.Boat").unwrap(), &mut boat);
        assert_eq!(boat, json!({"metadata": {"name": "a"}, "spec": {"size": 0}}));
    }
}
