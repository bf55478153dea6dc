//! Init containers that go on running beside the others.

use serde_json::{Value, json};

use super::world::World;
use crate::planner::HookKind::PreStop;
use crate::planner::{Outcome, ProbeKind};

fn sidecar(name: &str) -> Value {
    json!({"name": name, "image": "i", "restartPolicy": "Always"})
}

fn world(policy: &str) -> World {
    let mut second = sidecar("second");
    second["startupProbe"] = json!({"exec": {}, "periodSeconds": 1});
    World::new(json!({
        "restartPolicy": policy,
        "initContainers": [sidecar("first"), {"name": "setup", "image": "i"}, second],
        "containers": [{"name": "web", "image": "i"}],
    }))
}

fn begun(policy: &str) -> World {
    let mut world = world(policy);
    world.ends.insert("setup".into(), (1, 0));
    world.run(3);
    world
}

#[test]
fn each_begins_when_the_one_before_has_started() {
    let mut world = world("Always");
    world.ends.insert("setup".into(), (2, 0));
    world.probes.insert(ProbeKind::Startup, Outcome::Failure("no".into()));
    world.run(1);
    assert_eq!(world.take()[3..], ["start first 0", "start setup 0"]);
    assert_eq!(world.state("first"), "Running");
    assert_eq!(world.container("first").started, Some(true));
    let waits = "False ContainersNotInitialized containers with incomplete status: [setup second]";
    assert_eq!(world.condition("Initialized"), waits);
    world.run(2);
    let done = world.take();
    assert_eq!(done[..2], ["exit setup 0", "start second 0"]);
    assert!(!done.contains(&"start web 0".to_owned()));
    assert_eq!(world.container("second").started, Some(false));
    assert_eq!(world.phase(), "Pending");
    world.probes.clear();
    world.run(2);
    assert!(world.take().contains(&"start web 0".to_owned()));
    world.run(1);
    assert_eq!(world.condition("Initialized"), "True");
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn one_that_dies_is_restarted_and_holds_nobody_up() {
    for policy in ["Always", "OnFailure", "Never"] {
        let mut world = begun(policy);
        world.take();
        world.ends.insert("first".into(), (4, 0));
        world.run(3);
        assert_eq!(world.take(), ["exit first 0", "start first 1"], "{policy}");
        world.run(4);
        assert_eq!(world.state("first"), "Waiting CrashLoopBackOff");
        assert_eq!(world.phase(), "Running");
        assert_eq!(world.condition("Initialized"), "True");
        let unready = "False ContainersNotReady containers with unready status: [first]";
        assert_eq!(world.condition("Ready"), unready);
        assert_eq!(world.container("web").restart_count, 0);
    }
}

#[test]
fn they_end_after_the_others_the_last_first() {
    let mut world = begun("Always");
    world.stubborn.push("web".into());
    world.take();
    world.delete(30);
    world.run(5);
    assert_eq!(
        world.take(),
        [
            "event Killing Stopping container first",
            "first waits",
            "event Killing Stopping container second",
            "second waits",
            "event Killing Stopping container web",
            "stop web",
        ]
    );
    world.exit("web", &world.seen.containers["web"].current.as_ref().unwrap().id.clone(), 0);
    world.run(1);
    let ended: Vec<_> = world.take().into_iter().filter(|line| line.starts_with("stop")).collect();
    assert_eq!(ended, ["stop second", "stop first"]);
    assert!(world.deleted);
}

#[test]
fn all_share_one_grace() {
    let mut world = begun("Always");
    world.stubborn = vec!["web".into(), "second".into(), "first".into()];
    world.delete(10);
    world.run(10);
    world.take();
    world.run(1);
    assert_eq!(world.take(), ["stop first", "stop second", "kill web", "exit web 137"]);
    world.run(2);
    assert!(world.deleted, "{:?}", world.done);
}

#[test]
fn a_job_completes_beside_them() {
    for (code, phase) in [(0, "Succeeded"), (1, "Failed")] {
        let mut world = begun("Never");
        world.hooks.insert(("first".into(), PreStop), (1, true));
        world.stop_code = 143;
        world.stubborn.push("first".into());
        let id = world.seen.containers["web"].current.as_ref().unwrap().id.clone();
        world.exit("web", &id, code);
        world.run(1);
        assert_eq!(world.phase(), "Running", "while a sidecar runs");
        world.run(31);
        assert_eq!(world.phase(), phase);
        assert_eq!(world.state("first"), "Terminated Error");
        assert_eq!(world.container("first").restart_count, 0);
        assert!(world.seen.sandbox.is_none());
    }
}

#[test]
fn a_pod_fails_with_its_init_container_and_they_end() {
    let mut world = world("Never");
    world.ends.insert("setup".into(), (1, 3));
    world.run(3);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.state("first"), "Terminated Error");
    assert!(world.take().contains(&"stop first".to_owned()));
}

#[test]
fn probes_restart_them() {
    let mut proxy = sidecar("proxy");
    proxy["livenessProbe"] = json!({"exec": {}, "periodSeconds": 1, "failureThreshold": 1});
    let mut world = World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [proxy],
        "containers": [{"name": "web", "image": "i"}],
    }));
    world.run(1);
    world.take();
    world.probes.insert(ProbeKind::Liveness, Outcome::Failure("no".into()));
    world.run(1);
    let done = world.take();
    assert!(done.contains(&"event Killing Init container proxy failed liveness probe".to_owned()));
    assert!(done.contains(&"start proxy 1".to_owned()), "{done:?}");
    assert_eq!(world.phase(), "Running");
}

#[test]
fn a_sandbox_that_is_lost_begins_with_the_first() {
    let mut world = begun("Always");
    world.seen.sandbox_died(world.now);
    world.take();
    world.run(3);
    let starts: Vec<_> =
        world.take().into_iter().filter(|line| line.starts_with("start")).collect();
    assert_eq!(starts, ["start first 1", "start setup 1", "start second 1", "start web 1"]);
}
