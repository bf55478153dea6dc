//! Containers that are added to look into a pod.

use serde_json::{Value, json};

use super::world::World;
use crate::planner::{Role, find_container, target_of};

fn world(policy: &str) -> World {
    World::new(json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "setup", "image": "i"}],
        "containers": [{"name": "web", "image": "i"}],
    }))
}

fn look(world: &mut World, more: Value) {
    let list = serde_json::from_value(more).unwrap();
    world.pod.spec.as_mut().unwrap().ephemeral_containers = Some(list);
}

#[test]
fn one_begins_before_the_init_containers_have_ended_and_counts_for_nothing() {
    let mut world = world("Always");
    look(&mut world, json!([{"name": "look", "image": "i"}]));
    world.run(1);
    assert_eq!(world.take()[3..], ["start look 0", "start setup 0"]);
    assert_eq!(world.state("look"), "Running");
    let status = world.container("look");
    assert_eq!((status.ready, status.started, status.restart_count), (false, None, 0));
    assert_eq!(world.phase(), "Pending");
    world.ends.insert("setup".into(), (1, 0));
    world.ends.insert("look".into(), (1, 7));
    world.run(3);
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.state("look"), "Terminated Error");
    world.run(600);
    assert!(!world.done.contains(&"start look 1".to_owned()), "never again");
}

#[test]
fn one_on_a_dying_pod_does_not_begin_and_one_that_runs_ends_with_it() {
    let mut world = world("Always");
    world.ends.insert("setup".into(), (1, 0));
    look(&mut world, json!([{"name": "look", "image": "i"}]));
    world.stubborn = vec!["look".into(), "web".into()];
    world.run(3);
    world.delete(5);
    world.run(1);
    look(&mut world, json!([{"name": "look", "image": "i"}, {"name": "late", "image": "i"}]));
    world.run(10);
    assert!(world.deleted);
    assert!(world.done.contains(&"kill look".to_owned()));
    assert!(!world.done.contains(&"start late 0".to_owned()));
}

#[test]
fn a_pod_that_is_done_waits_for_none() {
    let mut world = world("Never");
    world.ends.insert("setup".into(), (1, 0));
    look(&mut world, json!([{"name": "look", "image": "i"}]));
    world.run(2);
    world.ends.insert("web".into(), (3, 0));
    world.run(5);
    assert_eq!(world.phase(), "Succeeded");
    assert!(world.done.contains(&"stop look".to_owned()));
}

#[test]
fn a_lost_sandbox_or_engine_starts_none_again() {
    let mut world = world("Always");
    world.ends.insert("setup".into(), (1, 0));
    look(&mut world, json!([{"name": "look", "image": "i"}]));
    world.run(3);
    world.seen.sandbox_died(world.now);
    world.run(3);
    assert_eq!(world.done.iter().filter(|it| it.starts_with("start look")).count(), 1);
    world.seen.containers.remove("look");
    world.restart_engine();
    world.run(3);
    assert_eq!(world.done.iter().filter(|it| it.starts_with("start look")).count(), 1);
}

#[test]
fn one_is_found_by_its_name_with_what_it_looks_at() {
    let mut world = world("Always");
    look(
        &mut world,
        json!([{"name": "look", "image": "i", "targetContainerName": "web"},
                            {"name": "free", "image": "i"}]),
    );
    let (role, container) = find_container(&world.pod, "look").unwrap();
    assert_eq!((role, container.image.as_deref()), (Role::Ephemeral, Some("i")));
    assert_eq!(target_of(&world.pod, "look"), Some("web"));
    assert_eq!(target_of(&world.pod, "free"), None);
    assert_eq!(target_of(&world.pod, "web"), None);
}
