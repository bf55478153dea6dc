//! A row of the table of controllers: what one watches, and how it decides.

use coracle_api::Key;
use coracle_store::{Event, Snapshot};

use crate::{Context, Plan};

/// A decision: what should happen to the object at the key now.
pub type Decide = fn(&Snapshot, &Key, &Context<'_>) -> Plan;

/// Which keys a write to one object makes a controller look at.
pub type Concerns = fn(&Event, &Snapshot) -> Vec<Key>;

/// One controller: a row of [`CONTROLLERS`](crate::CONTROLLERS).
#[derive(Clone, Copy)]
pub struct Controller {
    /// `statefulset-controller`: the component of its events, and after `system:controller:` the
    /// name of its user.
    pub name: &'static str,
    /// Whether it is asked about one key at a time, because it chooses from what its objects share.
    /// One key is never asked about twice at once.
    pub serial: bool,
    /// Resources, or [`ANY`], and whom a write to one of them concerns. Also called for every
    /// object that exists when the engine starts.
    pub watches: &'static [(&'static str, Concerns)],
    /// What it does.
    pub decide: Decide,
}

/// Watches every resource.
pub const ANY: &str = "*";

/// The objects of `resource` whose selector selects the event's object, or did before the write.
pub(crate) fn selecting(event: &Event, snapshot: &Snapshot, resource: &str) -> Vec<Key> {
    let namespace = &event.key.namespace;
    let states = event.old.iter().chain([&event.last]);
    let found = states
        .flat_map(|object| snapshot.selecting(resource, namespace, &object.metadata().labels));
    let mut keys: Vec<_> = found.map(|object| object.key().clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The object itself.
pub fn itself(event: &Event, _: &Snapshot) -> Vec<Key> {
    vec![event.key.clone()]
}
