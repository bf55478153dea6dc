//! The scheduler: which node a pod runs on.
//!
//! One decision looks at all pods that wait, by priority and age, and places as many as it can: the
//! nodes are added up once, and two pods cannot be given the same free place. A node is found by
//! `filters` (what makes a node impossible, in upstream's words) and chosen by `scores`, weighed as
//! upstream's are. A pod whose claims wait for their first consumer gets its node in two steps, as
//! upstream: the claims are told the node, and the pod is bound when they are. Where there is no
//! node, `preemption` looks for one that less important pods can leave: they are deleted, the node
//! is kept free for the pod, and it gets it when they have gone.

mod ask;
mod budgets;
mod company;
mod figures;
mod filters;
mod likes;
mod nodes;
mod preemption;
mod refusals;
mod request;
mod round;
mod scene;
mod scores;
mod selectors;
mod shape;
mod spread;
mod terms;
mod volumes;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::Arc;

use coracle_api::pod_resources::{RESIZE_PENDING, statuses};
use coracle_api::pods::AnyPod;
use coracle_api::resources::{
    NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES,
};
use coracle_api::{Index, Key, Object, Timestamp, conditions};
use coracle_store::{Event, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

pub(crate) use self::figures::figures;
pub(crate) use self::selectors::allows_node;
pub use self::selectors::tolerates;

use self::round::Round;
use crate::Context;
use crate::plan::Plan;
use crate::table::Controller;
use crate::volumes::{SELECTED_NODE, is_bound};

/// Placements that one plan makes at most; the rest are made at once after it.
const PLACEMENTS_MAX: usize = 100;

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "default-scheduler",
    serial: false,
    watches: &[
        (PODS, when_a_pod_waits_or_goes),
        (NODES, when_a_node_differs),
        (PERSISTENT_VOLUME_CLAIMS, when_a_claim_can_be_used),
        (PERSISTENT_VOLUMES, when_a_volume_is_free_or_gone),
        (STORAGE_CLASSES, always),
    ],
    decide,
};

/// All waiting pods are one question.
fn question() -> Vec<Key> {
    vec![Key::new(PODS, "", "")]
}

fn always(_: &Event, _: &Snapshot) -> Vec<Key> {
    question()
}

/// A pod that waits has come or changed, or one that had a place has gone, or is another one to
/// those around it, or asks for something else.
fn when_a_pod_waits_or_goes(event: &Event, _: &Snapshot) -> Vec<Key> {
    let waits = event.new.as_ref().is_some_and(|pod| waiting(pod).is_some());
    let frees = event.new.as_ref().is_none_or(AnyPod::has_ended);
    let (Some(old), Some(new)) = (&event.old, &event.new) else {
        return if waits || frees { question() } else { Vec::new() };
    };
    let gives_back = gives_back(old.value(), new.value());
    let (old, new) = (old.metadata(), new.metadata());
    let moves = old.labels != new.labels || old.is_deleting() != new.is_deleting();
    let asks = old.generation != new.generation;
    if waits || frees || moves || asks || gives_back { question() } else { Vec::new() }
}

/// Whether a pod that is resized has something else now than it had, or will not have what it asks
/// for: until then it is counted with the most of both.
fn gives_back(old: &Value, new: &Value) -> bool {
    let differs = |(old, new): (&Value, &Value)| {
        let fields = ["resources", "allocatedResources"];
        fields.iter().any(|field| !old[*field].is_null() && old[*field] != new[*field])
    };
    let reason = |pod| conditions::find(pod, RESIZE_PENDING).map(|condition| &condition["reason"]);
    statuses(old).zip(statuses(new)).any(differs) || reason(old) != reason(new)
}

/// A claim that has come, is bound, or is not told a node any more.
fn when_a_claim_can_be_used(event: &Event, _: &Snapshot) -> Vec<Key> {
    let (Some(old), Some(new)) = (&event.old, &event.new) else { return question() };
    let told = |claim: &Object| claim.metadata().annotations.contains_key(SELECTED_NODE);
    let bound = is_bound(new) && !is_bound(old);
    let goes = new.metadata().is_deleting() && !old.metadata().is_deleting();
    let changes = old.value()["spec"] != new.value()["spec"];
    let untold = told(old) && !told(new);
    if bound || goes || changes || untold { question() } else { Vec::new() }
}

/// Volumes that are made for a claim are news when the claim is bound.
fn when_a_volume_is_free_or_gone(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_free = event.last.str_at("/spec/claimRef/name").is_none();
    if is_free || event.new.is_none() { question() } else { Vec::new() }
}

/// A node that has changed in more than what it reports of itself every few seconds.
fn when_a_node_differs(event: &Event, _: &Snapshot) -> Vec<Key> {
    let (Some(old), Some(new)) = (&event.old, &event.new) else { return question() };
    let parts = |node: &Object| {
        let status = &node.value()["status"];
        let ready = nodes::is_ready(node);
        (node.value()["spec"].clone(), status["allocatable"].clone(), ready)
    };
    let same = parts(old) == parts(new) && old.metadata().labels == new.metadata().labels;
    if same { Vec::new() } else { question() }
}

/// The pod, when it waits for this scheduler.
fn waiting(object: &Arc<Object>) -> Option<Arc<Pod>> {
    if object.metadata().is_deleting() || object.str_at("/spec/nodeName").is_some() {
        return None;
    }
    let pod = object.view::<Pod>().ok()?;
    let spec = pod.spec.as_ref()?;
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == CONTROLLER.name);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    (ours && !gated && !pod.has_ended()).then_some(pod)
}

/// Who comes first: by priority, then by age.
fn rank((object, pod): &(Arc<Object>, Arc<Pod>)) -> (Reverse<i32>, Option<Timestamp>, &Key) {
    (Reverse(pod.priority()), object.metadata().creation_timestamp, object.key())
}

/// Places the pods that wait.
pub(crate) fn decide(snapshot: &Snapshot, _: &Key, context: &Context<'_>) -> Plan {
    let mut queue: Vec<_> = snapshot
        .indexed(Index::PodNode, "", PODS, None)
        .filter_map(|object| Some((Arc::clone(object), waiting(object)?)))
        .collect();
    if queue.is_empty() {
        return Plan::default();
    }
    // Nothing is cloned: there may be thousands, and a hundred are placed at a time.
    queue.sort_by(|one, other| rank(one).cmp(&rank(other)));
    let mut round = Round::of(snapshot, context.now);
    for (object, pod) in queue {
        if round.plan.steps.len() >= PLACEMENTS_MAX {
            round.plan.look_again_at(context.now);
            break;
        }
        round.place(&object, &pod);
    }
    round.plan
}
