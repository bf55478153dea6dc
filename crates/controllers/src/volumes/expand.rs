//! Claims that ask for more: the volume grows with them, where its class allows it.
//!
//! A volume of the class `standard` is a directory whose size is a limit; the node enforces
//! whatever the volume's capacity says, so a larger volume needs no more than a larger number.

use coracle_api::Key;
use coracle_store::Snapshot;
use serde_json::json;

use super::matching::{size, wanted_size};
use super::{CLAIMS, PROVISIONED_BY, PROVISIONER_NAME, VOLUMES, class_of, is_bound, is_kept_for};
use crate::plan::{Note, Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "volume-expand", watches: &[(CLAIMS, itself)], decide };

/// Grows the volume of the claim at `key` to what the claim asks for.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(claim) = snapshot.get(key).filter(|claim| is_bound(claim)) else { return plan };
    let name = claim.str_at("/spec/volumeName").unwrap_or_default();
    let Some(volume) = snapshot.find(VOLUMES, "", name).filter(|v| is_kept_for(v, claim)) else {
        return plan;
    };
    let by = volume.metadata().annotations.get(PROVISIONED_BY);
    let ours = by.is_some_and(|by| by == PROVISIONER_NAME);
    let allowed = class_of(snapshot, claim).is_some_and(|class| class.allows_expansion());
    let bound = claim.str_at("/status/phase") == Some("Bound");
    if !ours || !allowed || !bound {
        return plan;
    }
    let asked = &claim.value()["spec"]["resources"]["requests"]["storage"];
    if wanted_size(claim) > size(volume) {
        let value = json::with(volume, &["spec", "capacity", "storage"], asked.clone());
        plan.writes.push(Write::Update(value));
    }
    let told = &claim.value()["status"]["capacity"]["storage"];
    let larger = wanted_size(claim).max(size(volume));
    if told.as_str().is_none_or(|told| coracle_api::Quantity::parse(told) != Ok(larger)) {
        let capacity = json!({"storage": larger.to_string()});
        let value = json::with(claim, &["status", "capacity"], capacity);
        plan.writes.push(Write::status(value));
        let message = "MountVolume.NodeExpandVolume succeeded";
        plan.notes.push(Note::normal(claim, "FileSystemResizeSuccessful", message));
    }
    plan
}
