//! Topology spread constraints, field by field.

use serde_json::{Value, json};

use super::{CONTROLLER, node, pod, world};
use crate::world::World;

const ZONE: &str = "topology.kubernetes.io/zone";

fn in_zone(name: &str, zone: &str) -> Value {
    let mut node = node(name);
    node["metadata"]["labels"][ZONE] = json!(zone);
    node["status"]["allocatable"]["pods"] = json!("110");
    node
}

fn constraint(changes: Value) -> Value {
    let mut constraint = json!({
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    constraint.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    constraint
}

fn spread(name: &str, changes: Value) -> Value {
    pod(name, json!({"topologySpreadConstraints": [constraint(changes)]}))
}

/// A pod that is where it is told.
fn at(name: &str, node: &str) -> Value {
    pod(name, json!({"nodeName": node}))
}

fn placed(nodes: &[Value], there: &[Value], new: Value) -> Option<String> {
    let mut world = world(nodes, there);
    world.create(new);
    world.settle(CONTROLLER);
    world.place("new")
}

#[test]
fn too_few_domains_count_as_empty_ones() {
    let nodes = [in_zone("node-1", "a"), in_zone("node-2", "b")];
    let there = [at("x", "node-1"), at("y", "node-2")];
    let place = |least: i64| placed(&nodes, &there, spread("new", json!({"minDomains": least})));
    assert!(place(2).is_some());
    assert_eq!(place(3), None);
}

#[test]
fn nodes_that_the_pod_cannot_be_on_count_as_it_says() {
    let mut tainted = in_zone("node-2", "b");
    tainted["spec"] = json!({"taints": [{"key": "a", "effect": "NoSchedule"}]});
    let nodes = [in_zone("node-1", "a"), tainted];
    let there = [at("x", "node-1")];
    let place = |changes: Value| placed(&nodes, &there, spread("new", changes));
    assert_eq!(place(json!({})), None);
    assert_eq!(place(json!({"nodeTaintsPolicy": "Honor"})).as_deref(), Some("node-1"));

    let nodes = [in_zone("node-1", "a"), in_zone("node-2", "b")];
    let chosen = |changes: Value| {
        let mut new = spread("new", changes);
        new["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-1"});
        placed(&nodes, &there, new)
    };
    assert_eq!(chosen(json!({})).as_deref(), Some("node-1"));
    assert_eq!(chosen(json!({"nodeAffinityPolicy": "Ignore"})), None);
}

#[test]
fn only_pods_of_the_same_revision_are_counted() {
    let nodes = [in_zone("node-1", "a"), in_zone("node-2", "b")];
    let revision = |mut pod: Value, revision: &str| {
        pod["metadata"]["labels"]["revision"] = json!(revision);
        pod
    };
    let mut cordoned = nodes.clone();
    cordoned[1]["spec"]["unschedulable"] = json!(true);
    let there = [revision(at("x", "node-1"), "1")];
    let new = |keys: Value| revision(spread("new", json!({"matchLabelKeys": keys})), "2");
    assert_eq!(placed(&cordoned, &there, new(json!([]))), None);
    let place = placed(&cordoned, &there, new(json!(["revision", "no-such-label"])));
    assert_eq!(place.as_deref(), Some("node-1"));
}

#[test]
fn pods_that_go_and_pods_of_other_namespaces_do_not_count() {
    let nodes = [in_zone("node-1", "a"), in_zone("node-2", "b")];
    let mut cordoned = nodes.clone();
    cordoned[1]["spec"]["unschedulable"] = json!(true);
    let mut world = world(&cordoned, &[at("x", "node-1")]);
    let mut foreign = at("y", "node-1");
    foreign["metadata"]["namespace"] = json!("other");
    world.create(foreign);
    world.create(spread("new", json!({})));
    world.settle(CONTROLLER);
    assert_eq!(world.place("new"), None);
    world.delete("pods", "x", None);
    world.settle(CONTROLLER);
    assert_eq!(world.place("new").as_deref(), Some("node-1"));
}

#[test]
fn a_node_without_the_label_is_no_place() {
    let mut world = world(&[node("node-1")], &[spread("new", json!({}))]);
    assert_eq!(
        world.told("new"),
        format!(
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints \
             (missing required label). {}",
            super::NOT_HELPFUL
        )
    );
    world.edit("nodes", "node-1", |node| node["metadata"]["labels"][ZONE] = json!("a"));
    world.settle(CONTROLLER);
    assert!(world.place("new").is_some());
}

#[test]
fn what_should_hold_is_weighed() {
    let nodes = [in_zone("node-1", "a"), in_zone("node-2", "a"), in_zone("node-3", "b")];
    let there = [at("x", "node-1")];
    let anyway = json!({"whenUnsatisfiable": "ScheduleAnyway"});
    let place = placed(&nodes, &there, spread("new", anyway.clone()));
    assert_eq!(place.as_deref(), Some("node-3"));
    // It never keeps a pod waiting.
    let place = placed(&nodes[..1], &there, spread("new", anyway));
    assert_eq!(place.as_deref(), Some("node-1"));
}

#[test]
fn pods_of_a_service_or_an_owner_are_spread_unasked() {
    let world = |more: Value, owner: Value| -> World {
        let nodes = [in_zone("node-1", "a"), in_zone("node-2", "b")];
        // The other node is fuller, but not with pods of this kind.
        let mut full = pod(
            "full",
            json!({"nodeName": "node-2", "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1", "memory": "512Mi"}}}]}),
        );
        full["metadata"]["labels"] = json!({"app": "full"});
        let mut world = world(&nodes, &[at("x", "node-1"), full, more]);
        let mut new = pod("new", json!({}));
        new["metadata"]["ownerReferences"] = owner;
        world.create(new);
        world.settle(CONTROLLER);
        world
    };
    let named = |api: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": api, "kind": kind,
            "metadata": {"name": "web", "namespace": "default"}, "spec": spec,
        })
    };
    let service = named("v1", "Service", json!({"selector": {"app": "web"}}));
    assert_eq!(world(service, json!([])).place("new").as_deref(), Some("node-2"));
    let set = named("apps/v1", "ReplicaSet", json!({"selector": {"matchLabels": {"app": "web"}}}));
    // The fourth object of a world, counted by its nodes and pods.
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "uid-5",
        "controller": true,
    }]);
    assert_eq!(world(set.clone(), owner).place("new").as_deref(), Some("node-2"));
    assert_eq!(world(set, json!([])).place("new").as_deref(), Some("node-1"));
}
