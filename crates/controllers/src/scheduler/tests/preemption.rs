//! Who goes for whom.

use serde_json::{Value, json};

use super::{CONTROLLER, NO_VICTIMS, node, pod, world};
use crate::world::World;

/// A pod that asks for so much `cpu`, with this priority.
fn ranked(name: &str, cpu: &str, priority: i64) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    let containers = json!([{"name": "web", "resources": resources}]);
    pod(name, json!({"containers": containers, "priority": priority}))
}

fn labelled(mut pod: Value, app: &str) -> Value {
    pod["metadata"]["labels"] = json!({"app": app});
    pod
}

fn budget(app: &str, allowed: i64) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed},
    })
}

/// A node with more room for pods.
fn wide(name: &str) -> Value {
    let mut node = node(name);
    node["status"]["allocatable"]["pods"] = json!("110");
    node
}

impl World {
    /// The pods that are being deleted.
    fn going(&self) -> Vec<String> {
        let names = self.names("pods").into_iter();
        names.filter(|name| self.get("pods", name).metadata().is_deleting()).collect()
    }

    fn nominated(&self, pod: &str) -> Option<String> {
        self.get("pods", pod).str_at("/status/nominatedNodeName").map(str::to_owned)
    }

    fn comes(&mut self, pod: Value) {
        self.create(pod);
        self.settle(CONTROLLER);
    }
}

#[test]
fn a_less_important_pod_makes_room_and_says_why() {
    let mut world = world(&[node("node-1")], &[ranked("low", "2", 0)]);
    world.comes(ranked("high", "1", 100));
    assert_eq!(world.going(), ["low"]);
    assert_eq!(world.nominated("high").as_deref(), Some("node-1"));
    let condition = world.get("pods", "low").value()["status"]["conditions"][1].clone();
    assert_eq!(condition["type"], "DisruptionTarget");
    assert_eq!(condition["status"], "True");
    assert_eq!(condition["reason"], "PreemptionByScheduler");
    assert_eq!(
        condition["message"],
        "default-scheduler: preempting to accommodate a higher priority pod"
    );
    let uid = world.get("pods", "high").metadata().uid.clone();
    assert!(world.notes.contains(&format!("Preempted Preempted by pod {uid} on node node-1")));
    let short = "FailedScheduling 0/1 nodes are available: 1 Insufficient cpu.".to_owned();
    assert!(world.notes.contains(&short), "{:?}", world.notes);
    // Until the other has gone, nobody else goes, and that is said once.
    let why = "not eligible due to a terminating pod on the nominated node.";
    let waits = format!("0/1 nodes are available: 1 Insufficient cpu. preemption: {why}");
    assert_eq!(world.told("high"), waits);
    let said = world.notes.len();
    world.edit("nodes", "node-1", |node| node["metadata"]["labels"]["a"] = json!("b"));
    world.settle(CONTROLLER);
    assert_eq!(world.notes.len(), said);
    world.stopped("low");
    world.settle(CONTROLLER);
    assert_eq!(world.place("high").as_deref(), Some("node-1"));
    assert_eq!(world.nominated("high"), None);
}

#[test]
fn the_room_that_was_made_is_kept() {
    let mut world = world(&[node("node-1")], &[ranked("low", "2", 0)]);
    world.comes(ranked("high", "1500m", 100));
    world.comes(ranked("again", "1", 0));
    world.stopped("low");
    world.settle(CONTROLLER);
    assert_eq!(world.place("high").as_deref(), Some("node-1"));
    assert_eq!(world.place("again"), None);
    assert_eq!(
        world.told("again"),
        format!("0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}")
    );
    // What is left beside it is anybody's.
    world.comes(ranked("small", "500m", 0));
    assert_eq!(world.place("small").as_deref(), Some("node-1"));
}

#[test]
fn no_more_go_than_must() {
    let pods = [ranked("p1", "200m", 1), ranked("p2", "300m", 2), ranked("p3", "450m", 3)];
    let mut small = wide("node-1");
    small["status"]["allocatable"]["cpu"] = json!("1");
    let mut world = world(&[small], &pods);
    world.comes(ranked("p4", "500m", 4));
    assert_eq!(world.going(), ["p1", "p2"]);
    // Those that come in their place find none, and nobody goes for them.
    world.comes(ranked("p1-again", "200m", 1));
    world.comes(ranked("p2-again", "300m", 2));
    for name in ["p1", "p2"] {
        world.stopped(name);
        world.settle(CONTROLLER);
    }
    assert_eq!(world.place("p4").as_deref(), Some("node-1"));
    assert_eq!((world.place("p1-again"), world.place("p2-again")), (None, None));
    assert!(world.going().is_empty());
}

#[test]
fn a_pod_that_preempts_never_waits() {
    let mut world = world(&[node("node-1")], &[ranked("low", "2", 0)]);
    let mut polite = ranked("high", "1", 100);
    polite["spec"]["preemptionPolicy"] = json!("Never");
    world.comes(polite);
    assert!(world.going().is_empty());
    assert_eq!(
        world.told("high"),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to \
         preemptionPolicy=Never."
    );
}

#[test]
fn nobody_goes_for_nothing() {
    let cases = [
        // As important as it is.
        (ranked("new", "1", 5), NO_VICTIMS.to_owned()),
        // More than would be left.
        (
            ranked("new", "1500m", 7),
            "preemption: 0/1 nodes are available: 1 Insufficient cpu.".to_owned(),
        ),
    ];
    for (new, preemption) in cases {
        let pods = [ranked("a", "1", 5), ranked("b", "1", 9)];
        let mut world = world(&[node("node-1")], &pods);
        world.comes(new);
        assert!(world.going().is_empty());
        let before = "0/1 nodes are available: 1 Insufficient cpu.";
        assert_eq!(world.told("new"), format!("{before} {preemption}"));
    }
}

