//! Reading fields of objects for cells.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::duration::human;
use crate::conditions;
use crate::selector::Selector;

/// The string (or number, as text) at `pointer`; empty when there is none.
pub(super) fn text(object: &Value, pointer: &str) -> String {
    text_or(object, pointer, "")
}

/// The same, or `missing` when there is none or it is empty.
pub(super) fn text_or(object: &Value, pointer: &str, missing: &str) -> String {
    match object.pointer(pointer) {
        None | Some(Value::Null) => missing.to_string(),
        Some(Value::String(text)) if text.is_empty() => missing.to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The string at `pointer`, borrowed; empty when there is none.
pub(super) fn str_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at `pointer`, or 0.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether `true` stands at `pointer`.
pub(super) fn is_true(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the list at `pointer`; none when there is no list.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The members of the map at `pointer`.
pub(super) fn members<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object.pointer(pointer).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// How many items or members there are at `pointer`.
pub(super) fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

/// The string `field` of every item of the list at `pointer`; the items themselves when `field` is
/// empty.
pub(super) fn strings<'a>(
    object: &'a Value,
    pointer: &str,
    field: &'a str,
) -> impl Iterator<Item = &'a str> {
    items(object, pointer)
        .iter()
        .map(move |item| if field.is_empty() { item } else { &item[field] })
        .map(|item| item.as_str().unwrap_or_default())
}

/// The time at `pointer`.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    str_at(object, pointer).parse().ok()
}

/// How long before `now` the time at `pointer` was, or `missing`.
pub(super) fn since(object: &Value, pointer: &str, now: Timestamp, missing: &str) -> String {
    time(object, pointer).map_or_else(|| missing.to_string(), |time| ago(time, now))
}

/// How long before `now` `time` was.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    human(now.duration_since(time).as_secs())
}

/// A label selector as people write it; `<none>` when it selects nothing or everything.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let text = match Selector::from_json(selector) {
        Ok(selector) => selector.to_string(),
        Err(_) => return "<error>".into(),
    };
    if text.is_empty() { "<none>".into() } else { text }
}

/// Labels as people write them: `a=b,c=d`; `<none>` when there are none.
pub(super) fn labels(labels: Option<&Value>) -> String {
    let members = labels.and_then(Value::as_object).into_iter().flatten();
    let mut pairs: Vec<String> = members
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// Whether the condition `ty` is `True`.
pub(super) fn condition(object: &Value, ty: &str) -> bool {
    conditions::is_true(object, ty)
}

/// The status of the condition `ty`.
pub(super) fn condition_status<'a>(object: &'a Value, ty: &str) -> Option<&'a str> {
    conditions::status(object, ty)
}

/// Whether the object is being deleted.
pub(super) fn is_deleting(object: &Value) -> bool {
    !str_at(object, "/metadata/deletionTimestamp").is_empty()
}

/// The first `max` of `list`, and how many more there are.
pub(super) fn at_most(max: usize, list: &[String], separator: &str) -> String {
    let shown = list.get(..max).unwrap_or(list).join(separator);
    match list.len().saturating_sub(max) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// The text, or `missing` when it is empty.
pub(super) fn or(text: String, missing: &str) -> String {
    if text.is_empty() { missing.to_string() } else { text }
}
