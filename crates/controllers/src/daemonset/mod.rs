//! DaemonSets: one pod of a template on every node that fits it.
//!
//! A decision asks of each node whether a pod should run there (`nodes`), makes and deletes what
//! follows from that (`manage`), and when nothing is left to do brings pods to the newest template
//! (`update`). A pod is bound to its node by the scheduler, which a required affinity leaves no
//! choice.

mod draft;
mod labels;
mod manage;
mod members;
mod nodes;
mod pod;
mod status;
#[cfg(test)]
mod tests;
mod update;

use coracle_api::resources::{CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};

use self::draft::Draft;
use crate::table::{Controller, itself};
use crate::workload::{ownership, wake};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "daemonset-controller",
    serial: false,
    watches: &[
        (DAEMON_SETS, itself),
        (PODS, sets_of_pod),
        (CONTROLLER_REVISIONS, sets_of_revision),
        (NODES, sets_of_node),
    ],
    decide,
};

/// What should happen to the set at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(set) = snapshot.get(key).and_then(draft::Set::read) else { return Plan::default() };
    if set.owner.is_deleting() {
        return Plan::default();
    }
    for resource in [PODS, CONTROLLER_REVISIONS] {
        let settled = ownership::settle_selected(snapshot, &set.owner, resource, |_| true, None);
        if let Some(plan) = settled {
            return plan;
        }
    }
    let mut draft = Draft::new(snapshot, &set, context);
    draft.manage();
    if draft.plan.writes_nothing() {
        draft.update();
    }
    draft.finish()
}

fn sets_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, DAEMON_SETS)
}

fn sets_of_revision(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, DAEMON_SETS)
}

/// A node's status is written every few seconds; what decides about pods seldom changes.
fn sets_of_node(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let told = |node: &Object| {
        (node.metadata().labels.clone(), node.value().pointer("/spec/taints").cloned())
    };
    let before = event.old.as_deref().map(told);
    if before.is_some() && before == event.new.as_deref().map(told) {
        return Vec::new();
    }
    snapshot.list(DAEMON_SETS, None).map(|set| set.key().clone()).collect()
}
