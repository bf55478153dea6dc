//! ReplicaSets and ReplicationControllers: never more pods than wanted, none taken that is wanted.

use coracle_store::Snapshot;

use super::owned::{Losses, active, spec, touched};
use super::{Actor, Change};

const CONTROLLERS: [&str; 2] = ["replicaset-controller", "replication-controller"];

pub(super) fn check(
    actor: &Actor,
    before: &Snapshot,
    changes: &[Change],
    (after, losses): (&Snapshot, &Losses),
) -> Result<(), String> {
    if !matches!(actor, Actor::Controller(name) if CONTROLLERS.contains(name)) {
        return Ok(());
    }
    for (change, _, owner) in touched(changes) {
        let Some(set) = before.by_uid(&owner) else {
            return Err(format!("{} was created for a set that is not there", change.key));
        };
        let wanted = spec(set, "replicas", 1);
        let (had, has) = (active(before, &owner), active(after, &owner));
        if has > had && has > wanted {
            let key = set.key();
            return Err(format!("{} was created: {key} has {has} of {wanted} pods", change.key));
        }
        // What went since it decided, it could not know of.
        let lost = losses.get(set.key()).copied().unwrap_or(0);
        if has < had && has + lost < wanted {
            let key = set.key();
            return Err(format!("{} was deleted: {key} has {has} of {wanted} pods", change.key));
        }
    }
    Ok(())
}
