//! What upstream fills in where a client says nothing, kind by kind.
//!
//! Every function is idempotent: the stored objects of older versions pass through it again.

mod core;
pub mod initial;
mod label_keys;
mod pod;
mod policy;
mod schema;
mod workloads;

use serde_json::{Map, Value};

use crate::Kind;

pub use self::core::{
    endpoint_slice, endpoints, limit_range, namespace, network_policy, persistent_volume,
    persistent_volume_claim, priority_class, role_binding, secret, service, storage_class,
};
pub use pod::{pod, pod_template_object};
pub use policy::{
    admission_binding, admission_policy, api_service, csi_driver, flow_schema, ingress_class,
    priority_level, resource_claim, resource_claim_template, webhook_configuration,
};
pub use schema::of_schema;
pub use workloads::{
    autoscaler, cron_job, daemon_set, deployment, job, replica_set, replication_controller,
    stateful_set,
};

/// Fills in all that is missing in an object of `kind`: what its schema declares, what its kind
/// does, and what Go's types write anyway.
pub fn apply(kind: &Kind, object: &mut Value) {
    if let Some(ty) = kind.types().type_named(&kind.schema) {
        of_schema(kind.types(), ty, object);
    }
    (kind.strategy.default)(object);
    kind.spell(object);
}

/// Sets `key` when it is absent or null.
fn set(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Value::Object(map) = value {
        match map.get(key) {
            None | Some(Value::Null) => drop(map.insert(key.to_string(), default.into())),
            Some(_) => {}
        }
    }
}

/// Sets `key` when it has no value that Go tells from none: absent, `""` or `0`.
fn set_zero(value: &mut Value, key: &str, default: impl Into<Value>) {
    let zero = match value.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(_) => false,
    };
    if let (true, Value::Object(map)) = (zero, value) {
        map.insert(key.to_string(), default.into());
    }
}

/// The map at `key`, made when there is none.
fn ensure<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    set(value, key, Map::new());
    value.get_mut(key)
}

/// Lets `act` see every item of the list at `key`.
fn each(value: &mut Value, key: &str, act: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = value.get_mut(key) {
        items.iter_mut().for_each(act);
    }
}

/// Lets `act` see what is at `key`, when it is there.
fn within(value: &mut Value, key: &str, act: impl FnOnce(&mut Value)) {
    match value.get_mut(key) {
        None | Some(Value::Null) => {}
        Some(found) => act(found),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(value: &Value, key: &str) -> bool {
    !matches!(value.get(key), None | Some(Value::Null))
}

#[cfg(test)]
mod tests;
