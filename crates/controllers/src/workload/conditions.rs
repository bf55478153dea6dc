//! A list of conditions: what is not ours stays in its place.

use coracle_api::{Timestamp, conditions};
use serde_json::{Value, json};

use crate::rfc3339;

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
    let new = json!({
        "type": new.of, "status": new.status, "reason": new.reason, "message": new.message,
    });
    conditions::set(all, new, &rfc3339(now));
}