#[test]
fn the_node_with_the_least_harm_is_chosen() {
    let on = |name: &str, cpu: &str, priority: i64, at: &str| {
        let mut pod = ranked(name, cpu, priority);
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": at});
        pod
    };
    // A guarded pod counts more than anything else, then the highest victim, then their sum.
    let cases: [(&[Value], &str); 3] = [
        (
            &[
                labelled(on("a", "2", 1, "node-1"), "guarded"),
                labelled(on("b", "2", 9, "node-2"), "free"),
            ],
            "b",
        ),
        (&[on("a", "2", 3, "node-1"), on("b", "2", 2, "node-2")], "b"),
        (&[on("a1", "1", 3, "node-1"), on("a2", "1", 2, "node-1"), on("b", "2", 3, "node-2")], "b"),
    ];
    for (pods, victim) in cases {
        let mut all = vec![budget("guarded", 0), budget("free", 9)];
        all.extend_from_slice(pods);
        let mut world = world(&[wide("node-1"), wide("node-2")], &all);
        world.comes(ranked("new", "2", 10));
        assert_eq!(world.going(), [victim]);
    }
}

#[test]
fn guarded_pods_are_kept_where_others_can_go() {
    let pods = [
        budget("guarded", 0),
        labelled(ranked("guarded", "1", 1), "guarded"),
        labelled(ranked("free", "1", 2), "free"),
    ];
    let mut world = world(&[node("node-1")], &pods);
    world.comes(ranked("new", "1", 3));
    assert_eq!(world.going(), ["free"]);
    // Where nobody else can, they go.
    world.comes(ranked("newer", "1", 4));
    assert_eq!(world.going(), ["free", "guarded"]);
}

#[test]
fn two_that_come_at_once_take_two_places() {
    let pods = [ranked("a", "1", 1), ranked("b", "1", 1)];
    let mut world = world(&[node("node-1")], &pods);
    world.create(ranked("x", "1", 5));
    world.create(ranked("y", "1", 5));
    world.settle(CONTROLLER);
    assert_eq!(world.going(), ["a", "b"]);
    for name in ["a", "b"] {
        world.stopped(name);
        world.settle(CONTROLLER);
    }
    assert!(world.place("x").is_some() && world.place("y").is_some());
}

#[test]
fn a_nomination_ends_for_one_that_matters_more() {
    let mut world = world(&[node("node-1")], &[ranked("low", "2", 0)]);
    world.comes(ranked("middle", "2", 5));
    assert_eq!(world.nominated("middle").as_deref(), Some("node-1"));
    world.comes(ranked("high", "2", 9));
    assert_eq!(world.nominated("high").as_deref(), Some("node-1"));
    assert_eq!(world.nominated("middle"), None);
    world.stopped("low");
    world.settle(CONTROLLER);
    assert!(world.place("high").is_some());
    assert_eq!(world.place("middle"), None);
}

#[test]
fn ports_and_company_are_had_by_preemption_too() {
    let port = json!([{"name": "web", "ports": [{"hostPort": 80}]}]);
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {"app": "noisy"}}, "topologyKey": "kubernetes.io/hostname",
    }]});
    let cases = [
        json!({"containers": port, "priority": 9}),
        json!({"affinity": {"podAntiAffinity": rule}, "priority": 9}),
    ];
    for spec in cases {
        let noisy = labelled(pod("noisy", json!({"containers": port})), "noisy");
        let other = pod("other", json!({}));
        let mut world = world(&[node("node-1")], &[noisy, other]);
        world.comes(pod("new", spec));
        assert_eq!(world.going(), ["noisy"]);
    }
}

#[test]
fn a_pod_that_others_do_not_want_around_can_make_them_go() {
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname",
    }]});
    let shy = labelled(pod("shy", json!({"affinity": {"podAntiAffinity": rule}})), "shy");
    let mut world = world(&[node("node-1")], &[shy]);
    world.comes(ranked("same", "1", 0));
    assert_eq!(
        world.told("same"),
        format!(
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. \
             {NO_VICTIMS}"
        )
    );
    world.comes(ranked("new", "1", 1));
    assert_eq!(world.going(), ["shy"]);
}

#[test]
fn a_pod_with_a_wish_for_a_victim_gets_nothing_of_its_going() {
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {"app": "friend"}}, "topologyKey": "kubernetes.io/hostname",
    }]});
    let friend = labelled(ranked("friend", "2", 0), "friend");
    let mut world = world(&[node("node-1")], &[friend]);
    let mut new = ranked("new", "1", 1);
    new["spec"]["affinity"] = json!({"podAffinity": rule});
    world.comes(new);
    assert!(world.going().is_empty());
    assert_eq!(
        world.told("new"),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 \
         node(s) didn't match pod affinity rules."
    );
}

#[test]
fn a_nominated_pod_is_given_up_when_its_node_becomes_impossible() {
    let mut world = world(&[node("node-1")], &[ranked("low", "2", 0)]);
    world.comes(ranked("high", "1", 100));
    world.edit("nodes", "node-1", |node| node["spec"]["unschedulable"] = json!(true));
    world.settle(CONTROLLER);
    assert_eq!(world.nominated("high"), None);
    assert_eq!(
        world.told("high"),
        format!("0/1 nodes are available: 1 node(s) were unschedulable. {}", super::NOT_HELPFUL)
    );
}
