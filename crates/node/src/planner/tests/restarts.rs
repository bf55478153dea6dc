//! What of a container's end is answered by another start.

use serde_json::{Value, json};

use super::world::World;
use crate::planner::{Outcome, ProbeKind};

fn world(policy: &str, mut container: Value) -> World {
    container["name"] = json!("web");
    container["image"] = json!("i");
    World::new(json!({"restartPolicy": policy, "containers": [container]}))
}

#[test]
fn a_containers_rules_and_policy_go_before_the_pods() {
    let rules = |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [3, 4]}}]);
    for (policy, own, operator, code, restarts) in [
        ("Never", "Never", "In", 3, true),
        ("Never", "Never", "In", 5, false),
        ("Never", "Never", "NotIn", 5, true),
        ("Never", "OnFailure", "In", 5, true),
        ("Never", "OnFailure", "In", 0, false),
        ("Always", "Never", "In", 5, false),
        ("Always", "OnFailure", "In", 0, false),
        ("Never", "Always", "In", 0, true),
    ] {
        let container = json!({"restartPolicy": own, "restartPolicyRules": rules(operator)});
        let mut world = world(policy, container);
        world.ends.insert("web".into(), (2, code));
        world.run(3);
        let restarted = world.done.contains(&"start web 1".to_owned());
        assert_eq!(restarted, restarts, "{policy} {own} {operator} {code}");
        let phase = match (restarts, code) {
            (true, _) => "Running",
            (false, 0) => "Succeeded",
            (false, _) => "Failed",
        };
        assert_eq!(world.phase(), phase, "{policy} {own} {operator} {code}");
    }
}

#[test]
fn what_a_probe_killed_is_restarted_whatever_its_code() {
    let probe = json!({"exec": {}, "periodSeconds": 1, "failureThreshold": 1});
    for (policy, restarts) in [("Always", true), ("OnFailure", true), ("Never", false)] {
        let mut world = world(policy, json!({"livenessProbe": probe}));
        world.stop_code = 0;
        world.run(2);
        world.probes.insert(ProbeKind::Liveness, Outcome::Failure("no".into()));
        world.run(1);
        let restarted = world.done.contains(&"start web 1".to_owned());
        assert_eq!(restarted, restarts, "{policy}");
    }
}

#[test]
fn another_image_waits_for_nothing_that_the_first_one_did() {
    let mut world = world("Always", json!({}));
    world.ends.insert("web".into(), (1, 1));
    world.run(100);
    assert_eq!(world.state("web"), "Waiting CrashLoopBackOff");
    world.take();
    world.ends.clear();
    world.pod.spec.as_mut().unwrap().containers[0].image = Some("j".into());
    world.run(0);
    assert!(world.take()[0].starts_with("start web"));
}

#[test]
fn a_corrected_image_is_pulled_at_once() {
    let mut world = world("Always", json!({}));
    world.image_errors.insert("web".into(), "ErrImagePull");
    world.run(200);
    world.take();
    world.image_errors.clear();
    world.run(1);
    assert_eq!(world.take(), [""; 0]);
    world.pod.spec.as_mut().unwrap().containers[0].image = Some("j".into());
    world.run(0);
    assert_eq!(world.take(), ["start web 0"]);
}

#[test]
fn last_words_share_twelve_kibibytes() {
    let containers: Vec<_> =
        (0..6).map(|number| json!({"name": format!("c{number}"), "image": "i"})).collect();
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": containers}));
    world.run(1);
    let id = world.seen.containers["c0"].current.as_ref().unwrap().id.clone();
    world.exit("c0", &id, 1);
    let exit = world.seen.container("c0").current.as_mut().unwrap().exit.as_mut().unwrap();
    exit.message = "é".repeat(2048);
    let shown = world.container("c0").state.unwrap().terminated.unwrap().message.unwrap();
    assert_eq!(shown.len(), 2048);
}
