//! What becomes of nodes that do not answer, and of pods whose node is gone.
//!
//! A node that has not renewed its lease for 40 seconds is not known to be Ready; one that is not
//! Ready is tainted, so that nothing new is placed there. Pods are not evicted from it: on one
//! machine the data do not come along.

use coracle_api::conditions;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{LEASES, NODES, PODS};
use coracle_api::{Index, Key, Object, Timestamp};
use coracle_store::{Event, Snapshot};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::plan::{Because, DeleteOptions, Note, Plan, Step, Write};
use crate::pod_conditions::disrupt;
use crate::table::{Controller, itself};
use crate::{Context, json};

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// How long a node may be silent.
const GRACE: SignedDuration = SignedDuration::from_secs(40);
/// How long pods outlive their Node object, which somebody may have deleted by mistake.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// The condition of a pod that says since when its node is missing.
const NODE_GONE: &str = "NodeGone";

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions of a node under which nothing new is placed there, and the taints that say so.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The row of the table for nodes.
pub(crate) const NODE_LIFECYCLE: Controller = Controller {
    name: "node-controller",
    serial: false,
    watches: &[(NODES, itself), (LEASES, node_of_lease)],
    decide,
};

/// The row of the table for pods without a node.
pub(crate) const POD_GC: Controller = Controller {
    name: "pod-garbage-collector",
    serial: false,
    watches: &[(PODS, itself), (NODES, pods_of_lost_node)],
    decide: decide_pod,
};

fn node_of_lease(event: &Event, _: &Snapshot) -> Vec<Key> {
    if *event.key.namespace == *LEASE_NAMESPACE {
        vec![Key::new(NODES, "", event.key.name.clone())]
    } else {
        Vec::new()
    }
}

/// The pods of a node that has gone, or come back.
fn pods_of_lost_node(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.new.is_some() && event.old.is_some() {
        return Vec::new();
    }
    let lost = snapshot.indexed(Index::PodNode, &event.key.name, PODS, None);
    lost.map(|pod| pod.key().clone()).collect()
}

/// Says of the node at `key` what its lease and its conditions say.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(node) = snapshot.get(key).filter(|node| !node.metadata().is_deleting()) else {
        return plan;
    };
    if let Some(due) = silent_at(snapshot, node) {
        if due > context.now {
            plan.look_again_at(due);
        } else if let Some(write) = unknown(node, context.now) {
            plan.write(write);
            let told = format!("Node {} status is now: NodeNotReady", node.metadata().name);
            plan.notes.push(Note::normal(node, "NodeNotReady", told));
            return plan;
        }
    }
    plan.write_each(taint(node, context.now));
    plan
}

/// When the node will have been silent for too long; nothing, when it has no lease.
fn silent_at(snapshot: &Snapshot, node: &Object) -> Option<Timestamp> {
    let lease = snapshot.find(LEASES, LEASE_NAMESPACE, &node.metadata().name)?;
    let renewed: Timestamp = lease.str_at("/spec/renewTime")?.parse().ok()?;
    renewed.checked_add(GRACE).ok()
}

fn ready(node: &Object) -> &str {
    conditions::status(node.value(), "Ready").unwrap_or_default()
}

/// The node's conditions, which nobody vouches for any more.
fn unknown(node: &Object, now: Timestamp) -> Option<Write> {
    let mut conditions = node.value()["status"]["conditions"].as_array()?.clone();
    let mut changed = false;
    for condition in conditions.iter_mut().filter(|condition| condition["status"] != "Unknown") {
        condition["status"] = json!("Unknown");
        condition["reason"] = json!("NodeStatusUnknown");
        condition["message"] = json!("Kubelet stopped posting node status.");
        condition["lastTransitionTime"] = json!(crate::rfc3339(now));
        changed = true;
    }
    let path = ["status", "conditions"];
    changed.then(|| Write::status(json::with(node, &path, Value::Array(conditions))))
}

