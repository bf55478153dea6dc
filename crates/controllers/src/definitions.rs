//! CustomResourceDefinitions take their objects with them, and get names that become free.

use std::sync::Arc;

use coracle_api::kinds::custom::names::{self, Taken};
use coracle_api::kinds::custom::{self, CLEANUP};
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS;
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::json::with;
use crate::plan::{Because, DeleteOptions, Plan, Propagation, Write};
use crate::table::{ANY, Controller, itself};
use crate::{Context, rfc3339};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "crd-controller",
    serial: false,
    watches: &[(DEFINITIONS, itself), (DEFINITIONS, waiting_for_names), (ANY, going_definition)],
    decide,
};

/// Deletions in one plan.
const DELETIONS_MAX: usize = 200;

/// The definition of an object, when it goes.
fn going_definition(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let definition = snapshot.find(DEFINITIONS, "", &event.key.resource);
    let going = definition.filter(|definition| definition.metadata().is_deleting());
    going.map(|definition| definition.key().clone()).into_iter().collect()
}

/// The definitions that may have what another one has given up.
fn waiting_for_names(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let Some(old) = &event.old else { return Vec::new() };
    let has = |object: &Arc<Object>| object.value()["status"]["acceptedNames"].clone();
    if event.new.as_ref().is_some_and(|new| has(new) == has(old)) {
        return Vec::new();
    }
    of_group(snapshot, old)
        .filter(|other| names::is_waiting(other.value()))
        .map(|other| other.key().clone())
        .collect()
}

/// The definitions of the group that `definition` is of.
fn of_group<'a>(
    snapshot: &'a Snapshot,
    definition: &'a Object,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let group = definition.value()["spec"]["group"].as_str();
    snapshot
        .list(DEFINITIONS, None)
        .filter(move |other| other.value()["spec"]["group"].as_str() == group)
}

/// Deletes the objects of the definition at `key`, if it is being deleted; or looks again at names
/// that were refused.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(definition) = snapshot.get(key) else { return Plan::default() };
    if !definition.metadata().is_deleting() {
        return look_again_at_names(snapshot, definition);
    }
    if !definition.metadata().finalizers.iter().any(|name| name == CLEANUP) {
        return Plan::default();
    }
    sweep(snapshot, definition, context)
}

/// Writing a definition gives it the names that are free.
fn look_again_at_names(snapshot: &Snapshot, definition: &Arc<Object>) -> Plan {
    if !names::is_waiting(definition.value()) {
        return Plan::default();
    }
    let mut taken = Taken::default();
    of_group(snapshot, definition)
        .filter(|other| other.key() != definition.key())
        .for_each(|other| taken.by_definition(other.value()));
    match names::is_free(definition.value(), &taken) {
        true => Plan::each([Write::Update(definition.value().clone())]),
        false => Plan {
            because: Some(Because::only("it waits for names that another definition has")),
            ..Plan::default()
        },
    }
}

/// Some of the objects at a time; when the last is gone, so is what holds the definition.
fn sweep(snapshot: &Snapshot, definition: &Arc<Object>, context: &Context<'_>) -> Plan {
    let resource = &*definition.key().name;
    let now = rfc3339(context.now);
    let Some(first) = snapshot.list(resource, None).next() else {
        return release(definition, &now);
    };
    let staying = snapshot.list(resource, None).filter(|object| !object.metadata().is_deleting());
    let mut plan = Plan::each(staying.take(DELETIONS_MAX).map(|object| delete(object)));
    plan.write_each(custom::progress(definition.value(), false, &now).map(Write::status));
    let (key, name) = (first.key().clone(), &first.key().name);
    plan.because = Some(Because::of(key, format!("{resource} {name} is still there")));
    plan
}

fn delete(object: &Object) -> Write {
    let propagation = Some(Propagation::Background);
    Write::Delete {
        key: object.key().clone(),
        uid: object.metadata().uid.clone(),
        resource_version: None,
        options: DeleteOptions { propagation, ..DeleteOptions::default() },
    }
}

