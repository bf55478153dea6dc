//! Whom a write to an object concerns: its controllers, and who could adopt it.

use coracle_api::Key;
use coracle_store::{Event, Snapshot};

use crate::table::selecting;

/// The objects of `resource` that control the event's object, or did before; when nothing controls
/// it, those whose selectors select it.
pub(crate) fn holders(event: &Event, snapshot: &Snapshot, resource: &str) -> Vec<Key> {
    let mut keys = controllers(event, snapshot, resource);
    if event.last.metadata().controller().is_none() {
        keys.extend(selecting(event, snapshot, resource));
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}

/// The objects of `resource` that control the event's object, or did before the write.
pub(crate) fn controllers(event: &Event, snapshot: &Snapshot, resource: &str) -> Vec<Key> {
    let states = event.old.iter().chain([&event.last]);
    let owners = states.filter_map(|object| object.metadata().controller());
    let found = owners.filter_map(|owner| snapshot.by_uid(&owner.uid));
    let mut keys: Vec<_> =
        found.map(|object| object.key().clone()).filter(|key| *key.resource == *resource).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
