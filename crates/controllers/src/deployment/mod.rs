//! Deployments: one ReplicaSet for each template, of which the newest grows while the others shrink.
//!
//! A decision finds the sets of its own (`sets`), finds or makes the one of the current template
//! (`newest`), and goes one step of the roll-out further: a change of size is spread over all sets
//! (`scaling`), a rolling update makes room and fills it (`rolling`), `Recreate` waits until nothing
//! old runs (`recreate`). Whether it goes forward is told by conditions (`progress`). All writes to
//! sets are one step, the status is the next. Each step rests on what the ReplicaSet controller has
//! counted of the one before.

mod draft;
mod newest;
mod progress;
mod recreate;
mod rollback;
mod rolling;
mod scaling;
mod sets;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use coracle_api::Key;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use coracle_store::{Event, Snapshot};

use self::draft::Draft;
use self::spec::{Deployment, Strategy};
use crate::table::{Controller, itself};
use crate::workload::{ownership, wake};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "deployment-controller",
    serial: false,
    watches: &[
        (DEPLOYMENTS, itself),
        (REPLICA_SETS, deployments_of_set),
        (PODS, deployments_of_ended_pod),
    ],
    decide,
};

/// What should happen to the deployment at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(deployment) = snapshot.get(key).and_then(Deployment::read) else {
        return Plan::default();
    };
    let settled =
        ownership::settle_selected(snapshot, &deployment.owner, REPLICA_SETS, |_| true, None);
    if let Some(plan) = settled {
        return plan;
    }
    if let Some(plan) = rollback::asked_for(snapshot, &deployment) {
        return plan;
    }
    let mut draft = Draft::new(snapshot, &deployment, context.now);
    if deployment.owner.is_deleting() {
        return draft.plain();
    }
    draft.tell_whether_paused();
    if deployment.is_paused || draft.is_resized() {
        draft.adjust_newest();
        draft.scale();
        if deployment.is_paused {
            draft.clean_up();
        }
        // With `Recreate` nothing is spread over two old sets: the roll-out itself goes on, or it
        // would wait for ever (a stock cluster does).
        if deployment.is_paused || draft.changes_sets() {
            return draft.plain();
        }
    }
    match deployment.strategy {
        Strategy::Rolling { .. } => draft.roll(),
        Strategy::Recreate => draft.recreate(),
    }
    draft.rolled()
}

fn deployments_of_set(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, DEPLOYMENTS)
}

/// `Recreate` waits for the end of pods, of sets whose status says nothing of them.
fn deployments_of_ended_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.new.is_some() && !event.last.has_ended() {
        return Vec::new();
    }
    let set = event.last.metadata().controller().and_then(|set| snapshot.by_uid(&set.uid));
    let owner = set.and_then(|set| set.metadata().controller());
    let deployment = owner.and_then(|owner| snapshot.by_uid(&owner.uid));
    let key = deployment.map(|found| found.key().clone());
    key.into_iter().filter(|key| *key.resource == *DEPLOYMENTS).collect()
}