/// No object is left; others may still hold the definition, and read how far it is.
fn release(definition: &Arc<Object>, now: &str) -> Plan {
    let others: Vec<&String> =
        definition.metadata().finalizers.iter().filter(|name| *name != CLEANUP).collect();
    if !others.is_empty()
        && let Some(told) = custom::progress(definition.value(), true, now)
    {
        return Plan::each([Write::status(told)]);
    }
    let value: Value = with(definition, &["metadata", "finalizers"], json!(others));
    Plan::each([Write::Update(value)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLERS: &[&str] = &["crd-controller"];

    fn definition(plural: &str, kind: &str) -> Value {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List")});
        let mut value = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "names": names},
        });
        names::accept(&mut value, &Taken::default(), "2026-01-01T00:00:00Z");
        value
    }

    /// A definition that goes, with so many boats, of which the first is held.
    fn going(boats: usize) -> World {
        let mut world = World::new();
        for index in 0..boats {
            let mut metadata = json!({"name": format!("boat-{index:05}"), "namespace": "default"});
            if index == 0 {
                metadata["finalizers"] = json!(["example.com/hold"]);
            }
            let boat =
                json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": metadata});
            world.create(boat);
        }
        let mut boats = definition("boats", "Boat");
        custom::note_deletion(&mut boats, "2026-01-01T00:00:00Z");
        boats["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        world.create(boats);
        world
    }

    #[test]
    fn a_definition_takes_thousands_of_objects_with_it_some_at_a_time() {
        let mut world = going(3000);
        let key = Key::new(DEFINITIONS, "", "boats.example.com");
        let mut left = 3000;
        // Nothing is remembered from one decision to the next: whoever decides may be another.
        while left > 1 {
            let plan = world.decide(&CONTROLLER, &key);
            assert!(plan.writes().count() <= DELETIONS_MAX + 1);
            let now = world.names("boats.example.com").len();
            assert!(now < left, "{now} of {left}");
            left = now;
        }
        world.settle(CONTROLLERS);
        let held = world.get(DEFINITIONS, "boats.example.com");
        assert_eq!(held.value()["status"]["conditions"][2]["reason"], "InstanceDeletionInProgress");
        world.edit("boats.example.com", "boat-00000", |boat| {
            boat["metadata"]["finalizers"] = json!([]);
        });
        world.settle(CONTROLLERS);
        assert!(world.find(DEFINITIONS, "boats.example.com").is_none());
    }

    #[test]
    fn what_others_hold_says_that_its_objects_are_gone() {
        let mut world = going(0);
        world.edit(DEFINITIONS, "boats.example.com", |boats| {
            boats["metadata"]["finalizers"] = json!([CLEANUP, "example.com/hold"]);
        });
        world.settle(CONTROLLERS);
        let held = world.get(DEFINITIONS, "boats.example.com");
        assert_eq!(held.metadata().finalizers, ["example.com/hold"]);
        assert_eq!(held.value()["status"]["conditions"][2]["reason"], "InstanceDeletionCompleted");
    }

    #[test]
    fn names_are_looked_at_again_when_their_holder_goes() {
        let mut world = World::new();
        world.create(definition("boats", "Boat"));
        let mut ships = definition("ships", "Boat");
        let mut taken = Taken::default();
        taken.by_definition(&definition("boats", "Boat"));
        ships["status"] = json!({});
        names::accept(&mut ships, &taken, "2026-01-01T00:00:00Z");
        let ships = world.create(ships);
        world.settle(CONTROLLERS);
        assert_eq!(world.get(DEFINITIONS, "ships.example.com").revision(), ships.revision());
        world.delete(DEFINITIONS, "boats.example.com", None);
        world.settle(&[]);
        let plan = world.decide(&CONTROLLER, ships.key());
        assert!(matches!(plan.steps[0].writes[..], [Write::Update(_)]));
    }
}
