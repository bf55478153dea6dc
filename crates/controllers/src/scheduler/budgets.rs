//! Which of the pods that might go are guarded by a PodDisruptionBudget that has nothing left.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::resources::POD_DISRUPTION_BUDGETS;
use coracle_api::{Key, Object};
use coracle_store::Snapshot;

/// `pods`, in their order: those whose going would break a budget, and the others. What a budget
/// allows is used up by the pods in their order.
pub(super) fn split(
    snapshot: &Snapshot,
    pods: Vec<Arc<Object>>,
) -> (Vec<Arc<Object>>, Vec<Arc<Object>>) {
    let mut left: BTreeMap<Key, i64> = BTreeMap::new();
    pods.into_iter().partition(|pod| breaks_one(snapshot, pod, &mut left))
}

fn breaks_one(snapshot: &Snapshot, pod: &Object, left: &mut BTreeMap<Key, i64>) -> bool {
    let metadata = pod.metadata();
    if metadata.labels.is_empty() {
        return false;
    }
    let (namespace, labels) = (&metadata.namespace, &metadata.labels);
    let mut breaks = false;
    for budget in snapshot.selecting(POD_DISRUPTION_BUDGETS, namespace, labels) {
        let status = &budget.value()["status"];
        let is_going = !status["disruptedPods"][&metadata.name].is_null();
        if is_going || budget.selector().is_everything() {
            continue;
        }
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
        let left = left.entry(budget.key().clone()).or_insert(allowed);
        *left = left.saturating_sub(1);
        breaks |= *left < 0;
    }
    breaks
}
