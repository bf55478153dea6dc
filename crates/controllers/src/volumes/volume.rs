//! What a volume needs: a phase, and an end when its claim is gone.

use std::sync::Arc;

use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use serde_json::json;

use super::{PROVISIONED_BY, PROVISIONER_NAME, claim_of, is_bound};
use crate::json;
use crate::plan::{Because, Plan, Write};

/// What should happen to the volume now.
pub(super) fn decide(snapshot: &Snapshot, volume: &Arc<Object>, now: Timestamp) -> Plan {
    let phase = phase(snapshot, volume);
    let mut plan = Plan::default();
    if volume.str_at("/status/phase") != Some(phase) {
        let mut value = json::with(volume, &["status", "phase"], json!(phase));
        let since = json!(crate::rfc3339(now));
        json::set(&mut value, &["status", "lastPhaseTransitionTime"], since);
        plan.write(Write::status(value));
        return plan;
    }
    if phase == "Released" && is_ours_to_delete(volume) {
        if volume.metadata().is_deleting() {
            let node = volume.str_at(
                "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0",
            );
            let why = format!("node {} has not removed its data yet", node.unwrap_or("?"));
            plan.because = Some(Because::only(why));
        } else {
            plan.write(Write::delete(volume));
        }
    }
    plan
}

fn phase(snapshot: &Snapshot, volume: &Object) -> &'static str {
    let Some(key) = claim_of(volume) else { return "Available" };
    let uid = volume.str_at("/spec/claimRef/uid").unwrap_or_default();
    if uid.is_empty() {
        // Kept by an administrator for a claim that has not come.
        return "Available";
    }
    match snapshot.get(&key).filter(|claim| claim.metadata().uid == uid) {
        None => "Released",
        Some(claim) if is_bound(claim) => "Bound",
        Some(_) => "Available",
    }
}

fn is_ours_to_delete(volume: &Object) -> bool {
    let by = volume.metadata().annotations.get(PROVISIONED_BY);
    volume.str_at("/spec/persistentVolumeReclaimPolicy") == Some("Delete")
        && by.is_some_and(|by| by == PROVISIONER_NAME)
}
