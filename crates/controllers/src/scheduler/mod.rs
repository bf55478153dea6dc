//! The scheduler: which node a pod runs on.
//!
//! One decision looks at all pods that wait, by priority and age, and places as many as it can: the
//! nodes are added up once, and two pods cannot be given the same free place. A node is found by
//! `filters` (what makes a node impossible, in upstream's words) and chosen by `nodes` (where there
//! is most room, away from its like). A pod whose claims wait for their first consumer gets its
//! node in two steps, as upstream: the claims are told the node, and the pod is bound when they are.
//!
//! Nothing is taken from a pod that runs: there is no preemption.

mod figures;
mod filters;
mod neighbours;
mod nodes;
mod request;
mod selectors;
mod volumes;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{
    NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES,
};
use coracle_api::{Index, Key, Object, Subresource, Timestamp};
use coracle_store::{Event, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

pub(crate) use self::figures::figures;
pub(crate) use self::selectors::{allows_node, tolerates};

use self::neighbours::Neighbours;
use self::nodes::Nodes;
use self::request::Request;
use self::volumes::Volumes;
use crate::plan::{Note, Plan, Step, Write};
use crate::table::Controller;
use crate::volumes::{SELECTED_NODE, is_bound};
use crate::{Context, json};

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

/// A pod that waits has come or changed, or one that had a place has gone.
fn when_a_pod_waits_or_goes(event: &Event, _: &Snapshot) -> Vec<Key> {
    let waits = event.new.as_ref().is_some_and(|pod| waiting(pod).is_some());
    let frees = event.new.as_ref().is_none_or(AnyPod::has_ended);
    let labels = |object: &Arc<Object>| object.metadata().labels.clone();
    let moves = event.old.as_ref().map(labels) != event.new.as_ref().map(labels);
    if waits || frees || moves { question() } else { Vec::new() }
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

/// Places the pods that wait.
pub(crate) fn decide(snapshot: &Snapshot, _: &Key, context: &Context<'_>) -> Plan {
    let mut queue: Vec<_> = snapshot
        .indexed(Index::PodNode, "", PODS, None)
        .filter_map(|object| Some((Arc::clone(object), waiting(object)?)))
        .collect();
    if queue.is_empty() {
        return Plan::default();
    }
    queue.sort_by_key(|(object, pod)| {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        (Reverse(priority), object.metadata().creation_timestamp, object.key().clone())
    });
    let mut nodes = Nodes::of(snapshot);
    let mut plan = Plan::default();
    for (object, pod) in queue {
        if plan.steps.len() >= PLACEMENTS_MAX {
            plan.look_again_at(context.now);
            break;
        }
        place(snapshot, &mut nodes, &object, &pod, context.now, &mut plan);
    }
    plan
}

/// Finds a node for one pod, or says why there is none.
fn place(
    snapshot: &Snapshot,
    nodes: &mut Nodes,
    object: &Arc<Object>,
    pod: &Arc<Pod>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let found = Volumes::of(snapshot, pod)
        .map_err(|why| failed_before_nodes(nodes, &why))
        .and_then(|volumes| choose(nodes, object, pod, &volumes).map(|node| (node, volumes)));
    match found {
        Ok((node, volumes)) => {
            let claims = nodes.get(&node).map(|place| volumes.assign(place)).unwrap_or_default();
            nodes.add(&node, object);
            if claims.is_empty() && volumes.are_bound() {
                plan.rests_on.extend(volumes.held());
                let Key { namespace, name, .. } = object.key();
                let told = format!("Successfully assigned {namespace}/{name} to {node}");
                let told = Note::normal(object, "Scheduled", told);
                plan.step(Step::of(bind(object, &node)).say(told));
            } else {
                plan.step(Step::together(claims));
            }
        }
        Err(why) => refuse(object, &why, now, plan),
    }
}

fn choose(nodes: &Nodes, object: &Object, pod: &Pod, volumes: &Volumes) -> Result<String, String> {
    if nodes.is_empty() {
        return Err("no nodes available to schedule pods".to_owned());
    }
    let request = Request::of(object);
    let neighbours = Neighbours::of(nodes, object, pod);
    let alike = nodes.alike(object);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best = None;
    for node in nodes.iter() {
        let why_not = filters::why_not(node, nodes, pod, &request, volumes, &neighbours);
        if why_not.is_empty() {
            let alike = alike.get(node.name()).copied().unwrap_or(0);
            let score = node.score(pod, &request, alike);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, node.name().to_owned()));
            }
        }
        for reason in why_not {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    best.map(|(_, name)| name).ok_or_else(|| unavailable(nodes, &reasons))
}

fn unavailable(nodes: &Nodes, reasons: &BTreeMap<String, usize>) -> String {
    let mut said: Vec<_> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    said.sort();
    format!("0/{} nodes are available: {}.", nodes.len(), said.join(", "))
}

fn failed_before_nodes(nodes: &Nodes, why: &str) -> String {
    format!("0/{} nodes are available: {why}.", nodes.len())
}

fn bind(pod: &Object, node: &str) -> Write {
    let metadata = pod.metadata();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    Write::CreateSubresource { key: pod.key().clone(), subresource: Subresource::Binding, body }
}

/// Says in the pod's status and in an event why it waits, once per reason.
fn refuse(pod: &Arc<Object>, why: &str, now: Timestamp, plan: &mut Plan) {
    if conditions::find(pod.value(), "PodScheduled").is_some_and(|said| said["message"] == *why) {
        return;
    }
    let mut all = conditions::all(pod.value()).to_vec();
    let said = json!({
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": null,
        "reason": "Unschedulable",
        "message": why,
    });
    conditions::set(&mut all, said, &crate::rfc3339(now));
    let value = json::with(pod, &["status", "conditions"], Value::Array(all));
    let told = Note::warning(pod, "FailedScheduling", why);
    plan.step(Step::of(Write::status(value)).say(told));
}
