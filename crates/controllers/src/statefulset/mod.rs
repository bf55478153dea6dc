//! StatefulSets: pods with a name, an order and claims of their own.
//!
//! A decision looks at all pods of a set and goes as far as it may: it settles whose pods they are
//! (`ownership`), finds the revisions of the template (`revisions`), walks the wanted pods in their
//! order (`draft`), then takes down those that are too many and replaces those that are too old
//! (`scaling`; all at once and first of all with `recreate`), and counts (`status`). With
//! `OrderedReady` the first pod that is not available ends the walk; with `Parallel` the walk goes on. A
//! pod and its claims are one step, the status is the last. When admission refuses a pod, those before it
//! stay, no further one is made, the status is written all the same, the refusal is told in an event, and
//! the decision is asked for again after a while.
//!
//! # The first cure: a pod that never worked does not hold up the one that will
//!
//! Upstream, with `OrderedReady`, a pod that does not get Ready stops everything behind it, the
//! roll-out of a corrected template included: somebody must delete the pod by hand
//! (kubernetes#67250). Here such a pod is deleted, with a Warning event that says so, when all of
//! this holds:
//!
//! - it is the first pod that stops the walk, so order is kept: every pod before it is available;
//! - it was made from an outdated revision, and the pod that would follow it gets another one: the
//!   strategy is RollingUpdate and neither the partition nor, without one, upstream's count of pods
//!   at the current revision keeps this very template there (else it would be deleted and made
//!   again without end);
//! - it was never Ready. A pod that was, and is not now, may be recovering with data that it alone
//!   has, and only somebody who knows may delete it; upstream's rule stands.
//!
//! For the same reason that count is void while pods carry the current revision and none of them was
//! ever Ready: a new pod comes from the corrected template, not from one that worked nowhere.
//!
//! A deletion takes the pod's grace period and leaves its claims, as any other of the update.
//! Availability is not lowered: what is deleted never served. With `Parallel` upstream's own rule
//! already replaces such pods when their turn comes.
//!
//! # What a set may ask for
//!
//! By annotations ([`coracle_api::options`]), which a stock cluster ignores: claims that grow with
//! their templates, and outdated pods replaced in the order of need, those that are not available
//! first, whether they worked once or not.

mod claims;
mod draft;
mod identity;
mod members;
#[cfg(test)]
mod options_tests;
mod ownership;
mod progress;
#[cfg(test)]
mod properties;
mod recreate;
mod revisions;
mod scaling;
mod set;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::resources::{CONTROLLER_REVISIONS, PODS, STATEFUL_SETS as RESOURCE};
use coracle_api::{Key, Object, Timestamp};
use coracle_store::{Event, Snapshot};

use self::draft::Draft;
use self::members::{Member, Members};
use self::revisions::Revisions;
use self::set::Set;
use self::status::Status;
use crate::table::{Controller, itself};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "statefulset-controller",
    serial: false,
    watches: &[
        (RESOURCE, itself),
        (PODS, sets_of_pod),
        (CONTROLLER_REVISIONS, owners),
        (claims::RESOURCE, sets_of_claim),
    ],
    decide,
};

/// What should happen to the set at `key` now.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let read = |object: &Arc<Object>| Set::read(object, &context.config.gates);
    let Some(set) = snapshot.get(key).and_then(read) else { return Plan::default() };
    if let Some(plan) = ownership::settle(snapshot, &set) {
        return plan;
    }
    let members = Members::of(snapshot, &set);
    let revisions = Revisions::choose(snapshot, &set);
    let status = Status::count(&set, &members, &revisions, context.now);
    if set.is_deleting() {
        return Plan::each(status.write(&set));
    }
    let mut plan = Plan::each(revisions.writes.iter().cloned());
    plan.rests_on = rests_on(&set, &members);
    let mut draft = Draft {
        snapshot,
        context,
        set: &set,
        members: &members,
        revisions: &revisions,
        status,
        plan,
        settled: BTreeSet::new(),
    };
    draft.grow_claims();
    if draft.recreate().is_continue()
        && draft.replicas().is_continue()
        && draft.condemned().is_continue()
    {
        draft.update();
    }
    let Draft { mut plan, status, .. } = draft;
    plan.write_each(revisions.expired(&set, &members));
    plan.write_each(status.write(&set));
    if let Some(when) = next_available(&set, &members, context.now) {
        plan.look_again_at(when);
    }
    plan
}

/// The set and its pods: if one of them changes meanwhile, the order may be another.
fn rests_on(set: &Set, members: &Members) -> Vec<Arc<Object>> {
    let pods = members.all().map(|member| Arc::clone(&member.object));
    std::iter::once(Arc::clone(set.object())).chain(pods).collect()
}

/// When the next pod has been ready for long enough.
fn next_available(set: &Set, members: &Members, now: Timestamp) -> Option<Timestamp> {
    let due = |member: &Member| member.available_at(set.min_ready_seconds);
    members.all().filter_map(due).filter(|at| *at > now).min()
}

/// The set that controls a pod, or those that could adopt it by its name.
fn sets_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let mut sets = owners(event, snapshot);
    if let Some((parent, _)) = identity::parent_and_ordinal(&event.key.name) {
        sets.push(Key::new(RESOURCE, event.key.namespace.clone(), parent));
    }
    sets.sort();
    sets.dedup();
    sets.retain(|set| snapshot.get(set).is_some());
    sets
}

/// The sets that control the object, or did before the write.
fn owners(event: &Event, _: &Snapshot) -> Vec<Key> {
    let states = event.old.iter().chain([&event.last]);
    states
        .filter_map(|object| object.metadata().controller())
        .filter(|owner| owner.kind == "StatefulSet")
        .map(|owner| Key::new(RESOURCE, event.key.namespace.clone(), owner.name.as_str()))
        .collect()
}

/// The sets whose pods could use a claim of this name: `TEMPLATE-SET-ORDINAL`, where both template
/// and set may have hyphens.
fn sets_of_claim(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let Some((parent, _)) = identity::parent_and_ordinal(&event.key.name) else {
        return Vec::new();
    };
    parent
        .match_indices('-')
        .map(|(at, _)| Key::new(RESOURCE, event.key.namespace.clone(), &parent[at + 1..]))
        .filter(|set| snapshot.get(set).is_some())
        .collect()
}
