//! Pods whose containers are given other resources.

use serde_json::{Value, json};

use super::world::World;
use crate::planner::Verdict;

/// Requests that are the limits, in thousandths of a core and MiB.
fn both(cpu: u32, memory: u32) -> Value {
    let amounts = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"limits": amounts, "requests": amounts})
}

fn container(name: &str, resources: Value, restarts: &[&str]) -> Value {
    let policy: Vec<Value> = restarts
        .iter()
        .map(|name| json!({"resourceName": name, "restartPolicy": "RestartContainer"}))
        .collect();
    json!({"name": name, "image": "i", "resources": resources, "resizePolicy": policy})
}

/// A pod that runs, and what it does from then on.
fn running(containers: &[Value]) -> World {
    let mut world = World::new(json!({"containers": containers, "nodeName": "n"}));
    world.trusted = true;
    world.run(5);
    world.take();
    world
}

fn conditions(world: &World) -> Vec<String> {
    let all = world.status().conditions.unwrap();
    let resize = all.into_iter().filter(|it| it.type_.contains("Resize"));
    resize
        .map(|it| {
            let words = [it.reason, it.message];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
            format!("{} {} {words}", it.type_, it.observed_generation.unwrap()).trim_end().into()
        })
        .collect()
}

/// What the status tells: `resources`, then `allocatedResources`.
fn told(world: &World, name: &str) -> (Value, Value) {
    let status = world.container(name);
    (json!(status.resources), json!(status.allocated_resources))
}

#[test]
fn a_pod_that_was_never_resized_tells_its_resources() {
    let world = running(&[container("web", both(100, 64), &[]), container("none", json!({}), &[])]);
    assert_eq!(told(&world, "web"), (both(100, 64), both(100, 64)["requests"].clone()));
    assert_eq!(told(&world, "none"), (json!({}), Value::Null));
    assert!(conditions(&world).is_empty());
}

#[test]
fn control_groups_follow_in_an_order_that_the_kernel_takes() {
    let mut world =
        running(&[container("a", both(100, 64), &[]), container("b", both(300, 32), &[])]);
    world.ask(&[("a", both(500, 64)), ("b", both(200, 128))]);
    world.run(1);
    let writes = "write pod memory=192 quota=70000 shares=716, b quota=20000 shares=204, \
                  a quota=50000 shares=512, b memory=128";
    assert_eq!(world.take(), ["event ResizeStarted", writes, "event ResizeCompleted"]);
    world.ask(&[("a", both(100, 16))]);
    world.run(1);
    let writes = "write a memory=16 quota=10000 shares=102, pod memory=144 quota=30000 shares=306";
    assert_eq!(world.take(), ["event ResizeStarted", writes, "event ResizeCompleted"]);
    assert_eq!(told(&world, "a"), (both(100, 16), both(100, 16)["requests"].clone()));
    assert!(conditions(&world).is_empty() && world.seen.resize.is_none());
    assert_eq!(world.container("a").restart_count, 0);
}

#[test]
fn a_limit_where_none_was_shrinks_the_pod_last() {
    let mut world = running(&[container("a", json!({"requests": {"cpu": "100m"}}), &[])]);
    let limited =
        json!({"requests": {"cpu": "100m", "memory": "8Mi"}, "limits": {"memory": "8Mi"}});
    world.ask(&[("a", limited.clone())]);
    world.run(1);
    let writes = "write a memory=8, pod memory=8";
    assert_eq!(world.take(), ["event ResizeStarted", writes, "event ResizeCompleted"]);
    assert_eq!(told(&world, "a").0, limited);
}

#[test]
fn a_policy_restarts_the_container_once_and_at_once() {
    let mut world = running(&[
        container("web", both(100, 64), &["memory"]),
        container("other", both(100, 64), &["cpu"]),
    ]);
    world.ask(&[("web", both(100, 32)), ("other", both(100, 32))]);
    world.run(30);
    let done = world.take();
    assert_eq!(
        done,
        [
            "event ResizeStarted",
            // What the pod gives up it gives up when nothing needs it any more.
            "write other memory=32",
            "event Killing Container web resize requires restart",
            "stop web",
            "exit web 143",
            "start web 1",
            "write pod memory=64",
            "event ResizeCompleted",
        ]
    );
    assert_eq!(world.container("web").restart_count, 1);
    assert_eq!(world.container("other").restart_count, 0);
    world.ask(&[("web", both(200, 32))]);
    world.run(30);
    assert!(!world.take().iter().any(|it| it.contains("stop")), "the cpu needs no restart");
}

#[test]
fn what_is_deferred_waits_and_says_so() {
    let mut world = running(&[container("web", both(100, 64), &[])]);
    world.verdict = Verdict::Deferred("no room".into());
    world.ask(&[("web", both(900, 64))]);
    world.run(600);
    assert_eq!(world.take(), ["event ResizeDeferred"], "asked again, and told once");
    assert_eq!(conditions(&world), ["PodResizePending 2 Deferred: no room"]);
    assert_eq!(told(&world, "web"), (both(100, 64), both(100, 64)["requests"].clone()));
    world.restart_engine();
    world.run(1);
    assert_eq!(world.take(), [""; 0]);
    assert_eq!(told(&world, "web").0, both(100, 64));
    world.verdict = Verdict::Granted;
    let now = world.now;
    world.seen.resize_again(now);
    world.run(0);
    let done = world.take();
    assert_eq!((done[0].as_str(), done.len()), ("event ResizeStarted", 3));
    // Nobody asks for more any more.
    world.verdict = Verdict::Infeasible("never".into());
    world.ask(&[("web", both(9000, 64))]);
    world.run(1);
    assert_eq!(conditions(&world), ["PodResizePending 3 Infeasible: never"]);
    world.ask(&[("web", both(900, 64))]);
    world.run(1);
    assert!(conditions(&world).is_empty() && world.seen.resize.is_none());
}

