//! A list of conditions: what is not ours stays in its place.

use coracle_api::{Object, Timestamp, conditions};
use serde_json::{Value, json};

use crate::plan::Write;
use crate::{json, rfc3339};

/// A condition as a decision wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `Available`
    pub of: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Condition {
    /// A condition.
    pub fn new(
        of: &'static str,
        status: &'static str,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { of, status, reason: reason.into(), message: message.into() }
    }

    /// As JSON, without a date.
    pub fn value(&self) -> Value {
        json!({
            "type": self.of, "status": self.status, "reason": self.reason, "message": self.message,
        })
    }
}

/// `status.conditions` of an object.
pub(crate) fn of(object: &Value) -> Vec<Value> {
    conditions::all(object).to_vec()
}

/// The condition of this type.
pub(crate) fn find<'a>(conditions: &'a [Value], of: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| condition["type"] == of)
}

/// Whether the condition of this type is True.
pub(crate) fn holds(conditions: &[Value], of: &str) -> bool {
    find(conditions, of).is_some_and(|condition| condition["status"] == "True")
}

/// Removes the condition of this type.
pub(crate) fn remove(conditions: &mut Vec<Value>, of: &str) {
    conditions.retain(|condition| condition["type"] != of);
}

/// Adds a condition where there is none of its type; one that is there is left as it is.
pub(crate) fn add(all: &mut Vec<Value>, new: &Condition, now: Timestamp) {
    if find(all, new.of).is_none() {
        put(all, new, now);
    }
}

/// Puts a condition in the place of the one of its type. Its time of transition stays when its
/// status does.
pub(crate) fn put(all: &mut Vec<Value>, new: &Condition, now: Timestamp) {
    conditions::set(all, new.value(), &rfc3339(now));
}

/// The object with a condition in the place of the one of its type.
pub(crate) fn with(object: &Object, new: Value, now: Timestamp) -> Value {
    let mut all = of(object.value());
    conditions::set(&mut all, new, &rfc3339(now));
    json::with(object, &["status", "conditions"], all.into())
}

/// The write after which the object's status says so; none where it does already.
pub(crate) fn told(object: &Object, new: Value, now: Timestamp) -> Option<Write> {
    let told = with(object, new, now);
    (told["status"] != object.value()["status"]).then(|| Write::status(told))
}
