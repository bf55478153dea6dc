//! `RestartAllContainers`.

use serde_json::{Value, json};

use super::world::World;

fn rule(action: &str) -> Value {
    json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}])
}

fn world(policy: &str) -> World {
    World::new(json!({
        "restartPolicy": policy,
        "initContainers": [
            {"name": "first", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always"},
        ],
        "containers": [
            {"name": "a", "image": "i", "restartPolicy": "Never",
                "restartPolicyRules": rule("RestartAllContainers")},
            {"name": "b", "image": "i"},
            {"name": "done", "image": "i"},
        ],
    }))
}

fn running(policy: &str) -> World {
    let mut world = world(policy);
    world.ends = [("first".to_owned(), (1, 0)), ("done".to_owned(), (2, 0))].into();
    world.run(20);
    world.take();
    world
}

fn exit(world: &mut World, name: &str, code: i32) {
    let id = world.seen.containers[name].current.clone().unwrap().id;
    world.exit(name, &id, code);
}

#[test]
fn all_containers_run_once_more_in_order_whatever_their_policies() {
    for policy in ["Never", "OnFailure"] {
        let mut world = running(policy);
        exit(&mut world, "a", 42);
        world.steps(1);
        let why = "True RestartAllContainersStarted container exited with restart policy rule";
        assert_eq!(world.condition("AllContainersRestarting"), why);
        world.settle();
        let done = world.take();
        let expected = [
            "exit a 42",
            "kill b",
            "exit b 137",
            "event Killing Stopping container side",
            "kill side",
            "exit side 137",
            "start over",
            "start first 1",
        ];
        assert_eq!(done, expected, "{policy}");
        assert_eq!(world.condition("AllContainersRestarting"), "False");
        assert_eq!(world.state("b"), "Terminated RestartingAllContainers");
        assert_eq!(world.state("a"), "Terminated Error");
        world.run(3);
        let done = world.take();
        assert_eq!(
            done,
            [
                "exit first 0",
                "start side 1",
                "start a 1",
                "start b 1",
                "start done 1",
                "exit done 0"
            ][..done.len()]
        );
        for name in ["first", "side", "a", "b", "done"] {
            assert_eq!(world.container(name).restart_count, 1, "{name}");
        }
        assert_eq!(world.seen.sandbox_number, 1);
        assert_eq!(world.phase(), "Running");
    }
}

#[test]
fn other_codes_and_other_rules_concern_the_container_alone() {
    let mut world = running("Never");
    exit(&mut world, "a", 41);
    world.run(5);
    assert!(!world.take().iter().any(|it| it == "start over" || it.starts_with("start a")));
    let mut world = World::new(json!({
        "containers": [
            {"name": "a", "image": "i", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
                {"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}},
            ]},
            {"name": "b", "image": "i"},
        ],
    }));
    world.run(5);
    exit(&mut world, "a", 42);
    world.run(5);
    assert_eq!(world.container("b").restart_count, 0, "the first rule counts");
    exit(&mut world, "a", 1);
    world.run(5);
    assert_eq!(world.container("b").restart_count, 1);
}

#[test]
fn who_has_all_start_over_again_and_again_waits_longer_each_time() {
    let mut world = running("Never");
    world.ends.insert("a".to_owned(), (1, 42));
    world.run(600);
    let overs = world.take().iter().filter(|it| *it == "start over").count();
    assert!((4..9).contains(&overs), "{overs}");
}

#[test]
fn an_engine_that_ends_meanwhile_is_followed_by_one_that_goes_on() {
    for steps in 0..12 {
        let mut world = running("Never");
        exit(&mut world, "a", 42);
        world.steps(steps);
        world.restart_engine();
        world.run(10);
        for name in ["first", "side", "a", "b"] {
            assert_eq!(world.container(name).restart_count, 1, "{name} after {steps} steps");
        }
    }
}

#[test]
fn a_pod_that_ends_does_not_start_over() {
    let mut world = running("Never");
    world.delete(30);
    exit(&mut world, "a", 42);
    world.run(60);
    assert!(!world.take().contains(&"start over".to_owned()));
    assert!(world.deleted);
}
