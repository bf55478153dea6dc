//! Definitions of custom resources and the controllers that look after them, over the real pipeline.

use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS;

use super::*;

const BOATS: &str = "boats.example.com";

fn definition(plural: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// One turn of the loop; how many objects it took away, if there was something to do.
fn turn(world: &mut World) -> Option<usize> {
    let before = world.names(BOATS).len();
    now(world.looped.step(&world.api, world.api.source().now()))
        .then(|| before - world.names(BOATS).len())
}

#[test]
fn a_definition_s_objects_go_in_bounded_steps_whoever_is_killed_between_them() {
    let mut world = World::new();
    world.create(DEFINITIONS, "", definition("boats", "Boat"));
    for index in 0..1000 {
        let boat = json!({"metadata": {"name": format!("boat-{index:04}")}});
        world.send(Verb::Create, &Key::new(BOATS, "default", ""), None, boat);
    }
    world.settle();
    world.send(Verb::Delete, &Key::new(DEFINITIONS, "", BOATS), None, json!({}));
    assert_eq!(world.names(BOATS).len(), 1000, "the deletion itself writes one object");
    let mut turns = 0;
    while let Some(taken) = turn(&mut world) {
        assert!(taken <= 200, "{taken} objects in one step");
        turns += usize::from(taken > 0);
        if taken > 0 {
            // The engine is killed: the next one knows what is stored, and nothing else.
            world.looped = Loop::new(CONTROLLERS, config(), world.events.clone());
        }
    }
    assert!(turns >= 5, "{turns}");
    assert!(world.names(BOATS).is_empty() && world.names(DEFINITIONS).is_empty());
    world.create(DEFINITIONS, "", definition("boats", "Boat"));
    assert!(world.names(BOATS).is_empty());
}

#[test]
fn a_definition_gets_its_names_when_their_holder_is_gone() {
    let mut world = World::new();
    world.create(DEFINITIONS, "", definition("boats", "Boat"));
    world.create(DEFINITIONS, "", definition("ships", "Boat"));
    assert!(world.api.kinds().stored("ships.example.com").is_none());
    world.send(Verb::Delete, &Key::new(DEFINITIONS, "", BOATS), None, json!({}));
    world.settle();
    let ships = world.get(DEFINITIONS, "ships.example.com");
    assert_eq!(ships.value()["status"]["acceptedNames"]["kind"], "Boat");
    assert!(world.api.kinds().stored("ships.example.com").is_some());
}

/// Nothing could write objects whose only row is not served, and their definition never went.
#[test]
fn objects_in_a_version_that_is_not_served_go_too() {
    let mut world = World::new();
    world.create(DEFINITIONS, "", definition("boats", "Boat"));
    let boat = json!({"metadata": {"name": "a"}});
    world.send(Verb::Create, &Key::new(BOATS, "default", ""), None, boat);
    world.update(DEFINITIONS, BOATS, |boats| {
        boats["spec"]["versions"][0]["served"] = false.into();
    });
    world.delete(DEFINITIONS, BOATS, json!({}));
    assert!(world.names(BOATS).is_empty() && world.names(DEFINITIONS).is_empty());
}
