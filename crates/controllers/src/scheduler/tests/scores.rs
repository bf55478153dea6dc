//! Which of several nodes is chosen.

use serde_json::{Value, json};

use super::{node, pod, world};

/// Where a pod goes that could go to both nodes.
fn chosen(nodes: [Value; 2], there: &[Value], new: Value) -> String {
    let mut world = world(&nodes, there);
    world.create(new);
    world.settle(super::CONTROLLER);
    world.place("new").unwrap()
}

fn big(name: &str) -> Value {
    let mut node = node(name);
    node["status"]["allocatable"] = json!({"cpu": "8", "memory": "16Gi", "pods": "110"});
    node
}

fn asking(name: &str, cpu: &str, memory: &str, more: Value) -> Value {
    let requests = json!({"cpu": cpu, "memory": memory});
    let containers = json!([{"name": "c", "image": "app", "resources": {"requests": requests}}]);
    let mut pod = pod(name, json!({"containers": containers}));
    pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod
}

fn new(more: Value) -> Value {
    asking("new", "100m", "100Mi", more)
}

/// Fills the second node: with nothing else to say, the first is chosen.
fn full() -> Value {
    let mut full = asking("full", "2", "4Gi", json!({"nodeName": "node-2"}));
    full["metadata"]["labels"] = json!({"app": "full"});
    full
}

fn near(app: &str) -> Value {
    let selector = json!({"matchLabels": {"app": app}});
    let term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    json!({"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 10, "podAffinityTerm": term}]})
}

#[test]
fn the_emptier_node_is_chosen() {
    assert_eq!(chosen([big("node-1"), big("node-2")], &[full()], new(json!({}))), "node-1");
    let mut other = full();
    other["spec"]["nodeName"] = json!("node-1");
    assert_eq!(chosen([big("node-1"), big("node-2")], &[other], new(json!({}))), "node-2");
}

#[test]
fn pods_that_ask_for_nothing_do_not_pile_up() {
    let nodes = [big("node-1"), big("node-2")];
    let pods: Vec<Value> = (0..6).map(|n| pod(&format!("p{n}"), json!({}))).collect();
    let world = world(&nodes, &pods);
    let on = |node: &str| (0..6).filter(|n| world.place(&format!("p{n}")).unwrap() == node).count();
    assert_eq!((on("node-1"), on("node-2")), (3, 3));
}

#[test]
fn a_taint_that_would_rather_not_is_heeded() {
    let mut tainted = big("node-1");
    tainted["spec"] = json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]});
    let nodes = [tainted, big("node-2")];
    assert_eq!(chosen(nodes.clone(), &[full()], new(json!({}))), "node-2");
    let bears = json!({"tolerations": [{"key": "a", "operator": "Exists"}]});
    assert_eq!(chosen(nodes, &[full()], new(bears)), "node-1");
}

#[test]
fn a_preferred_node_is_chosen() {
    let term = json!({"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]});
    let prefers = json!({"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}}});
    assert_eq!(chosen([big("node-1"), big("node-2")], &[full()], new(prefers)), "node-2");
    let nothing = json!({"affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}}});
    assert_eq!(chosen([big("node-1"), big("node-2")], &[full()], new(nothing)), "node-1");
}

#[test]
fn preferred_company_is_sought_and_shunned() {
    let nodes = || [big("node-1"), big("node-2")];
    let with = json!({"affinity": {"podAffinity": near("full")}});
    assert_eq!(chosen(nodes(), &[full()], new(with)), "node-2");
    let mut quiet = asking("quiet", "1", "1Gi", json!({"nodeName": "node-1"}));
    quiet["metadata"]["labels"] = json!({"app": "quiet"});
    let without = json!({"affinity": {"podAntiAffinity": near("quiet")}});
    let there = [quiet, full()];
    assert_eq!(chosen(nodes(), &there, new(json!({}))), "node-1");
    assert_eq!(chosen(nodes(), &there, new(without)), "node-2");
}

#[test]
fn those_that_are_there_are_asked_what_they_would_like() {
    let nodes = || [big("node-1"), big("node-2")];
    let mut fond = full();
    fond["spec"]["affinity"] = json!({"podAffinity": near("web")});
    assert_eq!(chosen(nodes(), &[fond], new(json!({}))), "node-2");
    // It requires the new one around: that counts a little.
    let mut tied = full();
    let term = json!({"labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname"});
    tied["spec"]["affinity"] =
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    assert_eq!(chosen(nodes(), &[tied], new(json!({}))), "node-2");
    let mut shy = asking("shy", "10m", "10Mi", json!({"nodeName": "node-1"}));
    shy["metadata"]["labels"] = json!({"app": "shy"});
    shy["spec"]["affinity"] = json!({"podAntiAffinity": near("web")});
    assert_eq!(chosen(nodes(), &[shy, full()], new(json!({}))), "node-2");
}

#[test]
fn an_image_that_is_there_counts() {
    let mut has = big("node-2");
    let images = json!([{"names": ["app:latest"], "sizeBytes": 900_u64 << 20}]);
    has["status"]["images"] = images;
    assert_eq!(chosen([big("node-1"), has], &[], new(json!({}))), "node-2");
}

#[test]
fn what_is_taken_is_kept_in_balance() {
    // As much is left of both together on either node.
    let mut cpu = asking("cpu", "4", "0", json!({"nodeName": "node-1"}));
    let mut memory = asking("both", "2", "4Gi", json!({"nodeName": "node-2"}));
    cpu["metadata"]["labels"] = json!({"app": "x"});
    memory["metadata"]["labels"] = json!({"app": "x"});
    let there = [cpu, memory];
    assert_eq!(chosen([big("node-1"), big("node-2")], &there, new(json!({}))), "node-2");
}

#[test]
fn numbers_at_the_end_of_their_range_are_borne() {
    let mut vast = big("node-1");
    vast["status"]["allocatable"] = json!({"cpu": "8Ei", "memory": "9223372036854775807",
        "pods": "9223372036854775807"});
    vast["status"]["images"] =
        json!([{"names": ["app:latest"], "sizeBytes": i64::MAX}, {"sizeBytes": -1}]);
    let nodes = [vast.clone(), {
        vast["metadata"]["name"] = json!("node-2");
        vast
    }];
    let heavy = |name: &str| {
        let weight = json!({"affinity": {"podAffinity": near("web")},
            "tolerations": [{"operator": "Exists"}], "priority": i32::MAX});
        asking(name, "9223372036854775807", "9223372036854775807", weight)
    };
    let world = world(&nodes, &[heavy("a"), heavy("b"), heavy("c")]);
    assert!(world.place("a").is_some());
}
