use serde_json::{Value, json};

use crate::world::World;

const ALL: &[&str] = &["replicaset-controller"];

fn set(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}},
        },
        "status": {"replicas": 0},
    })
}

fn world(replicas: i64) -> World {
    let mut world = World::new();
    world.create(set("web", replicas));
    world.settle(ALL);
    world
}

fn status(world: &World) -> Value {
    world.get("replicasets.apps", "web").value()["status"].clone()
}

fn scale(world: &mut World, replicas: i64) {
    world.edit("replicasets.apps", "web", |set| set["spec"]["replicas"] = json!(replicas));
    world.settle(ALL);
}

fn all_run(world: &mut World) {
    for pod in world.names("pods") {
        world.runs(&pod, true);
    }
    world.settle(ALL);
}

#[test]
fn as_many_pods_as_wanted_are_made_and_counted() {
    let mut world = world(3);
    assert_eq!(world.names("pods").len(), 3);
    all_run(&mut world);
    assert_eq!(
        status(&world),
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3,
            "availableReplicas": 3, "observedGeneration": 1, "terminatingReplicas": 0})
    );
    let pod = world.get("pods", &world.names("pods")[0]);
    assert!(pod.metadata().name.starts_with("web-") && pod.metadata().generate_name == "web-");
    assert!(world.notes[0].starts_with("SuccessfulCreate Created pod: web-"), "{:?}", world.notes);
}

#[test]
fn a_pod_that_is_deleted_or_ended_is_replaced_at_once() {
    let mut world = world(2);
    all_run(&mut world);
    let names = world.names("pods");
    world.delete("pods", &names[0], None);
    world.phase(&names[1], "Failed");
    world.settle(ALL);
    assert_eq!(world.names("pods").len(), 4, "the ended ones stay");
    assert_eq!(status(&world)["terminatingReplicas"], 1);
}

#[test]
fn hundreds_are_made_in_rounds() {
    assert_eq!(world(600).names("pods").len(), 600);
}

#[test]
fn what_users_would_miss_least_goes_first() {
    let mut world = world(3);
    all_run(&mut world);
    let names = world.names("pods");
    for (name, cost) in names.iter().zip(["10", "-5", "nonsense"]) {
        world.edit("pods", name, |pod| {
            pod["metadata"]["annotations"] =
                json!({"controller.kubernetes.io/pod-deletion-cost": cost});
        });
    }
    scale(&mut world, 2);
    assert!(world.get("pods", &names[1]).metadata().is_deleting());
    scale(&mut world, 1);
    assert!(world.get("pods", &names[2]).metadata().is_deleting());
}

#[test]
fn a_pod_that_is_not_ready_goes_before_one_that_is() {
    let mut world = world(2);
    let names = world.names("pods");
    world.runs(&names[0], true);
    world.runs(&names[1], false);
    scale(&mut world, 1);
    assert!(world.get("pods", &names[1]).metadata().is_deleting());
}

#[test]
fn a_pod_that_is_not_available_yet_goes_before_one_that_is() {
    let mut world = world(2);
    world.edit("replicasets.apps", "web", |set| set["spec"]["minReadySeconds"] = json!(10));
    let [first, second] = <[String; 2]>::try_from(world.names("pods")).unwrap();
    world.runs(&first, true);
    world.pass(3, ALL);
    world.runs(&second, true);
    // Ages of one order of magnitude: without this their UIDs would decide, for the first.
    world.pass(9, ALL);
    scale(&mut world, 1);
    assert_eq!(world.names("pods").len(), 2);
    assert!(world.get("pods", &second).metadata().is_deleting());
}

/// Some of about the same age, some of exactly the same: an order that is none made the sort panic.
#[test]
fn sixty_pods_that_became_ready_within_seconds_can_all_go() {
    let mut world = world(60);
    for pods in world.names("pods").chunks(9) {
        pods.iter().for_each(|pod| world.runs(pod, true));
        world.pass(1, ALL);
    }
    world.pass(600, ALL);
    scale(&mut world, 0);
    let pods = world.names("pods");
    assert!(pods.iter().all(|pod| world.get("pods", pod).metadata().is_deleting()));
    assert_eq!(status(&world)["replicas"], 0);
}

#[test]
fn orphans_are_adopted_and_pods_that_no_longer_fit_let_go() {
    let mut world = World::new();
    world.create(json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
        "metadata": {"name": "lonely", "namespace": "default", "labels": {"app": "web"}},
    }));
    world.create(set("web", 1));
    world.settle(ALL);
    assert_eq!(world.names("pods"), ["lonely"]);
    assert!(world.get("pods", "lonely").metadata().controller().is_some());
    world.edit("pods", "lonely", |pod| pod["metadata"]["labels"] = json!({}));
    world.settle(ALL);
    assert!(world.get("pods", "lonely").metadata().owner_references.is_empty());
    assert_eq!(world.names("pods").len(), 2);
}

#[test]
fn the_first_pod_that_is_refused_ends_the_attempt_and_is_told() {
    let mut world = World::new();
    world.creations_left = Some((2, "exceeded quota: q".into()));
    world.create(set("web", 3));
    world.settle(ALL);
    assert_eq!(world.names("pods").len(), 2);
    let condition = &status(&world)["conditions"][0];
    assert_eq!(condition["type"], "ReplicaFailure");
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("FailedCreate"), &json!("exceeded quota: q"))
    );
    assert!(world.notes.contains(&"FailedCreate Error creating: exceeded quota: q".to_owned()));
    scale(&mut world, 2);
    assert_eq!(status(&world).get("conditions"), None);
}

#[test]
fn what_a_user_writes_into_the_status_is_put_right() {
    let mut world = world(1);
    all_run(&mut world);
    let mut value = world.get("replicasets.apps", "web").value().clone();
    value["status"]["readyReplicas"] = json!(0);
    value["status"]["conditions"] = json!([{"type": "Mine", "status": "True"}]);
    world.replace(value);
    world.settle(ALL);
    assert_eq!(status(&world)["readyReplicas"], 1);
    assert_eq!(status(&world)["conditions"][0]["type"], "Mine");
}

#[test]
fn a_pod_is_available_when_it_has_been_ready_for_long_enough() {
    let mut world = World::new();
    let mut wanted = set("web", 1);
    wanted["spec"]["minReadySeconds"] = json!(10);
    world.create(wanted);
    world.settle(ALL);
    all_run(&mut world);
    assert_eq!(status(&world).get("availableReplicas"), None);
    let because = world.because.clone().unwrap();
    assert!(because.ends_with(" is ready, and has to be for 10 s"), "{because}");
    world.pass(10, ALL);
    assert_eq!(status(&world)["availableReplicas"], 1);
}

#[test]
fn a_set_that_is_being_deleted_makes_nothing() {
    let mut world = world(1);
    all_run(&mut world);
    world.delete("replicasets.apps", "web", Some(crate::Propagation::Foreground));
    let pod = world.names("pods").remove(0);
    world.delete("pods", &pod, None);
    world.stopped(&pod);
    world.settle(ALL);
    assert_eq!(world.names("pods").len(), 0);
    assert_eq!(status(&world)["replicas"], 0);
}
