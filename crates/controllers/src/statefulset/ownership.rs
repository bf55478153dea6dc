//! Which pods and revisions a set adopts, and which pods it lets go.

use std::sync::Arc;

use coracle_api::resources::{CONTROLLER_REVISIONS, PODS};
use coracle_api::{Index, Object};
use coracle_store::Snapshot;

use super::identity::parent_and_ordinal;
use super::set::Set;
use crate::plan::Plan;
use crate::workload::ownership;

/// Whether the pod's labels and name are those of a pod of `set`.
pub(super) fn fits(set: &Set, pod: &Object) -> bool {
    let metadata = pod.metadata();
    set.owner.selector.matches(&metadata.labels)
        && parent_and_ordinal(&metadata.name).is_some_and(|(parent, ordinal)| {
            // `web-01` would be a second web-1.
            parent == set.name && set.pod_name(ordinal) == metadata.name
        })
}

/// The plan that settles ownership; `None` when all is settled.
pub(super) fn settle(snapshot: &Snapshot, set: &Set) -> Option<Plan> {
    ownership::settle(&set.owner, orphans(snapshot, set), strangers(snapshot, set), None)
}

/// Pods and revisions that nobody controls and that fit the set. Their names begin with the set's.
fn orphans<'a>(snapshot: &'a Snapshot, set: &'a Set) -> impl Iterator<Item = &'a Arc<Object>> {
    let pods = uncontrolled(snapshot, set, PODS).filter(|pod| fits(set, pod));
    let revisions = uncontrolled(snapshot, set, CONTROLLER_REVISIONS)
        .filter(|revision| set.owner.selector.matches(&revision.metadata().labels));
    pods.chain(revisions)
}

fn uncontrolled<'a>(
    snapshot: &'a Snapshot,
    set: &Set,
    resource: &str,
) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
    let prefix = format!("{}-", set.name);
    snapshot.indexed_by_name(Index::Orphan, "", (resource, &set.namespace), &prefix)
}

/// Pods that the set controls and that do not fit it.
fn strangers<'a>(snapshot: &'a Snapshot, set: &'a Set) -> impl Iterator<Item = &'a Arc<Object>> {
    set.owner.controlled(snapshot, PODS).filter(|object| !fits(set, object))
}
