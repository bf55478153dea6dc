//! Probes and what follows from them.

use serde_json::{Value, json};

use super::world::World;
use crate::planner::{Outcome, ProbeKind};

fn with(container: Value) -> World {
    let mut all = json!({"name": "web", "image": "i"});
    all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    World::new(json!({"containers": [all]}))
}

fn fail() -> Outcome {
    Outcome::Failure("HTTP probe failed with statuscode: 500".into())
}

fn http(extra: Value) -> Value {
    let mut probe = json!({"httpGet": {"port": 80}});
    probe.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    probe
}

#[test]
fn a_probe_with_nothing_to_wait_for_runs_with_the_container() {
    let mut world = with(json!({"readinessProbe": http(json!({}))}));
    world.settle();
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn a_delay_is_waited_for() {
    let mut world = with(json!({"readinessProbe": http(json!({"initialDelaySeconds": 5}))}));
    world.run(4);
    assert_eq!(world.phase(), "Running");
    assert!(world.condition("Ready").starts_with("False"));
    world.run(1);
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn a_server_that_takes_a_second_is_ready_soon_after() {
    let mut world = with(json!({"readinessProbe": http(json!({}))}));
    world.probes.insert(ProbeKind::Readiness, fail());
    world.run(1);
    world.probes.clear();
    world.run(1);
    assert_eq!(world.condition("Ready"), "True");
    assert!(!world.done.iter().any(|line| line.starts_with("event Unhealthy")));
}

#[test]
fn readiness_comes_and_goes_by_its_thresholds() {
    let probe = http(json!({"periodSeconds": 1, "failureThreshold": 2, "successThreshold": 3}));
    let mut world = with(json!({"readinessProbe": probe}));
    world.run(4);
    assert!(world.container("web").ready);
    world.probes.insert(ProbeKind::Readiness, fail());
    world.run(1);
    assert!(world.container("web").ready);
    world.run(1);
    assert!(!world.container("web").ready);
    let note = "event Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500";
    assert!(world.done.contains(&note.to_owned()));
    world.probes.clear();
    world.run(2);
    assert!(!world.container("web").ready);
    world.run(1);
    assert!(world.container("web").ready);
    assert_eq!(world.container("web").restart_count, 0);
}

#[test]
fn a_failed_liveness_probe_restarts_the_container() {
    let probe = json!({"exec": {"command": ["x"]}, "periodSeconds": 1});
    let mut world = with(json!({"livenessProbe": probe}));
    world.run(3);
    world.take();
    world.probes.insert(ProbeKind::Liveness, Outcome::Failure("no".into()));
    world.run(3);
    world.probes.clear();
    let done = world.take();
    let failed = "event Unhealthy Liveness probe failed: no";
    assert_eq!(
        done,
        [
            failed,
            failed,
            failed,
            "event Killing Container web failed liveness probe, will be restarted",
            "stop web",
            "exit web 143",
            "start web 1",
            failed
        ]
    );
    world.run(1);
    assert_eq!(world.container("web").restart_count, 1);
}

#[test]
fn a_probe_can_have_a_grace_of_its_own() {
    let probe = json!({"exec": {}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 2});
    let mut world = with(json!({"livenessProbe": probe}));
    world.stubborn.push("web".into());
    world.run(1);
    world.probes.insert(ProbeKind::Liveness, Outcome::Failure("no".into()));
    world.run(1);
    assert!(world.done.contains(&"stop web".to_owned()));
    world.run(2);
    assert!(world.done.contains(&"kill web".to_owned()));
}

#[test]
fn the_startup_probe_holds_the_others_back() {
    let mut world = with(json!({
        "startupProbe": {"exec": {}, "periodSeconds": 1, "failureThreshold": 30},
        "livenessProbe": {"exec": {}, "periodSeconds": 1, "failureThreshold": 1},
    }));
    world.probes.insert(ProbeKind::Startup, Outcome::Failure("not yet".into()));
    world.probes.insert(ProbeKind::Liveness, Outcome::Failure("dead".into()));
    world.run(5);
    let status = world.container("web");
    assert_eq!((status.started, status.ready), (Some(false), false));
    assert!(!world.done.iter().any(|line| line.contains("Liveness")));
    world.probes.clear();
    world.run(1);
    let status = world.container("web");
    assert_eq!((status.started, status.ready), (Some(true), true));
}

#[test]
fn a_container_that_never_starts_up_is_restarted() {
    let probe = json!({"exec": {}, "periodSeconds": 1, "failureThreshold": 2});
    let mut world = with(json!({"startupProbe": probe}));
    world.probes.insert(ProbeKind::Startup, Outcome::Failure("no".into()));
    world.run(1);
    let note = "event Killing Container web failed startup probe, will be restarted";
    assert!(world.done.contains(&note.to_owned()));
    assert!(world.done.contains(&"start web 1".to_owned()));
}

#[test]
fn what_cannot_be_probed_counts_neither_way() {
    let probe = json!({"exec": {}, "periodSeconds": 1, "failureThreshold": 1});
    let mut world = with(json!({"livenessProbe": probe}));
    world.probes.insert(ProbeKind::Liveness, Outcome::Unknown("broken".into()));
    world.run(5);
    assert_eq!(world.container("web").restart_count, 0);
}

#[test]
fn readiness_is_kept_over_a_restart_of_the_engine() {
    let mut world = with(json!({"readinessProbe": http(json!({"initialDelaySeconds": 5}))}));
    world.run(10);
    assert!(world.container("web").ready);
    world.seen.container("web").probes.clear();
    assert!(!world.container("web").ready);
    let pod = world.pod.clone();
    world.seen.remember_readiness(&pod);
    assert!(world.container("web").ready);
}

#[test]
fn a_pod_that_ends_is_still_asked_whether_it_serves() {
    let mut world = with(json!({"readinessProbe": {"exec": {}, "periodSeconds": 1}}));
    world.stubborn.push("web".into());
    world.run(2);
    world.probes.insert(ProbeKind::Readiness, Outcome::Failure("draining".into()));
    world.delete(30);
    world.run(5);
    assert!(!world.container("web").ready);
}
