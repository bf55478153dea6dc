//! Who manages which field, and whether anything changed.

use coracle_api::managed_fields::{Target, track_update};
use serde_json::Value;

use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::Part;
use crate::pipeline::write::WriteEnv;

/// Brings `managedFields` of `value` up to date with what `request` changes from `old`. To be
/// called before admission and strategy had their say: what they change is nobody's.
pub(crate) fn track(
    request: &Request,
    part: Part,
    old: Option<&Value>,
    value: &mut Value,
    env: &WriteEnv<'_>,
) {
    let kind = &*request.kind;
    let target = Target { schema: kind.types(), kind, subresource: part.subresource() };
    let manager = match request.options.field_manager.as_str() {
        "" => "unknown",
        manager => manager,
    };
    track_update(target, old, value, manager, &rfc3339(env.now));
}

/// Whether two states differ in nothing but the times at which fields were last changed.
pub(crate) fn same_but_for_times(new: &Value, old: &Value) -> bool {
    if new == old {
        return true;
    }
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    new.len() == old.len()
        && new.iter().all(|(field, value)| match field.as_str() {
            "metadata" => same_metadata(value, &old["metadata"]),
            _ => old.get(field) == Some(value),
        })
}

fn same_metadata(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let is_other = |field: &&String| *field != "managedFields";
    let entries = |map: &serde_json::Map<String, Value>| {
        let mut entries = map.get("managedFields").cloned().unwrap_or_default();
        for entry in entries.as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        entries
    };
    new.keys().filter(is_other).eq(old.keys().filter(is_other))
        && new
            .iter()
            .all(|(field, value)| field == "managedFields" || old.get(field) == Some(value))
        && entries(new) == entries(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_later_time_alone_is_no_change() {
        let object = |time: &str, manager: &str, a: i64| {
            let entry = json!({"manager": manager, "time": time});
            json!({"metadata": {"name": "x", "managedFields": [entry]}, "spec": {"a": a}})
        };
        let old = object("1", "m", 1);
        assert!(same_but_for_times(&object("2", "m", 1), &old));
        assert!(!same_but_for_times(&object("1", "n", 1), &old));
        assert!(!same_but_for_times(&object("1", "m", 2), &old));
    }
}
