//! The status of an owner, written only when it says something new.

use coracle_api::{Object, presence, semantic};
use serde_json::{Map, Value, json};

use crate::json;
use crate::plan::Write;

/// The write by which `object` says `status`, when the stored one says something else.
pub(crate) fn write(object: &Object, status: Value) -> Option<Write> {
    let definition = definition(object);
    let spelled = |status: &Value| {
        let mut status = if status.is_null() { json!({}) } else { status.clone() };
        presence::spell_as(&definition, &mut status);
        status
    };
    let says_more = !semantic::equal(&spelled(&object.value()["status"]), &spelled(&status));
    says_more.then(|| Write::status(json::with(object, &["status"], status)))
}

/// `io.k8s.api.apps.v1.DeploymentStatus`
fn definition(object: &Object) -> String {
    let text = |field: &str| object.value()[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("core", "v1"));
    format!("io.k8s.api.{group}.{version}.{}Status", text("kind"))
}

/// Adds a count that is left out when it is 0, as upstream's types leave it out.
pub(crate) fn count(status: &mut Map<String, Value>, field: &str, count: i64) {
    if count != 0 {
        status.insert(field.into(), json!(count));
    }
}

/// Adds a list that is left out when it is empty.
pub(crate) fn list(status: &mut Map<String, Value>, field: &str, items: Vec<Value>) {
    if !items.is_empty() {
        status.insert(field.into(), Value::Array(items));
    }
}

/// A length as a count of the API.
pub(crate) fn len(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
