//! Events last an hour.

use coracle_api::{Key, Object, Timestamp};
use coracle_store::Snapshot;
use jiff::SignedDuration;

use crate::Context;
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};

/// How long an event is kept after it was last seen.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "event-expiry", watches: &[("events", itself)], decide };

/// Deletes the event at `key` when its hour is over.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(event) = snapshot.get(key).filter(|event| !event.metadata().is_deleting()) else {
        return plan;
    };
    let end = last_seen(event).and_then(|at| at.checked_add(KEPT).ok());
    match end {
        Some(end) if end > context.now => plan.look_again_at(end),
        _ => plan.writes.push(Write::delete(event)),
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
}