#[test]
fn a_container_that_starts_anew_has_what_it_was_promised() {
    let mut world = running(&[container("web", both(100, 64), &[])]);
    world.verdict = Verdict::Deferred("no room".into());
    world.ask(&[("web", both(900, 64))]);
    world.ends.insert("web".into(), (8, 1));
    world.run(4);
    assert_eq!(world.container("web").restart_count, 1);
    assert_eq!(told(&world, "web").0, both(100, 64));
    let pod = crate::planner::allocated_pod(&world.pod, &world.seen);
    assert_eq!(json!(pod.spec.as_ref().unwrap().containers[0].resources), both(100, 64));
}

#[test]
fn memory_in_use_is_not_taken_away() {
    let mut world = running(&[container("web", both(100, 64), &[])]);
    world.uses = 40 << 20;
    world.ask(&[("web", both(100, 32))]);
    world.run(100);
    assert_eq!(world.take(), ["event ResizeStarted", "event ResizeError"]);
    let (limit, used) = (32 << 20, 40 << 20);
    assert_eq!(
        conditions(&world),
        [format!(
            "PodResizeInProgress 2 Error: cannot decrease memory limits: [attempting to set pod \
             memory limit ({limit}) below current usage ({used}), attempting to set container \
             \"web\" memory limit ({limit}) below current usage ({used})]"
        )]
    );
    assert_eq!(told(&world, "web"), (both(100, 64), both(100, 32)["requests"].clone()));
    world.uses = 0;
    world.run(150);
    // What failed may have failed midway: all of it is written.
    let (all, less) = ("quota=10000 shares=102", "memory=32 quota=10000 shares=102");
    let written = format!("write pod memory=64 {all}, web {less}, pod {less}");
    assert_eq!(world.take(), [&*written, "event ResizeCompleted"]);
}

#[test]
fn what_was_attempted_is_taken_back_when_it_is_not_wanted_any_more() {
    for is_killed in [false, true] {
        let mut world = running(&[container("web", both(100, 64), &[])]);
        world.fails_midway = true;
        world.ask(&[("web", both(900, 64))]);
        world.run(1);
        assert_eq!(world.take(), ["event ResizeStarted", "event ResizeError"]);
        world.fails_midway = false;
        if is_killed {
            world.restart_engine();
        }
        // Both groups may have been given more before that failed.
        world.ask(&[("web", both(100, 64))]);
        world.run(60);
        let less = "memory=64 quota=10000 shares=102";
        let written = format!("write pod memory=64 quota=90000 shares=921, web {less}, pod {less}");
        assert_eq!(world.take(), ["event ResizeStarted", &written, "event ResizeCompleted"]);
        assert!(world.seen.resize.is_none());
    }
}

#[test]
fn a_killed_engine_goes_on_from_what_was_promised() {
    for kill_after in 0..12 {
        let mut world = running(&[
            container("web", both(100, 64), &["memory"]),
            container("other", both(100, 64), &[]),
        ]);
        world.ask(&[("web", both(200, 96)), ("other", both(300, 32))]);
        world.steps(kill_after);
        world.restart_engine();
        world.run(60);
        assert_eq!(told(&world, "web").0, both(200, 96), "{kill_after}");
        assert_eq!(told(&world, "other").0, both(300, 32), "{kill_after}");
        assert_eq!(world.container("web").restart_count, 1, "{kill_after}");
        assert!(conditions(&world).is_empty() && world.seen.resize.is_none(), "{kill_after}");
    }
}

#[test]
fn what_was_made_and_never_told_of_gets_what_is_asked_for_now() {
    let mut seen = 0;
    for kill_after in 0..12 {
        let (large, small) = (both(900, 96), both(100, 64));
        let mut world = World::new(json!({"containers": [container("web", large, &[])]}));
        world.trusted = true;
        world.steps(kill_after);
        world.take();
        // The engine is killed before it writes a status, and the user thinks again.
        world.pod.status = None;
        let asked = serde_json::from_value(small.clone()).unwrap();
        world.pod.spec.as_mut().unwrap().containers[0].resources = Some(asked);
        let has_group = world.seen.sandbox.is_some();
        let runs = world.seen.running().next().is_some();
        world.restart_engine();
        world.run(60);
        let done = world.take();
        let written = |what: &str| {
            let sizes = format!("{what} memory=64 quota=10000 shares=102");
            done.iter().any(|done| done.starts_with("write") && done.contains(&sizes))
        };
        assert_eq!(written("pod"), has_group, "{kill_after}: {done:?}");
        assert_eq!(written("web"), runs, "{kill_after}: {done:?}");
        assert_eq!(told(&world, "web").0, small, "{kill_after}");
        assert!(world.seen.resize.is_none(), "{kill_after}");
        seen += i32::from(runs);
    }
    assert!(seen > 0);
}
