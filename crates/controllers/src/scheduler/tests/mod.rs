//! Where pods go, and what is said when they go nowhere.

mod preemption;
mod properties;
mod scores;
mod spread;
mod volumes;

use serde_json::{Value, json};

use crate::world::World;

const CONTROLLER: &[&str] = &["default-scheduler"];

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "web", "resources": {"requests": {"cpu": cpu}}}]})
}

fn world(nodes: &[Value], pods: &[Value]) -> World {
    let mut world = World::new();
    for value in nodes.iter().chain(pods) {
        world.create(value.clone());
    }
    world.settle(CONTROLLER);
    world
}

#[test]
fn what_a_pod_gives_up_is_free_when_it_has_given_it() {
    let mut world = world(&[node("a")], &[pod("big", asks("2")), pod("next", asks("1"))]);
    let told = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        json!([{"name": "web", "resources": resources, "allocatedResources": {"cpu": cpu}}])
    };
    world.edit("pods", "big", |pod| pod["status"]["containerStatuses"] = told("2"));
    world.edit("pods", "big", |pod| pod["spec"]["containers"] = asks("500m")["containers"].clone());
    world.settle(CONTROLLER);
    assert_eq!(world.place("next"), None, "the node has not resized it yet");
    world.edit("pods", "big", |pod| pod["status"]["containerStatuses"] = told("500m"));
    world.settle(CONTROLLER);
    assert_eq!(world.place("next").as_deref(), Some("a"));
}

impl World {
    fn place(&self, pod: &str) -> Option<String> {
        self.get("pods", pod).str_at("/spec/nodeName").map(str::to_owned)
    }

