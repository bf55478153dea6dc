//! Claims that ask for more: the volume grows with them, where its class allows it.
//!
//! Two hands are needed. This decision makes the volume's capacity what the claim asks for, and
//! says `FileSystemResizePending` of the claim; the node makes the file system as large, and only
//! then is the claim's capacity what it is ([`grown`]).

use coracle_api::conditions;
use coracle_api::{Key, Object, Quantity, Timestamp};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::matching::{size, wanted_size};
use super::{CLAIMS, VOLUMES, class_of, is_bound, is_kept_for, local_name};
use crate::plan::{Because, Note, Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// Condition of a claim whose volume has grown, and the file system on it not yet.
pub const RESIZE_PENDING: &str = "FileSystemResizePending";

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "volume-expand", serial: false, watches: &[(CLAIMS, itself)], decide };

/// Grows the volume of the claim at `key` to what the claim asks for.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(claim) = snapshot.get(key).filter(|claim| is_bound(claim)) else { return plan };
    let name = claim.str_at("/spec/volumeName").unwrap_or_default();
    let Some(volume) = snapshot.find(VOLUMES, "", name).filter(|v| is_kept_for(v, claim)) else {
        return plan;
    };
    let allowed = class_of(snapshot, claim).is_some_and(|class| class.allows_expansion());
    let bound = claim.str_at("/status/phase") == Some("Bound");
    if local_name(volume).is_none() || !allowed || !bound {
        return plan;
    }
    let asked = &claim.value()["spec"]["resources"]["requests"]["storage"];
    let grows = wanted_size(claim) > size(volume);
    if grows && let Err(why) = context.config.can_hold(wanted_size(claim)) {
        plan.notes.push(Note::warning(claim, "VolumeResizeFailed", why.as_str()));
        plan.because = Some(Because::only(why));
        return plan;
    }
    if grows {
        let value = json::with(volume, &["spec", "capacity", "storage"], asked.clone());
        plan.write(Write::Update(value));
    }
    if told(claim) < wanted_size(claim).max(size(volume)) {
        if !is_pending(claim) {
            plan.write(Write::status(pending(claim, context.now)));
        }
        plan.because = Some(Because::only("its node has not resized the file system yet"));
    }
    plan
}

/// The size that the claim's status tells.
fn told(claim: &Object) -> Quantity {
    let told = claim.value().pointer("/status/capacity/storage");
    told.and_then(|told| Quantity::from_json(told).ok()).unwrap_or(Quantity::ZERO)
}

fn is_pending(claim: &Object) -> bool {
    conditions::all(claim.value()).iter().any(|condition| condition["type"] == RESIZE_PENDING)
}

fn pending(claim: &Object, now: Timestamp) -> Value {
    let condition = json!({
        "type": RESIZE_PENDING,
        "status": "True",
        "message":
            "Waiting for user to (re-)start a pod to finish file system resize of volume on node.",
    });
    crate::workload::conditions::with(claim, condition, now)
}

/// The volume whose file system the claim waits for, if it waits for one.
pub fn waits_for_resize<'a>(snapshot: &'a Snapshot, claim: &Object) -> Option<&'a Object> {
    let name = claim.str_at("/spec/volumeName").filter(|_| is_pending(claim))?;
    let volume = snapshot.find(VOLUMES, "", name).filter(|volume| is_kept_for(volume, claim))?;
    local_name(volume).map(|_| &**volume)
}

/// The claim once the file system on its volume is as large as the volume.
pub fn grown(claim: &Object, volume: &Object) -> Value {
    let capacity = volume.value()["spec"]["capacity"]["storage"].clone();
    let mut value = json::with(claim, &["status", "capacity", "storage"], capacity);
    let others = conditions::all(claim.value()).iter().filter(|it| it["type"] != RESIZE_PENDING);
    let others: Vec<Value> = others.cloned().collect();
    json::set(&mut value, &["status", "conditions"], others.into());
    value
}
