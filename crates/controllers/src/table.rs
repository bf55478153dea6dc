//! The table of controllers: what each watches, and how it decides.

use coracle_api::Key;
use coracle_store::{Event, Snapshot};

use crate::{Context, Plan};

/// A decision: what should happen to the object at the key now.
pub type Decide = fn(&Snapshot, &Key, &Context<'_>) -> Plan;

/// Which keys a write to one object makes a controller look at.
pub type Concerns = fn(&Event, &Snapshot) -> Vec<Key>;

/// One controller: a row of [`CONTROLLERS`].
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

/// Every controller of the engine, in no particular order.
pub const CONTROLLERS: &[Controller] = &[
    crate::statefulset::CONTROLLER,
    crate::scheduler::CONTROLLER,
    crate::volumes::BINDER,
    crate::volumes::PROVISIONER,
    crate::volumes::EXPANDER,
    crate::volumes::CLAIM_PROTECTOR,
    crate::volumes::VOLUME_PROTECTOR,
    crate::volumes::ATTRIBUTES_PROTECTOR,
    crate::namespaced::SERVICE_ACCOUNTS,
    crate::namespaced::ROOT_CAS,
    crate::endpoints::ENDPOINTS,
    crate::endpoints::ENDPOINT_SLICES,
    crate::endpoints::ENDPOINT_MIRROR,
    crate::load_balancer::CONTROLLER,
    crate::garbage::CONTROLLER,
    crate::namespaces::CONTROLLER,
    crate::disruption::CONTROLLER,
    crate::nodes::NODE_LIFECYCLE,
    crate::nodes::POD_GC,
    crate::taints::CONTROLLER,
    crate::event_expiry::CONTROLLER,
    crate::event_expiry::QUOTA,
    crate::bootstrap::CONTROLLER,
    crate::roles::CONTROLLER,
    crate::quota::CONTROLLER,
];

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