    fn told(&self, pod: &str) -> String {
        let pod = self.get("pods", pod);
        let condition = &pod.value()["status"]["conditions"][0];
        assert_eq!(condition["type"], "PodScheduled");
        condition["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// What is added when no node can be had by others' going, and when nobody is there to go.
const NOT_HELPFUL: &str =
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str =
    "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

/// What a lone node says to a pod.
fn said(node: Value, spec: Value) -> String {
    let world = world(&[node], &[pod("web", spec)]);
    assert_eq!(world.place("web"), None);
    world.told("web")
}

#[test]
fn a_pod_gets_a_node_and_an_event() {
    let world = world(&[node("node-1")], &[pod("web", json!({}))]);
    assert_eq!(world.place("web").as_deref(), Some("node-1"));
    assert_eq!(world.notes, ["Scheduled Successfully assigned default/web to node-1"]);
}

#[test]
fn each_obstacle_is_told_in_upstreams_words() {
    let with = |path: &str, value: Value| {
        let mut node = node("node-1");
        *node.pointer_mut(path).unwrap() = value;
        node
    };
    let taint = json!({"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]});
    let selector = json!({"nodeSelector": {"disk": "fast"}});
    let cases = [
        (node("node-1"), asks("2001m"), "Insufficient cpu"),
        (node("node-1"), selector, "node(s) didn't match Pod's node affinity/selector"),
        (with("/spec", taint), json!({}), "node(s) had untolerated taint(s)"),
        (with("/spec", json!({"unschedulable": true})), json!({}), "node(s) were unschedulable"),
        (with("/status/allocatable/pods", json!("0")), json!({}), "Too many pods"),
        (
            with("/status/conditions/0/status", json!("False")),
            json!({}),
            "node(s) had untolerated taint(s)",
        ),
    ];
    for (node, spec, reason) in cases {
        let preemption = if reason == "Too many pods" { NO_VICTIMS } else { NOT_HELPFUL };
        let message = format!("0/1 nodes are available: 1 {reason}. {preemption}");
        assert_eq!(said(node, spec), message);
    }
}

#[test]
fn reasons_are_counted_over_nodes() {
    let mut small = node("node-2");
    small["status"]["allocatable"]["cpu"] = json!("1");
    small["spec"]["unschedulable"] = json!(true);
    let world = world(&[node("node-1"), small], &[pod("web", asks("4"))]);
    assert_eq!(
        world.told("web"),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. preemption: \
         0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn without_a_node_there_is_nothing_to_count() {
    let mut world = world(&[], &[pod("web", json!({}))]);
    assert_eq!(world.told("web"), "no nodes available to schedule pods");
    world.create(node("node-1"));
    world.settle(CONTROLLER);
    assert_eq!(world.place("web").as_deref(), Some("node-1"));
}

#[test]
fn a_reason_is_told_once() {
    let mut world = world(&[node("node-1")], &[pod("web", asks("3"))]);
    world.edit("nodes", "node-1", |node| node["metadata"]["labels"]["a"] = json!("b"));
    world.settle(CONTROLLER);
    assert_eq!(world.notes.len(), 1);
}

#[test]
fn what_two_pods_ask_is_added_up_and_given_back() {
    let pods = [pod("a", asks("1500m")), pod("b", asks("1500m"))];
    let mut world = world(&[node("node-1")], &pods);
    assert_eq!(world.place("a").as_deref(), Some("node-1"));
    assert_eq!(world.place("b"), None);
    world.phase("a", "Succeeded");
    world.settle(CONTROLLER);
    assert_eq!(world.place("b").as_deref(), Some("node-1"));
}

#[test]
fn the_more_important_pod_goes_first() {
    let mut important = asks("2");
    important["priority"] = json!(1000);
    let pods = [pod("a", asks("2")), pod("z", important)];
    let world = world(&[node("node-1")], &pods);
    assert_eq!(world.place("a"), None);
    assert_eq!(world.place("z").as_deref(), Some("node-1"));
}

#[test]
fn a_toleration_bears_a_taint() {
    let mut tainted = node("node-1");
    tainted["spec"] = json!({"taints": [{"key": "a", "value": "b", "effect": "NoExecute"}]});
    for toleration in [
        json!({"operator": "Exists"}),
        json!({"key": "a", "value": "b"}),
        json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}),
    ] {
        let spec = json!({"tolerations": [toleration]});
        let world = world(std::slice::from_ref(&tainted), &[pod("web", spec)]);
        assert!(world.place("web").is_some(), "{toleration}");
    }
}

#[test]
fn a_host_port_is_had_once() {
    let port = json!({"containers": [{"name": "web", "ports": [{"hostPort": 80}]}]});
    let world = world(&[node("node-1")], &[pod("a", port.clone()), pod("b", port)]);
    let why = "node(s) didn't have free ports for the requested pod ports";
    assert_eq!(world.told("b"), format!("0/1 nodes are available: 1 {why}. {NO_VICTIMS}"));
}

#[test]
fn pods_that_avoid_each_other_spread_and_then_wait() {
    let term = json!({
        "labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    });
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let spec = json!({"affinity": {"podAntiAffinity": rule}});
    let pods = ["a", "b", "c"].map(|name| pod(name, spec.clone()));
    let world = world(&[node("node-1"), node("node-2")], &pods);
    assert_ne!(world.place("a"), world.place("b"));
    assert_eq!(
        world.told("c"),
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. preemption: 0/2 \
         nodes are available: 2 No preemption victims found for incoming pod."
    );
}

#[test]
fn pods_that_seek_each_other_end_up_together() {
    let term = json!({
        "labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    });
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let spec = json!({"affinity": {"podAffinity": rule}});
    let pods = ["a", "b"].map(|name| pod(name, spec.clone()));
    let world = world(&[node("node-1"), node("node-2")], &pods);
    assert!(world.place("a").is_some());
    assert_eq!(world.place("a"), world.place("b"));
}

#[test]
fn spreading_holds_when_it_must() {
    let constraint = json!({
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    let spec = json!({"topologySpreadConstraints": [constraint]});
    let mut cordoned = node("node-2");
    cordoned["spec"]["unschedulable"] = json!(true);
    let pods = ["a", "b"].map(|name| pod(name, spec.clone()));
    let world = world(&[node("node-1"), cordoned], &pods);
    assert!(world.place("a").is_some());
    assert_eq!(
        world.told("b"),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
         1 node(s) were unschedulable. preemption: 0/2 nodes are available: 1 No preemption \
         victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_missing_claim_is_told_before_any_node_is_asked() {
    let volume = json!({"name": "www", "persistentVolumeClaim": {"claimName": "www-web"}});
    let why = said(node("node-1"), json!({"volumes": [volume]}));
    let missing = "persistentvolumeclaim \"www-web\" not found";
    assert_eq!(why, format!("0/1 nodes are available: {missing}. {NOT_HELPFUL}"));
}

#[test]
fn a_claim_for_one_pod_alone_is_given_to_no_second_one() {
    let claim = |name: &str, mode: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"},
            },
            "spec": {"accessModes": [mode], "volumeName": "pv"},
        })
    };
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {},
    });
    let uses = |claim: &str| {
        let volume = json!({"name": "www", "persistentVolumeClaim": {"claimName": claim}});
        json!({"volumes": [volume]})
    };
    let objects = [
        volume,
        claim("alone", "ReadWriteOncePod"),
        claim("shared", "ReadWriteOnce"),
        pod("a", uses("alone")),
        pod("b", uses("alone")),
        pod("c", uses("shared")),
    ];
    let mut world = world(&[node("node-1")], &objects);
    world.create(pod("d", uses("shared")));
    world.settle(CONTROLLER);
    assert_eq!(
        ["a", "b", "c", "d"].map(|pod| world.place(pod).is_some()),
        [true, false, true, true]
    );
    let why = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod \
               access mode";
    assert_eq!(world.told("b"), format!("0/1 nodes are available: 1 {why}. {NO_VICTIMS}"));
    world.stopped("a");
    world.settle(CONTROLLER);
    assert!(world.place("b").is_some());
}

#[test]
fn gates_and_other_schedulers_are_respected() {
    for spec in [
        json!({"schedulingGates": [{"name": "example.com/wait"}]}),
        json!({"schedulerName": "my-scheduler"}),
    ] {
        let world = world(&[node("node-1")], &[pod("web", spec)]);
        assert_eq!(world.place("web"), None);
        assert!(world.notes.is_empty());
    }
}

#[test]
fn many_pods_are_placed_in_several_plans() {
    let mut big = node("node-1");
    big["status"]["allocatable"]["pods"] = json!("500");
    let pods: Vec<_> = (0..250).map(|n| pod(&format!("web-{n}"), json!({}))).collect();
    let mut world = world(&[big], &pods);
    world.pass(0, CONTROLLER);
    world.pass(0, CONTROLLER);
    assert!(world.names("pods").iter().all(|name| world.place(name).is_some()));
}

/// As a DaemonSet's pods do.
#[test]
fn a_pod_that_names_its_node_is_told_of_the_others_in_one_word() {
    let named = |names: &[&[&str]]| {
        let fields = names
            .iter()
            .map(|names| json!({"key": "metadata.name", "operator": "In", "values": names}));
        let term = json!({"matchFields": fields.collect::<Vec<_>>()});
        let required = json!({"nodeSelectorTerms": [term]});
        json!({"affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
    };
    let nodes = [node("node-1"), node("node-2")];
    let world = |names: &[&[&str]]| {
        let mut spec = named(names);
        spec["containers"] = asks("2")["containers"].clone();
        let mut there = asks("1");
        there["nodeName"] = json!("node-1");
        world(&nodes, &[pod("there", there), pod("new", spec)])
    };
    assert_eq!(world(&[&["node-2"]]).place("new").as_deref(), Some("node-2"));
    assert_eq!(
        world(&[&["node-1"]]).told("new"),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) \
         [NodeAffinity]. preemption: 0/2 nodes are available: 1 No preemption victims found for \
         incoming pod, 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        world(&[&["node-1"], &["node-2"]]).told("new"),
        "0/2 nodes are available: pod affinity terms conflict. preemption: 0/2 nodes are \
         available: 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn many_that_are_alike_are_told_the_same() {
    let pods: Vec<_> = (0..30).map(|n| pod(&format!("p{n}"), asks("1500m"))).collect();
    let mut world = world(&[node("node-1")], &pods);
    let placed =
        |world: &World| (0..30).filter(|n| world.place(&format!("p{n}")).is_some()).count();
    assert_eq!(placed(&world), 1);
    let waiting = world.names("pods").into_iter().find(|name| world.place(name).is_none());
    let message = format!("0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}");
    assert_eq!(world.told(&waiting.unwrap()), message);
    // The next one takes the place of one that is over, and no more than one.
    let first = world.names("pods").into_iter().find(|name| world.place(name).is_some());
    world.phase(&first.unwrap(), "Succeeded");
    world.settle(CONTROLLER);
    assert_eq!(placed(&world), 2);
}
