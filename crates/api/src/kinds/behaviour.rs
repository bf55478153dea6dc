//! What writing a kind involves: the functions of each row's [`Strategy`](crate::Strategy).
//!
//! The facts of a strategy (names, generation, selectable fields) stand in the table; here, and
//! only here, a row gets its functions.

use crate::kind::Kind;

/// Sets the functions of the row: defaults, what is prepared, validation, warnings.
pub(super) fn attach(kind: &mut Kind) {
    let strategy = &mut kind.strategy;
    if (kind.group.as_ref(), kind.plural.as_ref()) == ("", "pods") {
        strategy.grace_period = Some(termination_grace_period);
    }
}

/// `spec.terminationGracePeriodSeconds`, which defaulting has set.
fn termination_grace_period(pod: &serde_json::Value) -> i64 {
    let seconds = pod.pointer("/spec/terminationGracePeriodSeconds");
    seconds.and_then(serde_json::Value::as_i64).unwrap_or(30)
}
