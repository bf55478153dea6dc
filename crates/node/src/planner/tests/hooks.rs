//! Lifecycle hooks.

use serde_json::json;

use super::world::World;
use crate::planner::HookKind::{PostStart, PreStop};

const EXEC: &str = r#"{"exec": {"command": ["true"]}}"#;

fn hooked(hooks: serde_json::Value) -> World {
    World::new(json!({"containers": [
        {"name": "web", "image": "i", "lifecycle": hooks},
        {"name": "other", "image": "i"},
    ]}))
}

fn exec() -> serde_json::Value {
    serde_json::from_str(EXEC).unwrap()
}

#[test]
fn a_container_runs_when_its_hook_has_ended_and_those_after_it_wait() {
    let mut world = hooked(json!({"postStart": exec()}));
    world.hooks.insert(("web".into(), PostStart), (5, true));
    world.run(4);
    assert_eq!(world.take()[3..], ["start web 0", "PostStart of web"]);
    assert_eq!(world.state("web"), "Waiting ContainerCreating");
    assert_eq!(world.container("web").started, Some(false));
    assert_eq!(world.phase(), "Pending");
    world.run(3);
    assert_eq!(world.take(), ["PostStart of web done", "start other 0"]);
    assert_eq!(world.state("web"), "Running");
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn a_hook_that_fails_ends_its_container() {
    let mut world = hooked(json!({"postStart": exec(), "preStop": exec()}));
    world.hooks.insert(("web".into(), PostStart), (1, false));
    world.stubborn.push("web".into());
    world.run(2);
    assert_eq!(
        world.take()[4..],
        [
            "PostStart of web",
            "PostStart of web failed",
            "event FailedPostStartHook PostStartHook failed",
            "event Killing FailedPostStartHook",
            "PreStop of web",
            "PreStop of web done",
            "stop web",
        ]
    );
    assert_eq!(world.state("web"), "Waiting PostStartHookError");
    world.run(29);
    assert!(world.done.contains(&"start web 1".to_owned()));
    world.stubborn.clear();
    world.run(5);
    assert_eq!(world.state("web"), "Waiting CrashLoopBackOff");
    assert_eq!(world.container("other").restart_count, 0);
}

#[test]
fn a_hook_before_the_end_takes_of_the_grace() {
    let mut world = hooked(json!({"preStop": exec()}));
    world.hooks.insert(("web".into(), PreStop), (20, true));
    world.stubborn.push("web".into());
    world.run(1);
    world.take();
    world.delete(30);
    world.run(19);
    assert_eq!(
        world.take(),
        [
            "event Killing Stopping container other",
            "stop other",
            "exit other 143",
            "event Killing Stopping container web",
            "PreStop of web",
        ]
    );
    world.run(2);
    assert_eq!(world.take(), ["PreStop of web done", "stop web"]);
    world.run(8);
    assert_eq!(world.take(), [""; 0]);
    world.run(3);
    assert!(world.take().starts_with(&["kill web".into(), "exit web 137".into()]));
    assert!(world.deleted);
}

#[test]
fn one_that_hangs_leaves_two_seconds() {
    let mut world = hooked(json!({"preStop": exec()}));
    world.hooks.insert(("web".into(), PreStop), (1000, true));
    world.stubborn.push("web".into());
    world.run(1);
    world.delete(10);
    world.run(10);
    world.take();
    world.run(1);
    assert_eq!(world.take(), ["stop web"]);
    world.run(1);
    assert_eq!(world.take(), [""; 0]);
    world.run(1);
    assert!(world.take().starts_with(&["kill web".into()]));
}

#[test]
fn without_grace_there_is_no_hook_and_a_shorter_one_ends_it() {
    let mut world = hooked(json!({"preStop": exec()}));
    world.run(1);
    world.seen.gone = true;
    world.run(1);
    assert!(!world.done.contains(&"PreStop of web".to_owned()), "{:?}", world.done);

    let mut world = hooked(json!({"preStop": exec()}));
    world.hooks.insert(("web".into(), PreStop), (1000, true));
    world.run(1);
    world.delete(600);
    world.run(1);
    world.take();
    world.delete(5);
    world.run(7);
    assert_eq!(world.take()[..2], ["stop web", "exit web 143"]);
}

#[test]
fn a_hook_is_run_again_when_nobody_knows_that_it_has_ended() {
    let mut world = hooked(json!({"postStart": exec(), "preStop": exec()}));
    world.hooks.insert(("web".into(), PostStart), (5, true));
    world.run(2);
    world.take();
    world.restart_engine();
    world.run(10);
    assert_eq!(world.take(), ["PostStart of web", "PostStart of web done", "start other 0"]);
    world.restart_engine();
    world.run(10);
    assert_eq!(world.take(), [""; 0], "the API shows it as running");
    world.hooks.insert(("web".into(), PreStop), (5, true));
    world.delete(30);
    world.run(1);
    world.restart_engine();
    world.run(6);
    assert_eq!(world.done.iter().filter(|it| *it == "PreStop of web").count(), 2);
    assert!(world.deleted);
}
