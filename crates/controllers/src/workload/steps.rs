//! Steps that make and delete one pod of an owner, with what users are told of them.

use std::sync::Arc;

use coracle_api::Object;
use serde_json::Value;

use crate::json;
use crate::plan::{Note, Step, Write};

/// Pods that one plan makes or deletes at most: each of them asks for the next plan.
pub(crate) const BURST: usize = 500;

/// Makes a pod. The first that is refused keeps those after it from being tried.
pub(crate) fn create_pod(owner: &Arc<Object>, pod: Value) -> Step {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut step = Step { needs_earlier: true, ..Step::default() };
    step.write_or(Write::Create(pod), Note::warning(owner, "FailedCreate", "Error creating: "));
    step.say(Note::normal(owner, "SuccessfulCreate", format!("Created pod: {name}")))
}

/// Deletes a pod.
pub(crate) fn delete_pod(owner: &Arc<Object>, pod: &Object) -> Step {
    let mut step = Step { needs_earlier: true, ..Step::default() };
    step.write_or(Write::delete(pod), Note::warning(owner, "FailedDelete", "Error deleting: "));
    let name = &pod.metadata().name;
    step.say(Note::normal(owner, "SuccessfulDelete", format!("Deleted pod: {name}")))
}

/// Deletes a pod and lets go of it: its owner does not wait for its end.
pub(crate) fn release_and_delete(owner: &Arc<Object>, pod: &Object, finalizer: &str) -> Step {
    let mut step = delete_pod(owner, pod);
    if pod.metadata().finalizers.iter().any(|held| held == finalizer) {
        // The deletion comes after the update: of a version that nobody has seen yet.
        step.writes.iter_mut().for_each(Write::forget_version);
        step.writes.insert(0, Write::Update(json::without_finalizer(pod, finalizer)));
        for refusal in &mut step.refusals {
            refusal.write = refusal.write.saturating_add(1);
        }
    }
    step
}
