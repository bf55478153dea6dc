//! Events last an hour, and those of a namespace have so much space and no more.

use std::sync::Arc;

use coracle_api::resources::{EVENTS, NAMESPACES};
use coracle_api::{Key, Object, Timestamp};
use coracle_store::{Event, Snapshot};
use jiff::SignedDuration;

use crate::Context;
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};

/// How long an event is kept after it was last seen.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// Deletions of one plan.
const DELETIONS_MAX: usize = 500;

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "event-expiry", serial: false, watches: &[(EVENTS, itself)], decide };

/// The row of the table for the space of a namespace's events: whoever may write events could fill
/// the disk with them.
pub(crate) const QUOTA: Controller = Controller {
    name: "event-quota",
    serial: false,
    watches: &[(EVENTS, namespace_of_larger)],
    decide: decide_namespace,
};

/// Events that a namespace keeps, and bytes of them.
const EVENTS_MAX: usize = 4096;
const BYTES_MAX: usize = 4 << 20;

fn namespace_of_larger(event: &Event, _: &Snapshot) -> Vec<Key> {
    let size = |object: &Arc<Object>| object.bytes().len();
    let grows = event.new.as_ref().map_or(0, size) > event.old.as_ref().map_or(0, size);
    let key = || Key::new(NAMESPACES, "", event.key.namespace.clone());
    grows.then(key).into_iter().collect()
}

/// Deletes the oldest events of the namespace at `key` when they have outgrown their space, down to
/// three quarters of it.
fn decide_namespace(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let mut events: Vec<_> = snapshot.list(EVENTS, Some(&key.name)).collect();
    let size =
        |events: &[&Arc<Object>]| events.iter().map(|event| event.bytes().len()).sum::<usize>();
    let mut bytes = size(&events);
    if events.len() <= EVENTS_MAX && bytes <= BYTES_MAX {
        return Plan::default();
    }
    // Each is read once, not at each comparison.
    events.sort_by_cached_key(|event| std::cmp::Reverse(last_seen(event)));
    let mut plan = Plan::default();
    while events.len() > EVENTS_MAX / 4 * 3 || bytes > BYTES_MAX / 4 * 3 {
        let Some(oldest) = events.pop() else { break };
        bytes = bytes.saturating_sub(oldest.bytes().len());
        plan.write(Write::delete(oldest));
        if plan.steps.len() == DELETIONS_MAX {
            break;
        }
    }
    plan
}

/// Deletes the event at `key` when its hour is over.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(event) = snapshot.get(key).filter(|event| !event.metadata().is_deleting()) else {
        return plan;
    };
    let end = last_seen(event).and_then(|at| at.checked_add(KEPT).ok());
    match end {
        Some(end) if end > context.now => plan.look_again_at(end),
        _ => plan.write(Write::delete(event)),
    }
    plan
}

fn last_seen(event: &Object) -> Option<Timestamp> {
    let pointers = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime"];
    let told = pointers.iter().filter_map(|at| event.str_at(at)?.parse().ok());
    told.chain(event.metadata().creation_timestamp).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::world::World;

    const CONTROLLER: &[&str] = &["event-expiry"];

    #[test]
    fn an_event_goes_an_hour_after_it_was_last_seen() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "web-0.17", "namespace": "default"},
            "lastTimestamp": "2026-01-01T00:10:00Z",
        }));
        world.settle(CONTROLLER);
        world.pass(69 * 60, CONTROLLER);
        assert_eq!(world.names("events").len(), 1);
        world.pass(60, CONTROLLER);
        assert_eq!(world.names("events").len(), 0);
    }

    #[test]
    fn the_oldest_events_go_when_a_namespace_has_too_many_or_too_large_ones() {
        for (count, size) in [(super::EVENTS_MAX + 1, 1), (40, super::BYTES_MAX / 32)] {
            let mut world = World::new();
            for n in 0..count {
                world.create(json!({
                    "apiVersion": "v1", "kind": "Event", "message": "x".repeat(size),
                    "metadata": {"name": format!("e{n:05}"), "namespace": "default"},
                    "lastTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60),
                }));
            }
            let key = coracle_api::Key::new("namespaces", "", "default");
            while !world.decide(&super::QUOTA, &key).writes_nothing() {}
            let left = world.names("events");
            assert!(left.len() <= count * 9 / 10, "{}", left.len());
            assert!(left.len() > count / 2, "{}", left.len());
            if count < 60 {
                assert_eq!(left.last().unwrap(), "e00039", "the newest stays");
            }
        }
    }
}
