//! Evicts pods from a node that a taint with the effect `NoExecute` repels.
//!
//! A pod that does not tolerate such a taint goes at once, one that does for a time goes after it.
//! The time counts from when the taint was added or the pod was given the node, whatever was later.

use std::slice;
use std::sync::Arc;

use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Key, Object, Timestamp};
use coracle_store::{Event, Snapshot};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use crate::Context;
use crate::plan::{DeleteOptions, Note, Plan, Step};
use crate::pod_conditions::disrupt;
use crate::scheduler::tolerates;
use crate::table::{Controller, itself};

const EFFECT: &str = "NoExecute";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "taint-eviction-controller",
    serial: false,
    watches: &[(PODS, itself), (NODES, pods_of_tainted_node)],
    decide,
};

/// Nodes are written to every few seconds; their taints seldom change.
fn pods_of_tainted_node(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let taints = |node: &Arc<Object>| node.value().pointer("/spec/taints").cloned();
    if event.old.as_ref().and_then(taints) == event.new.as_ref().and_then(taints) {
        return Vec::new();
    }
    let here = snapshot.indexed(Index::PodNode, &event.key.name, PODS, None);
    here.map(|pod| pod.key().clone()).collect()
}

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(object) = snapshot.get(key).filter(|pod| !pod.metadata().is_deleting()) else {
        return plan;
    };
    match due(snapshot, object) {
        Some(due) if due > context.now => plan.look_again_at(due),
        Some(_) => {
            let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
            plan.notes.push(Note::normal(object, "TaintManagerEviction", message));
            let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
            let options = DeleteOptions::default();
            plan.step(Step::together(disrupt(object, why, options, context.now)));
        }
        None => {}
    }
    plan
}

/// When the pod must go; `None` when it may stay.
fn due(snapshot: &Snapshot, object: &Object) -> Option<Timestamp> {
    let pod = object.view::<Pod>().ok()?;
    let node = snapshot.find(NODES, "", pod.node_name()?)?.view::<Node>().ok()?;
    let taints = node.spec.as_ref()?.taints.as_deref().unwrap_or_default();
    let repelling = taints.iter().filter(|taint| taint.effect == EFFECT);
    repelling.filter_map(|taint| due_for(&pod, taint)).min()
}

fn due_for(pod: &Pod, taint: &Taint) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref()?.tolerations.as_deref().unwrap_or_default();
    let bearing = tolerations.iter().find(|one| tolerates(slice::from_ref(*one), taint));
    let Some(toleration) = bearing else { return Some(Timestamp::MIN) };
    let seconds = toleration.toleration_seconds?;
    // The node's controller writes down when it has seen a taint first; until then nobody knows.
    let added = taint.time_added.as_ref()?.0;
    let scheduled = pods::condition(pod, "PodScheduled");
    let placed = scheduled.and_then(|condition| condition.last_transition_time.as_ref());
    let since = placed.map_or(added, |placed| placed.0.max(added));
    Some(since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::world::World;

    const BOTH: &[&str] = &["node-controller", "taint-eviction-controller"];

    fn world() -> World {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }));
        for (name, toleration) in [
            ("none", json!({"key": "other", "operator": "Exists"})),
            ("short", json!({"key": "k", "operator": "Exists", "tolerationSeconds": 5})),
            ("long", json!({"key": "k", "value": "v", "tolerationSeconds": 60})),
            ("for-ever", json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})),
        ] {
            world.create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": "node-1", "containers": [], "tolerations": [toleration]},
            }));
            world.runs(name, true);
        }
        world.settle(BOTH);
        world
    }

    fn taint(world: &mut World, taints: Value) {
        world.edit("nodes", "node-1", |node| node["spec"]["taints"] = taints);
        world.settle(BOTH);
    }

    fn staying(world: &World) -> Vec<String> {
        let names = world.names("pods").into_iter();
        names.filter(|name| !world.get("pods", name).metadata().is_deleting()).collect()
    }

    #[test]
    fn pods_go_when_they_no_longer_bear_their_nodes_taints() {
        let mut world = world();
        taint(&mut world, json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]));
        assert_eq!(staying(&world), ["for-ever", "long", "none", "short"]);
        taint(&mut world, json!([{"key": "k", "value": "v", "effect": "NoExecute"}]));
        assert_eq!(staying(&world), ["for-ever", "long", "short"]);
        let gone = world.get("pods", "none");
        let target = &gone.value()["status"]["conditions"][1];
        assert_eq!(
            (&target["type"], &target["reason"]),
            (&json!("DisruptionTarget"), &json!("DeletionByTaintManager"))
        );
        assert_eq!(world.notes, ["TaintManagerEviction Marking for deletion Pod default/none"]);
        world.pass(4, BOTH);
        assert_eq!(staying(&world), ["for-ever", "long", "short"]);
        world.pass(1, BOTH);
        assert_eq!(staying(&world), ["for-ever", "long"]);
        taint(&mut world, json!([]));
        world.pass(600, BOTH);
        assert_eq!(staying(&world), ["for-ever", "long"]);
    }
}
