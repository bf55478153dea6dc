//! Pods that must leave the node, and those that may not come.

use serde_json::{Value, json};

use super::world::{World, pod};
use crate::planner::{Eviction, NodeRoom, admit};

fn eviction(is_disrupted: bool) -> Eviction {
    Eviction { message: "It wrote too much. ".to_owned(), is_disrupted }
}

fn running(spec: Value) -> World {
    let mut world = World::new(spec);
    world.run(5);
    world.take();
    world
}

fn spec() -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}]})
}

#[test]
fn a_pod_that_must_leave_has_a_second_and_has_failed() {
    for is_disrupted in [false, true] {
        let mut world = running(spec());
        world.stubborn.push("web".to_owned());
        world.seen.evicted(eviction(is_disrupted));
        // The first reason stays.
        world.seen.evicted(Eviction { message: "Another. ".to_owned(), is_disrupted: false });
        world.settle();
        assert_eq!(
            world.take(),
            [
                "event Evicted It wrote too much. ",
                "event Killing Stopping container web",
                "stop web"
            ]
        );
        assert_eq!(world.phase(), "Running");
        world.run(2);
        assert_eq!(world.take(), ["kill web", "exit web 137", "remove sandbox", "unmount"]);
        let status = world.status();
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.reason.as_deref(), Some("Evicted"));
        assert_eq!(status.message.as_deref(), Some("It wrote too much. "));
        assert_eq!(world.state("web"), "Terminated Error");
        let conditions = status.conditions.unwrap();
        let target = conditions.iter().find(|it| it.type_ == "DisruptionTarget");
        let reason = target.and_then(|it| it.reason.as_deref());
        assert_eq!(reason, is_disrupted.then_some("TerminationByKubelet"));
        world.run(1000);
        assert_eq!(world.take(), [""; 0], "it is not started again");
    }
}

#[test]
fn a_container_that_ends_well_does_not_save_its_pod() {
    let mut world = running(json!({
        "containers": [{"name": "web", "image": "web:1"}], "restartPolicy": "OnFailure",
    }));
    world.stop_code = 0;
    world.seen.evicted(eviction(false));
    world.run(5);
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn a_pod_that_is_deleted_goes_as_it_would_anyway() {
    let mut world = running(spec());
    world.delete(30);
    world.seen.evicted(eviction(true));
    world.run(60);
    let done = world.take();
    assert!(!done.iter().any(|it| it.contains("Evicted")), "{done:?}");
    assert!(world.deleted);
}

#[test]
fn a_node_that_is_short_takes_few_pods_or_none() {
    let why = |extra: Value, pressure: &[&'static str]| {
        let mut spec = spec();
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let pressure = pressure.iter().copied().collect();
        let room = NodeRoom { pods: 10, pressure, ..NodeRoom::default() };
        admit(&pod(spec), &room).err().map(|it| format!("{}: {}", it.reason, it.message))
    };
    let (memory, disk) = (["MemoryPressure"], ["DiskPressure"]);
    let both = ["DiskPressure", "MemoryPressure"];
    let burstable = json!({"containers": [{"name": "web", "image": "web:1",
        "resources": {"requests": {"memory": "1Mi"}}}]});
    let does_not_mind = json!({"tolerations": [{"operator": "Exists"}]});
    let critical = json!({"priority": 2_000_000_000});
    assert_eq!(why(json!({}), &[]), None);
    let refused = "Evicted: The node had condition: [MemoryPressure]. ";
    assert_eq!(why(json!({}), &memory).as_deref(), Some(refused));
    for may in [&burstable, &does_not_mind, &critical] {
        assert_eq!(why(may.clone(), &memory), None, "{may}");
    }
    let refused = "Evicted: The node had condition: [DiskPressure]. ";
    assert_eq!(why(burstable.clone(), &disk).as_deref(), Some(refused));
    let refused = "Evicted: The node had condition: [DiskPressure MemoryPressure]. ";
    assert_eq!(why(does_not_mind, &both).as_deref(), Some(refused));
    assert_eq!(why(critical, &both), None);
}