/// The taints that the node's state calls for, beside those that others gave it.
fn taint(node: &Object, now: Timestamp) -> Option<Write> {
    let wanted: &[(&str, &str)] = match ready(node) {
        "True" => &[],
        "Unknown" => &[(UNREACHABLE, "NoSchedule")],
        _ => &[(NOT_READY, "NoSchedule")],
    };
    let cordon = node.value()["spec"]["unschedulable"] == true;
    let cordon = cordon.then_some((UNSCHEDULABLE, "NoSchedule"));
    let old = node.value()["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let is_ours = |taint: &Value| {
        taint["effect"] == "NoSchedule"
            && [NOT_READY, UNREACHABLE, UNSCHEDULABLE]
                .into_iter()
                .chain(PRESSURES.into_iter().map(|(_, key)| key))
                .any(|key| taint["key"] == key)
    };
    let added = json!(crate::rfc3339(now));
    let mut taints: Vec<_> = old.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    let pressed = PRESSURES.into_iter().filter(|(name, _)| conditions::is_true(node.value(), name));
    let pressed = pressed.map(|(_, key)| (key, "NoSchedule"));
    for (key, effect) in wanted.iter().copied().chain(cordon).chain(pressed) {
        let there = old.iter().find(|taint| taint["key"] == key && taint["effect"] == effect);
        let fresh = || json!({"key": key, "effect": effect, "timeAdded": added});
        taints.push(there.cloned().unwrap_or_else(fresh));
    }
    // Somebody's taint counts from when it is seen.
    let undated =
        |taint: &&mut Value| taint["effect"] == "NoExecute" && taint["timeAdded"].is_null();
    taints.iter_mut().filter(undated).for_each(|taint| taint["timeAdded"] = added.clone());
    let path = ["spec", "taints"];
    (taints != old).then(|| Write::Update(json::with(node, &path, Value::Array(taints))))
}

/// A pod whose node stays gone cannot be stopped by anybody: it is over. So is one that is deleted
/// and never had a node. What still waits for its end hears that it has failed.
fn decide_pod(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(pod) = snapshot.get(key) else { return plan };
    let node = pod.str_at("/spec/nodeName").unwrap_or_default();
    if node.is_empty() && pod.metadata().is_deleting() {
        plan.write_each(failed(pod));
        return plan;
    }
    let is_gone = !node.is_empty() && snapshot.find(NODES, "", node).is_none();
    let since = gone_since(pod);
    match (is_gone, since) {
        (false, None) => return plan,
        (false, Some(_)) => plan.write(without_node(pod, None)),
        (true, None) => plan.write(without_node(pod, Some(context.now))),
        (true, Some(since)) => match since.checked_add(QUARANTINE) {
            Ok(due) if due > context.now => plan.look_again_at(due),
            _ => {
                let now = Some(0);
                let options =
                    DeleteOptions { grace_period_seconds: now, ..DeleteOptions::default() };
                let why = ("DeletionByPodGC", "PodGC: node no longer exists");
                let mut writes = disrupt(pod, why, options, context.now);
                for write in writes.iter_mut().filter(|_| !pod.has_ended()) {
                    if let Write::UpdateSubresource(_, marked) = write {
                        json::set(marked, &["status", "phase"], json!("Failed"));
                    }
                }
                plan.step(Step::together(writes));
            }
        },
    }
    if is_gone {
        let why = format!("node {node} has no Node object: the pod goes 40 s after it was missed");
        plan.because = Some(Because::only(why));
    }
    plan
}

/// The pod as one that has failed, if it has not ended. Upstream's pod garbage collector.
fn failed(pod: &Object) -> Option<Write> {
    let failed = || Write::status(json::with(pod, &["status", "phase"], json!("Failed")));
    (!pod.has_ended()).then(failed)
}

fn gone_since(pod: &Object) -> Option<Timestamp> {
    conditions::find(pod.value(), NODE_GONE)?["lastTransitionTime"].as_str()?.parse().ok()
}

