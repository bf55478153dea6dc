use serde_json::{Value, json};

use crate::world::World;

const ALL: &[&str] = &["daemonset-controller"];
const SETS: &str = "daemonsets.apps";

fn set(rolling: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": "one"}]}},
        },
    })
}

fn node(world: &mut World, name: &str) {
    world.create(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {}}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }));
}

fn world(nodes: &[&str], rolling: Value) -> World {
    let mut world = World::new();
    nodes.iter().for_each(|name| node(&mut world, name));
    world.create(set(rolling));
    world.settle(ALL);
    world
}

fn classic() -> Value {
    json!({"maxUnavailable": 1, "maxSurge": 0})
}

/// The node that a pod's affinity names.
fn node_of(pod: &Value) -> String {
    let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let term = pod.pointer(&format!("{required}/nodeSelectorTerms/0/matchFields/0")).unwrap();
    assert_eq!((&term["key"], &term["operator"]), (&json!("metadata.name"), &json!("In")));
    term["values"][0].as_str().unwrap().to_owned()
}

/// `NODE IMAGE`, and `going` for those that are being deleted.
fn pods(world: &World) -> Vec<String> {
    let mut all: Vec<_> = world
        .names("pods")
        .into_iter()
        .map(|name| {
            let pod = world.get("pods", &name);
            let image = pod.value()["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
            let going = if pod.metadata().is_deleting() { " going" } else { "" };
            format!("{} {image}{going}", node_of(pod.value()))
        })
        .collect();
    all.sort();
    all
}

/// The nodes do what they are told: pods on them get Ready, those that are deleted go.
fn nodes_work(world: &mut World, ready: bool) {
    for name in world.names("pods") {
        let pod = world.get("pods", &name);
        if pod.metadata().is_deleting() {
            world.stopped(&name);
        } else {
            let on = node_of(pod.value());
            let phase = pod.value()["status"]["phase"].clone();
            if phase == "Pending" || (ready && phase == "Running") {
                world.runs(&name, ready);
                let mut value = world.get("pods", &name).value().clone();
                value["spec"]["nodeName"] = json!(on);
                world.replace(value);
            }
        }
        world.settle(ALL);
    }
}

fn roll_to(world: &mut World, image: &str) {
    world.edit(SETS, "agent", |it| {
        it["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
    world.settle(ALL);
}

fn status(world: &World) -> Value {
    world.get(SETS, "agent").value()["status"].clone()
}

#[test]
fn every_node_has_one_pod_that_bears_what_nodes_suffer() {
    let mut world = world(&["a", "b"], classic());
    assert_eq!(pods(&world), ["a one", "b one"]);
    nodes_work(&mut world, true);
    assert_eq!(
        status(&world),
        json!({"currentNumberScheduled": 2, "numberMisscheduled": 0, "desiredNumberScheduled": 2,
            "numberReady": 2, "observedGeneration": 1, "updatedNumberScheduled": 2,
            "numberAvailable": 2})
    );
    let pod = world.get("pods", &world.names("pods")[0]);
    let borne: Vec<_> = pod.value()["spec"]["tolerations"].as_array().unwrap().iter().collect();
    assert!(borne.iter().any(|it| it["key"] == "node.kubernetes.io/unschedulable"), "{borne:?}");
    let revision = world.names("controllerrevisions.apps").remove(0);
    assert_eq!(revision, format!("agent-{}", pod.metadata().labels["controller-revision-hash"]));
}

#[test]
fn nodes_come_go_and_change_their_labels_and_taints() {
    let mut world = world(&["a"], classic());
    node(&mut world, "b");
    world.settle(ALL);
    assert_eq!(pods(&world), ["a one", "b one"]);
    nodes_work(&mut world, true);
    world.edit("nodes", "a", |node| {
        node["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
    });
    world.settle(ALL);
    assert_eq!(pods(&world), ["a one", "b one"], "what runs may stay");
    assert_eq!(status(&world)["numberMisscheduled"], 1);
    world.edit("nodes", "a", |node| {
        node["spec"]["taints"] = json!([{"key": "k", "effect": "NoExecute"}]);
    });
    world.settle(ALL);
    assert_eq!(pods(&world), ["a one going", "b one"]);
    world.edit(SETS, "agent", |set| {
        set["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    });
    world.settle(ALL);
    assert_eq!(pods(&world), ["a one going", "b one going"]);
}

#[test]
fn a_pod_that_failed_is_replaced_and_the_next_ones_wait_longer() {
    let mut world = world(&["a"], classic());
    let fail = |world: &mut World| {
        let name = world.names("pods").remove(0);
        world.phase(&name, "Failed");
        let mut value = world.get("pods", &name).value().clone();
        let now = world.now.to_string();
        value["spec"]["nodeName"] = json!("a");
        value["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": now}}}]);
        world.replace(value);
        world.settle(ALL);
        name
    };
    let told = |world: &World, name: &str| {
        let text = format!(
            "FailedDaemonPod Found failed daemon pod default/{name} on node a, will try to kill it"
        );
        world.notes.contains(&text)
    };
    let first = fail(&mut world);
    assert!(told(&world, &first), "{:?}", world.notes);
    world.stopped(&first);
    let second = fail(&mut world);
    assert!(!told(&world, &second));
    world.pass(1, ALL);
    assert!(told(&world, &second));
    world.stopped(&second);
    let third = fail(&mut world);
    world.pass(1, ALL);
    assert!(!told(&world, &third));
    world.pass(1, ALL);
    assert!(told(&world, &third));
}

#[test]
fn an_update_leaves_no_more_nodes_without_a_pod_than_it_may() {
    let mut world = world(&["a", "b", "c"], classic());
    nodes_work(&mut world, true);
    roll_to(&mut world, "two");
    for _ in 0..12 {
        assert!(status(&world)["numberUnavailable"].as_i64().unwrap_or(0) <= 1);
        let going = pods(&world).iter().filter(|pod| pod.ends_with("going")).count();
        assert!(going <= 1);
        nodes_work(&mut world, true);
    }
    assert_eq!(pods(&world), ["a two", "b two", "c two"]);
    assert_eq!(status(&world)["updatedNumberScheduled"], 3);
    assert_eq!(world.names("controllerrevisions.apps").len(), 2);
}

#[test]
fn pods_that_serve_nobody_are_replaced_beyond_the_limit() {
    let mut world = world(&["a", "b", "c"], classic());
    nodes_work(&mut world, false);
    roll_to(&mut world, "two");
    assert_eq!(pods(&world), ["a one going", "b one going", "c one going"]);
}

#[test]
fn a_surge_makes_the_new_pod_before_the_old_one_goes() {
    let mut world = world(&["a", "b"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    nodes_work(&mut world, true);
    roll_to(&mut world, "two");
    assert_eq!(pods(&world).len(), 3);
    for _ in 0..12 {
        assert_eq!(status(&world)["numberAvailable"], 2);
        nodes_work(&mut world, true);
    }
    assert_eq!(pods(&world), ["a two", "b two"]);
}

#[test]
fn a_surge_over_several_templates_leaves_the_node_with_who_serves_it() {
    let mut world = world(&["node-1"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    let one = world.names("pods").remove(0);
    world.runs(&one, true);
    roll_to(&mut world, "two");
    assert_eq!(pods(&world), ["node-1 one", "node-1 two"]);
    let two = world.names("pods").into_iter().find(|name| *name != one).unwrap();
    world.edit(SETS, "agent", |it| {
        it["spec"]["template"]["spec"]["containers"][0]["image"] = json!("three");
    });
    world.runs(&one, false);
    world.runs(&two, true);
    world.settle(ALL);
    let left = pods(&world);
    assert!(left.contains(&"node-1 two".to_owned()), "{left:?}");
}

#[test]
fn a_rollback_finds_the_first_revision_again() {
    let mut world = world(&["a"], classic());
    nodes_work(&mut world, true);
    for image in ["two", "one"] {
        roll_to(&mut world, image);
        for _ in 0..4 {
            nodes_work(&mut world, true);
        }
    }
    let numbers: Vec<_> = world
        .names("controllerrevisions.apps")
        .iter()
        .map(|name| world.get("controllerrevisions.apps", name).value()["revision"].clone())
        .collect();
    assert_eq!(numbers.len(), 2);
    assert!(numbers.contains(&json!(3)) && numbers.contains(&json!(2)), "{numbers:?}");
    assert_eq!(pods(&world), ["a one"]);
}

#[test]
fn with_on_delete_users_decide() {
    let mut world = world(&["a"], classic());
    nodes_work(&mut world, true);
    world.edit(SETS, "agent", |it| it["spec"]["updateStrategy"] = json!({"type": "OnDelete"}));
    roll_to(&mut world, "two");
    assert_eq!(pods(&world), ["a one"]);
    let name = world.names("pods").remove(0);
    world.delete("pods", &name, None);
    world.stopped(&name);
    world.settle(ALL);
    assert_eq!(pods(&world), ["a two"]);
}
