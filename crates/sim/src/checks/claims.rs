//! A claim never changes hands and never vanishes unless somebody asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STATEFUL_SETS};
use coracle_store::Snapshot;
use serde_json::Value;

use super::{Actor, Change};
use crate::runtime::Runtime;

const COLLECTOR: &str = "garbage-collector";

/// What the check remembers, all by UID.
#[derive(Default)]
pub(super) struct Claims {
    /// Claims that somebody asked to delete.
    asked: BTreeSet<String>,
    /// Sets whose deletion was ever to delete claims, and those whose scaling down was.
    when_deleted: BTreeSet<String>,
    when_scaled: BTreeSet<String>,
    /// The set of each pod.
    sets: BTreeMap<String, String>,
}

impl Claims {
    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        runtime: &Runtime,
    ) -> Result<(), String> {
        for change in changes {
            match &*change.key.resource {
                STATEFUL_SETS => self.note_policy(change),
                PODS => self.pod(change)?,
                PERSISTENT_VOLUMES => volume(change)?,
                PERSISTENT_VOLUME_CLAIMS => self.claim(actor, before, change, runtime)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn note_policy(&mut self, change: &Change) {
        let Some(set) = &change.new else { return };
        let policy = &set.value()["spec"]["persistentVolumeClaimRetentionPolicy"];
        let uid = &set.metadata().uid;
        if policy["whenDeleted"] == "Delete" {
            self.when_deleted.insert(uid.clone());
        }
        if policy["whenScaled"] == "Delete" {
            self.when_scaled.insert(uid.clone());
        }
    }

    /// A pod uses the claims of its own name.
    fn pod(&mut self, change: &Change) -> Result<(), String> {
        let Some(pod) = &change.new else { return Ok(()) };
        let metadata = pod.metadata();
        let Some(set) = metadata.controller() else { return Ok(()) };
        self.sets.insert(metadata.uid.clone(), set.uid.clone());
        for claim in claims_of(pod) {
            if !claim.ends_with(&format!("-{}", metadata.name)) {
                return Err(format!("{} uses the claim {claim} of another", change.key));
            }
        }
        Ok(())
    }

    fn claim(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        change: &Change,
        runtime: &Runtime,
    ) -> Result<(), String> {
        let Some(old) = &change.old else { return Ok(()) };
        let uid = &old.metadata().uid;
        if change.begins_deletion() {
            let asked = match actor {
                Actor::User => true,
                Actor::Controller(COLLECTOR) => self.may_collect(before, old),
                _ => false,
            };
            if !asked {
                return Err(format!("{actor:?} deletes {}, and nobody asked for it", change.key));
            }
            self.asked.insert(uid.clone());
        }
        match &change.new {
            Some(new) => {
                if *uid != new.metadata().uid {
                    return Err(format!("{} became another", change.key));
                }
                same_once_set(change, old, new, "/spec/volumeName")
            }
            None if !self.asked.contains(uid) => Err(format!("{} vanished", change.key)),
            None => unused(change, uid, before, runtime),
        }
    }

    /// Whether the retention policy let the claim go with its owners.
    fn may_collect(&self, before: &Snapshot, claim: &Object) -> bool {
        let owners = &claim.metadata().owner_references;
        !owners.is_empty()
            && owners.iter().all(|owner| {
                let of_policy = match owner.kind.as_str() {
                    "StatefulSet" => self.when_deleted.contains(&owner.uid),
                    "Pod" => {
                        let set = self.sets.get(&owner.uid);
                        set.is_some_and(|set| self.when_scaled.contains(set))
                    }
                    _ => false,
                };
                let object = before.by_uid(&owner.uid);
                of_policy && object.is_none_or(|object| object.metadata().is_deleting())
            })
    }
}

/// Nothing protects a claim from who deletes both it and, with no grace, the pod that uses it.
fn unused(change: &Change, uid: &str, before: &Snapshot, runtime: &Runtime) -> Result<(), String> {
    let user = runtime.sandboxes.iter().find(|(pod, sandbox)| {
        let mounts = runtime.mounts.get(*pod);
        let uses = mounts.is_some_and(|mounts| mounts.claims.iter().any(|claim| claim == uid));
        sandbox.is_running() && uses && before.contains_uid(pod)
    });
    match user.map(|(_, sandbox)| &sandbox.spec.name) {
        Some(pod) => Err(format!("{} vanished while {pod} ran on it", change.key)),
        None => Ok(()),
    }
}

/// A volume stays with its claim.
fn volume(change: &Change) -> Result<(), String> {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => same_once_set(change, old, new, "/spec/claimRef/uid"),
        _ => Ok(()),
    }
}

fn same_once_set(change: &Change, old: &Object, new: &Object, pointer: &str) -> Result<(), String> {
    let (was, is) = (old.str_at(pointer).unwrap_or_default(), new.str_at(pointer));
    match was.is_empty() || is == Some(was) {
        true => Ok(()),
        false => Err(format!("{}: {pointer} was {was} and became {is:?}", change.key)),
    }
}

pub(super) fn claims_of(pod: &Arc<Object>) -> impl Iterator<Item = &str> {
    let volumes = pod.value()["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let claim = |it: &'_ Value| it.get("persistentVolumeClaim").is_some();
    volumes
        .iter()
        .filter(move |it| claim(it))
        .filter_map(|it| it["persistentVolumeClaim"]["claimName"].as_str())
}