/// The pod's conditions, with or without that of a missing node.
fn without_node(pod: &Object, since: Option<Timestamp>) -> Write {
    let mut conditions = conditions::all(pod.value()).to_vec();
    conditions.retain(|condition| condition["type"] != NODE_GONE);
    conditions.extend(since.map(|since| {
        json!({
            "type": NODE_GONE,
            "status": "True",
            "lastTransitionTime": crate::rfc3339(since),
            "reason": "NodeNotFound",
            "message": "The pod's node has no Node object; the pod is deleted unless it comes back.",
        })
    }));
    Write::status(json::with(pod, &["status", "conditions"], Value::Array(conditions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLER: &[&str] = &["node-controller"];

    fn world(ready: &str) -> World {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }));
        world.create(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "node-1", "namespace": "kube-node-lease"},
            "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"},
        }));
        world.settle(CONTROLLER);
        world
    }

    fn taints(world: &World) -> Vec<String> {
        let node = world.get("nodes", "node-1");
        let taints = node.value()["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_node_that_is_not_ready_is_tainted_until_it_is() {
        let mut world = world("False");
        assert_eq!(taints(&world), [NOT_READY]);
        world.edit("nodes", "node-1", |node| {
            node["status"]["conditions"][0]["status"] = json!("True");
        });
        world.settle(CONTROLLER);
        assert_eq!(taints(&world), [""; 0]);
        world.edit("nodes", "node-1", |node| node["spec"]["unschedulable"] = json!(true));
        world.settle(CONTROLLER);
        assert_eq!(taints(&world), [UNSCHEDULABLE]);
    }

    #[test]
    fn a_node_that_is_short_of_something_is_tainted_until_it_is_not() {
        let mut world = world("True");
        let set = |world: &mut World, status: &str| {
            world.edit("nodes", "node-1", |node| {
                node["status"]["conditions"] = json!([
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "DiskPressure", "status": status},
                    {"type": "Ready", "status": "True"},
                ]);
            });
            world.settle(CONTROLLER);
        };
        set(&mut world, "True");
        assert_eq!(taints(&world), ["node.kubernetes.io/disk-pressure"]);
        set(&mut world, "False");
        assert_eq!(taints(&world), [""; 0]);
    }

    #[test]
    fn a_node_that_is_silent_is_not_known_to_be_ready() {
        let mut world = world("True");
        world.pass(39, CONTROLLER);
        assert_eq!(taints(&world), [""; 0]);
        world.pass(1, CONTROLLER);
        assert_eq!(taints(&world), [UNREACHABLE]);
        let ready = world.get("nodes", "node-1").value()["status"]["conditions"][0].clone();
        assert_eq!(ready["status"], "Unknown");
        assert_eq!(ready["message"], "Kubelet stopped posting node status.");
    }

    #[test]
    fn a_node_deleted_by_mistake_takes_its_pods_only_if_it_stays_away() {
        const POD_GC: &[&str] = &["pod-garbage-collector"];
        for comes_back in [true, false] {
            let mut world = world("True");
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"nodeName": "node-1", "containers": []},
            }));
            world.runs("web", true);
            let node = world.get("nodes", "node-1").value().clone();
            world.delete("nodes", "node-1", None);
            world.settle(POD_GC);
            assert!(gone_since(&world.get("pods", "web")).is_some());
            world.pass(39, POD_GC);
            assert_eq!(world.names("pods"), ["web"]);
            if comes_back {
                world.create(node);
                world.settle(POD_GC);
                assert!(gone_since(&world.get("pods", "web")).is_none());
            }
            world.pass(1, POD_GC);
            let pod = world.get("pods", "web");
            assert_eq!(pod.metadata().is_deleting(), !comes_back);
            assert_eq!(pod.has_ended(), !comes_back);
            let told = conditions::find(pod.value(), "DisruptionTarget");
            assert_eq!(
                told.map(|it| &it["reason"]),
                (!comes_back).then_some(&json!("DeletionByPodGC"))
            );
        }
    }

    #[test]
    fn a_pod_that_is_held_and_never_had_a_node_fails_when_it_is_deleted() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "default",
                "finalizers": ["batch.kubernetes.io/job-tracking"],
            },
            "spec": {"containers": []},
        }));
        world.delete("pods", "web", None);
        world.settle(&["pod-garbage-collector"]);
        assert_eq!(world.get("pods", "web").value()["status"]["phase"], "Failed");
    }
}
