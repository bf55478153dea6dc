//! Whose an object is: orphans that fit are adopted, what no longer fits is let go.
//!
//! When anything changes hands, nothing else is decided: the next decision sees the result.

use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::PODS;
use coracle_api::{Index, Object};
use coracle_store::Snapshot;

use super::owner::Owner;
use crate::json;
use crate::plan::{Plan, Write};

/// The plan by which `owner` adopts `orphans` and lets `strangers` go; `None` when there are none,
/// or when the owner itself is being deleted. `finalizer` is what the owner's objects carry.
pub(crate) fn settle<'a>(
    owner: &Owner,
    orphans: impl Iterator<Item = &'a Arc<Object>>,
    strangers: impl Iterator<Item = &'a Arc<Object>>,
    finalizer: Option<&str>,
) -> Option<Plan> {
    if owner.is_deleting() {
        return None;
    }
    let adopted = orphans
        .filter(|orphan| !orphan.metadata().is_deleting())
        .map(|orphan| adopt(owner, orphan, finalizer));
    let released = strangers.map(|stranger| release(owner, stranger, finalizer));
    let plan = Plan::each(adopted.chain(released));
    let rests_on = vec![Arc::clone(&owner.object)];
    (!plan.writes_nothing()).then_some(Plan { rests_on, ..plan })
}

/// As [`settle`], of all objects of `resource` that the owner's selector decides about and that
/// `counts`.
pub(crate) fn settle_selected(
    snapshot: &Snapshot,
    owner: &Owner,
    resource: &str,
    counts: impl Fn(&Object) -> bool,
    finalizer: Option<&str>,
) -> Option<Plan> {
    let orphans = snapshot
        .indexed(Index::Orphan, "", resource, Some(owner.namespace()))
        .filter(|object| owner.selects(object) && counts(object));
    let strangers = owner
        .controlled(snapshot, resource)
        .filter(|object| !owner.selects(object) && counts(object));
    settle(owner, orphans, strangers, finalizer)
}

/// As [`settle_selected`], of pods that have not ended and are not being deleted.
pub(crate) fn settle_active(snapshot: &Snapshot, owner: &Owner) -> Option<Plan> {
    let is_active = |pod: &Object| !pod.metadata().is_deleting() && !pod.has_ended();
    settle_selected(snapshot, owner, PODS, is_active, None)
}

fn adopt(owner: &Owner, orphan: &Object, finalizer: Option<&str>) -> Write {
    let mut references = json::owner_references(orphan);
    references.retain(|reference| reference["uid"] != *owner.uid());
    references.push(json::controller_reference(&owner.object));
    let mut adopted = json::with_owner_references(orphan, references);
    if let Some(finalizer) = finalizer {
        json::add_finalizer(&mut adopted, finalizer);
    }
    Write::Update(adopted)
}

fn release(owner: &Owner, object: &Object, finalizer: Option<&str>) -> Write {
    let mut references = json::owner_references(object);
    references.retain(|reference| reference["uid"] != *owner.uid());
    let mut released = json::with_owner_references(object, references);
    if let Some(finalizer) = finalizer {
        json::remove_finalizer(&mut released, finalizer);
    }
    Write::Update(released)
}
