//! Pods whose claims wait for their first consumer.

use serde_json::{Value, json};

use super::{CONTROLLER, node, pod};
use crate::world::World;

const TOLD: &str = "volume.kubernetes.io/selected-node";

/// Two nodes, of which the first is full, and a claim that waits.
fn world() -> World {
    let mut world = World::new();
    let mut full = node("node-1");
    full["status"]["allocatable"]["pods"] = json!("0");
    world.create(full);
    world.create(node("node-2"));
    world.create(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
        "provisioner": "coracle.dev/local", "volumeBindingMode": "WaitForFirstConsumer",
    }));
    world.create(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late",
                 "resources": {"requests": {"storage": "1Gi"}}},
    }));
    world
}

fn using(name: &str) -> Value {
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    pod(name, json!({"volumes": [volume]}))
}

fn told(world: &World) -> Option<String> {
    world.get("persistentvolumeclaims", "data").metadata().annotations.get(TOLD).cloned()
}

fn bind(world: &mut World) {
    let reach = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [told(world).unwrap()]}]}]}});
    world.create(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
        "spec": {"nodeAffinity": reach, "claimRef": {"namespace": "default", "name": "data"}},
    }));
    world.edit("persistentvolumeclaims", "data", |claim| {
        claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
        claim["spec"]["volumeName"] = json!("pv");
    });
    world.settle(CONTROLLER);
}

#[test]
fn a_claim_that_two_pods_share_is_told_one_node_once() {
    let mut world = world();
    world.create(using("a"));
    world.create(using("b"));
    world.settle(CONTROLLER);
    assert_eq!(told(&world).as_deref(), Some("node-2"));
    assert_eq!((world.place("a"), world.place("b")), (None, None));
    bind(&mut world);
    assert_eq!(world.place("a").as_deref(), Some("node-2"));
    assert_eq!(world.place("b").as_deref(), Some("node-2"));
}

#[test]
fn a_volume_keeps_its_pods_where_it_is() {
    let mut world = world();
    world.create(using("a"));
    world.settle(CONTROLLER);
    bind(&mut world);
    world.edit("nodes", "node-1", |node| node["status"]["allocatable"]["pods"] = json!("110"));
    world.edit("nodes", "node-2", |node| node["spec"]["unschedulable"] = json!(true));
    world.create(using("b"));
    world.settle(CONTROLLER);
    assert_eq!(world.place("b"), None);
    assert_eq!(
        world.told("b"),
        "0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, 1 \
         node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not \
         helpful for scheduling."
    );
}

#[test]
fn a_class_that_waits_for_nobody_holds_the_pod_up() {
    let mut world = world();
    world.edit("storageclasses.storage.k8s.io", "late", |class| {
        class["volumeBindingMode"] = json!("Immediate");
    });
    world.create(using("a"));
    world.settle(CONTROLLER);
    assert_eq!(
        world.told("a"),
        "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: \
         0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
}
