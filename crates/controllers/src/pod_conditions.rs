//! Conditions of pods that controllers set, and what becomes of a pod that one disrupts.

use std::sync::Arc;

use coracle_api::{Object, Timestamp, conditions};
use serde_json::{Value, json};

use crate::plan::{DeleteOptions, Write};

/// The condition of a pod that goes for another reason than its own.
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// The pod with `condition`, of this generation of it and dated.
pub(crate) fn with(pod: &Object, mut condition: Value, now: Timestamp) -> Value {
    if let Some(generation) = pod.metadata().generation {
        condition["observedGeneration"] = json!(generation);
    }
    crate::workload::conditions::with(pod, condition, now)
}

/// The pod says why it goes, once, and goes: to be done together.
pub(crate) fn disrupt(
    pod: &Arc<Object>,
    (reason, message): (&str, &str),
    options: DeleteOptions,
    now: Timestamp,
) -> Vec<Write> {
    let said = conditions::find(pod.value(), DISRUPTION_TARGET);
    if said.is_some_and(|said| said["status"] == "True" && said["reason"] == reason) {
        return vec![Write::delete_with(pod, options)];
    }
    let condition = json!({
        "type": DISRUPTION_TARGET,
        "status": "True",
        "reason": reason,
        "message": message,
    });
    let marked = Write::status(with(pod, condition, now));
    let mut delete = Write::delete_with(pod, options);
    // It is the version that the first write makes.
    delete.forget_version();
    vec![marked, delete]
}
