//! Whose a pod or a revision is: orphans that fit are adopted, pods that no longer fit are let go.
//!
//! When anything changes hands, nothing else is decided: the next decision sees the result.

use std::sync::Arc;

use coracle_api::resources::{CONTROLLER_REVISIONS, PODS};
use coracle_api::{Index, Object};
use coracle_store::Snapshot;

use super::identity::parent_and_ordinal;
use super::set::Set;
use crate::json;
use crate::plan::{Plan, Write};

/// Whether the pod's labels and name are those of a pod of `set`.
pub(super) fn fits(set: &Set, pod: &Object) -> bool {
    let metadata = pod.metadata();
    set.selector.matches(&metadata.labels)
        && parent_and_ordinal(&metadata.name).is_some_and(|(parent, ordinal)| {
            // `web-01` would be a second web-1.
            parent == set.name && set.pod_name(ordinal) == metadata.name
        })
}

/// The plan that settles ownership; `None` when all is settled.
pub(super) fn settle(snapshot: &Snapshot, set: &Set) -> Option<Plan> {
    if set.is_deleting() {
        return None;
    }
    let adopted = orphans(snapshot, set).map(|orphan| adopt(set, orphan));
    let released = strangers(snapshot, set).map(|pod| release(set, pod));
    let plan = Plan::each(adopted.chain(released));
    let rests_on = vec![Arc::clone(&set.object)];
    (!plan.writes_nothing()).then_some(Plan { rests_on, ..plan })
}

/// Pods and revisions that nobody controls and that fit the set. Their names begin with the set's.
fn orphans<'a>(snapshot: &'a Snapshot, set: &'a Set) -> impl Iterator<Item = &'a Arc<Object>> {
    let free = |object: &&Arc<Object>| !object.metadata().is_deleting();
    let pods = uncontrolled(snapshot, set, PODS).filter(|pod| fits(set, pod));
    let revisions = uncontrolled(snapshot, set, CONTROLLER_REVISIONS)
        .filter(|revision| set.selector.matches(&revision.metadata().labels));
    pods.chain(revisions).filter(free)
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
    snapshot.dependents(set.uid()).filter(|object| {
        *object.key().resource == *PODS
            && object.metadata().controller().is_some_and(|owner| owner.uid == set.uid())
            && !fits(set, object)
    })
}

fn adopt(set: &Set, orphan: &Object) -> Write {
    let mut references = json::owner_references(orphan);
    references.retain(|reference| reference["uid"] != *set.uid());
    references.push(json::controller_reference(&set.object));
    Write::Update(json::with_owner_references(orphan, references))
}

fn release(set: &Set, pod: &Object) -> Write {
    let mut references = json::owner_references(pod);
    references.retain(|reference| reference["uid"] != *set.uid());
    Write::Update(json::with_owner_references(pod, references))
}
