//! `status.conditions`: what holds of an object, and since when.

use serde_json::{Value, json};

/// All conditions of `object`.
pub fn all(object: &Value) -> &[Value] {
    object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The condition `ty` of `object`.
pub fn find<'a>(object: &'a Value, ty: &str) -> Option<&'a Value> {
    all(object).iter().find(|condition| condition["type"] == ty)
}

/// The status of the condition `ty`: `True`, `False` or `Unknown`.
pub fn status<'a>(object: &'a Value, ty: &str) -> Option<&'a str> {
    find(object, ty)?["status"].as_str()
}

/// Whether the condition `ty` holds.
pub fn is_true(object: &Value, ty: &str) -> bool {
    status(object, ty) == Some("True")
}

/// `new`, of a type and a status, with its `lastTransitionTime`: that of its like in `old` while the
/// status is the same, `now` (RFC 3339, whole seconds) else.
pub fn dated(old: &[Value], mut new: Value, now: &str) -> Value {
    let is_same = |old: &&Value| old["type"] == new["type"] && old["status"] == new["status"];
    let since = old.iter().find(is_same).map(|old| old["lastTransitionTime"].clone());
    new["lastTransitionTime"] = since.unwrap_or_else(|| json!(now));
    new
}

/// Puts `new` in the place of its like, or behind all others; see [`dated`].
pub fn set(conditions: &mut Vec<Value>, new: Value, now: &str) {
    let new = dated(conditions, new, now);
    match conditions.iter_mut().find(|condition| condition["type"] == new["type"]) {
        Some(place) => *place = new,
        None => conditions.push(new),
    }
}

/// What holds of every APIService that we serve ourselves.
#[must_use]
pub fn local_api_service() -> Value {
    json!({
        "type": "Available",
        "status": "True",
        "reason": "Local",
        "message": "Local APIServices are always available",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_place_and_its_time_while_its_status_stays() {
        let with = |status: &str, since: &str| json!({"type": "A", "status": status, "reason": "R", "lastTransitionTime": since});
        let other = json!({"type": "B", "status": "True", "lastTransitionTime": "t0"});
        let mut all = vec![with("False", "t1"), other.clone()];
        let new = |status: &str| json!({"type": "A", "status": status, "reason": "R"});
        set(&mut all, new("False"), "t2");
        assert_eq!(all, [with("False", "t1"), other.clone()]);
        set(&mut all, new("True"), "t3");
        assert_eq!(all, [with("True", "t3"), other.clone()]);
        set(&mut all, json!({"type": "C", "status": "True"}), "t4");
        assert_eq!(all[2]["lastTransitionTime"], "t4");
    }
}
