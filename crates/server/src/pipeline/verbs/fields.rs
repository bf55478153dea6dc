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

/// Takes out owners that are named twice, and says so.
pub(crate) fn dedup_owners(value: &mut Value) -> Option<String> {
    let owners = value.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let mut twice = Vec::new();
    let mut at = 0;
    while let Some(owner) = owners.get(at).cloned() {
        let (before, after) = owners.split_at(at);
        if !before.contains(&owner) {
            if after.iter().skip(1).any(|other| *other == owner) {
                twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
            }
            at += 1;
        } else {
            owners.remove(at);
        }
    }
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner \
             references in 1.20+, and may reject such requests as early as 1.24; please fix your \
             requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
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
    fn an_owner_counts_once() {
        let owner = |uid: &str| json!({"kind": "Pod", "uid": uid});
        let mut value =
            json!({"metadata": {"ownerReferences": [owner("u"), owner("v"), owner("u")]}});
        assert!(dedup_owners(&mut value).unwrap().ends_with("observed: u"));
        assert_eq!(value["metadata"]["ownerReferences"], json!([owner("u"), owner("v")]));
        assert_eq!(dedup_owners(&mut value), None);
        assert_eq!(dedup_owners(&mut json!({"metadata": {}})), None);
    }

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
