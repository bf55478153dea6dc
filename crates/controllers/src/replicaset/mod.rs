//! ReplicaSets and ReplicationControllers: as many pods of one template as are wanted.
//!
//! A decision settles whose pods they are, then makes the missing ones or deletes those that are too
//! many (`workload::ranking`), and counts them as they were before. When admission refuses a pod,
//! those before it stay, no further one is tried, and the status says `ReplicaFailure` until a
//! decision meets no refusal.

mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::resources::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};

use crate::plan::{Because, Instead, Step};
use crate::table::{Controller, itself};
use crate::workload::owner::Owner;
use crate::workload::ranking::{self, Rule};
use crate::workload::replica::{Replica, next_available, next_waiting};
use crate::workload::steps::{BURST, create_pod, delete_pod};
use crate::workload::{ownership, template, wake};
use crate::{Context, Plan};

/// The row of ReplicaSets.
pub(crate) const REPLICA_SET: Controller = Controller {
    name: "replicaset-controller",
    serial: false,
    watches: &[(REPLICA_SETS, itself), (PODS, sets_of_pod)],
    decide,
};

/// The row of ReplicationControllers.
pub(crate) const REPLICATION_CONTROLLER: Controller = Controller {
    name: "replication-controller",
    serial: false,
    watches: &[(REPLICATION_CONTROLLERS, itself), (PODS, controllers_of_pod)],
    decide,
};

/// What should happen to the set at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(set) = snapshot.get(key).map(Owner::of) else { return Plan::default() };
    if let Some(plan) = ownership::settle_active(snapshot, &set) {
        return plan;
    }
    let all = Replica::of(snapshot, &set);
    let (active, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(Replica::is_active);
    let ending = ended.iter().filter(|pod| pod.is_ending()).count();
    let mut plan = Plan { rests_on: vec![Arc::clone(&set.object)], ..Plan::default() };
    let wanted = set.spec_number("replicas").unwrap_or(1).max(0);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let failure = if set.is_deleting() {
        "FailedDelete"
    } else if active.len() < wanted {
        if set.may_create(snapshot) {
            create(&mut plan, snapshot, &set, wanted.saturating_sub(active.len()));
        }
        "FailedCreate"
    } else {
        delete(&mut plan, snapshot, &set, (&active, wanted), context);
        "FailedDelete"
    };
    let counts = status::Counts::of(&set, &active, ending, context.now);
    let instead = Instead {
        write: counts.write(&set, Some(failure), context.now),
        message_at: counts.failure_at(&set),
    };
    plan.step(Step {
        writes: counts.write(&set, None, context.now).into_iter().collect(),
        instead: Some(instead),
        ..Step::default()
    });
    plan.because = waits_for(&active, wanted, &set).or_else(|| {
        let seconds = counts.min_ready_seconds;
        next_waiting(&active, seconds, context.now)
    });
    plan.look_again = next_available(&active, counts.min_ready_seconds, context.now);
    plan
}

fn create(plan: &mut Plan, snapshot: &Snapshot, set: &Owner, missing: usize) {
    let prefix = format!("{}-", set.name());
    let mut names = template::Names::new(snapshot, set);
    for _ in 0..missing.min(BURST) {
        let name = names.next(&prefix);
        let pod = template::pod(set, &set.object.value()["spec"]["template"], &prefix, &name);
        plan.step(create_pod(&set.object, pod));
    }
}

fn delete(
    plan: &mut Plan,
    snapshot: &Snapshot,
    set: &Owner,
    (active, wanted): (&[Replica], usize),
    context: &Context<'_>,
) {
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    if surplus == 0 {
        return;
    }
    let mut ranked = active.to_vec();
    let min_ready_seconds = set.spec_number("minReadySeconds").unwrap_or(0);
    let rule = Rule::Spread { crowds: crowds(snapshot, set), min_ready_seconds, now: context.now };
    ranking::sort(&mut ranked, &rule);
    for pod in ranked.iter().take(surplus) {
        plan.step(delete_pod(&set.object, &pod.object));
    }
}

/// How many pods of the sets that belong together each node has: of those with the same controller,
/// as the old and new sets of a Deployment.
fn crowds(snapshot: &Snapshot, set: &Owner) -> BTreeMap<String, usize> {
    let Some(above) = set.object.metadata().controller() else { return BTreeMap::new() };
    let is_related = |object: &&Arc<Object>| {
        *object.key().resource == *REPLICA_SETS
            && object.metadata().controller().is_some_and(|it| it.uid == above.uid)
    };
    let related = snapshot.dependents(&above.uid).filter(is_related);
    let selected =
        related.flat_map(|other| snapshot.selected(PODS, Some(set.namespace()), &other.selector()));
    let pods: BTreeMap<&str, Replica> = selected
        .filter_map(|object| Some((object.metadata().uid.as_str(), Replica::read(object)?)))
        .collect();
    let mut crowds = BTreeMap::new();
    for node in pods.values().filter(|pod| pod.is_active()).filter_map(Replica::node) {
        let count: &mut usize = crowds.entry(node.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    crowds
}

/// What keeps the set from being ready.
fn waits_for(active: &[Replica], wanted: usize, set: &Owner) -> Option<Because> {
    if let Some(pod) = active.iter().find(|pod| !pod.is_ready()) {
        let sentence = format!("{} is not ready", pod.name());
        return Some(Because::of(pod.object.key().clone(), sentence));
    }
    let missing = wanted.saturating_sub(active.len());
    (missing > 0 && !set.is_deleting())
        .then(|| Because::only(format!("{missing} of {wanted} pods are still to be created")))
}

fn sets_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, REPLICA_SETS)
}

fn controllers_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, REPLICATION_CONTROLLERS)
}
