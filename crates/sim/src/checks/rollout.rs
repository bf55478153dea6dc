//! Deployments: never more pods than surge allows, never fewer available than promised.
//!
//! Pods are counted where nothing but the controllers takes them away: when sets get their sizes, and
//! when pods go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::resources::{DEPLOYMENTS, PODS, REPLICA_SETS};
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use serde_json::Value;

use super::owned::{
    controlled, deployment_of, is_available, share, spec, status, sum_of_sets, touched,
};
use super::{Actor, Change};

const CONTROLLER: &str = "deployment-controller";
const SETS: &str = "replicaset-controller";
/// For how many replicas a set got its size.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// What the check remembers.
#[derive(Default)]
pub(super) struct Rollout {
    /// Whether nothing but controllers takes pods away.
    gentle: bool,
    /// By UID, the fewest available pods that a Deployment promised since it was last complete.
    promised: BTreeMap<String, i64>,
    /// By UID, how many pods were available and stayed when the controller sized the sets last.
    kept: BTreeMap<String, i64>,
}

impl Rollout {
    pub fn new(gentle: bool) -> Self {
        Self { gentle, ..Self::default() }
    }

    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        if *actor == Actor::Controller(CONTROLLER) {
            self.resized(before, changes, (after, now))?;
        }
        if self.gentle && *actor == Actor::Controller(SETS) {
            self.taken(before, changes, (after, now))?;
        }
        self.remember(changes);
        Ok(())
    }

    fn remember(&mut self, changes: &[Change]) {
        let all = changes.iter().filter(|change| *change.key.resource == *DEPLOYMENTS);
        for deployment in all.filter_map(|change| change.new.as_ref()) {
            let least = least(deployment);
            let promised = self.promised.entry(deployment.metadata().uid.clone()).or_insert(least);
            *promised = if is_complete(deployment) { least } else { least.min(*promised) };
        }
    }

    /// Pods were taken from sets: those of their Deployments that are left are enough.
    fn taken(
        &self,
        before: &Snapshot,
        changes: &[Change],
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        for (change, _, set) in touched(changes).filter(|(change, ..)| change.begins_deletion()) {
            let deployment = before.by_uid(&set).and_then(|set| deployment_of(before, set));
            let Some(deployment) = deployment.filter(|it| rolls(it)) else { continue };
            let uid = &deployment.metadata().uid;
            let (promised, kept) = (self.promised.get(uid), self.kept.get(uid));
            let promised = promised.copied().unwrap_or(0).min(kept.copied().unwrap_or(0));
            let all = |_: &Object| i64::MAX;
            let had = available((before, now), after, deployment, all);
            let has = available((after, now), after, deployment, all);
            if has < had && has < promised {
                let key = deployment.key();
                let what = format!("{key} has {has} available pods and promised {promised}");
                return Err(format!("{} was deleted: {what}", change.key));
            }
        }
        Ok(())
    }

    /// The sizes that the controller gave to sets.
    fn resized(
        &mut self,
        before: &Snapshot,
        changes: &[Change],
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        let sets = changes.iter().filter(|change| *change.key.resource == *REPLICA_SETS);
        let sets = sets.filter_map(|change| change.new.as_ref().or(change.old.as_ref()));
        let owners: BTreeSet<String> =
            sets.filter_map(|set| Some(set.metadata().controller()?.uid.clone())).collect();
        for deployment in owners.iter().filter_map(|uid| before.by_uid(uid)) {
            // Sets that it has just adopted had their sizes before.
            let stood =
                |set: &Object| before.by_uid(&set.metadata().uid).map_or(0, |set| size(set));
            let had =
                sum_of_sets(before, deployment, size).max(sum_of_sets(after, deployment, stood));
            let has = sum_of_sets(after, deployment, size);
            let most = most(deployment);
            if has > had && has > most {
                let key = deployment.key();
                return Err(format!("{key} asks for {has} pods, and may have {most}"));
            }
            if self.gentle {
                self.keeps(before, deployment, (after, now))?;
            }
        }
        Ok(())
    }

    /// What is available stays, as far as it is promised. A change of size takes its share from all.
    fn keeps(
        &mut self,
        before: &Snapshot,
        deployment: &Arc<Object>,
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        let had = available((before, now), after, deployment, size);
        let keeps = available((after, now), after, deployment, size);
        let uid = &deployment.metadata().uid;
        self.kept.insert(uid.clone(), keeps);
        let promised = self.promised.get(uid).copied().unwrap_or(0);
        if keeps < had && keeps < promised && rolls_on(before, deployment) {
            let key = deployment.key();
            let what = format!("{keeps} of {had} available pods and promised {promised}");
            return Err(format!("{key} keeps {what}"));
        }
        Ok(())
    }
}

/// How many pods of a Deployment are available, by the seconds that `rules` has in its sets, and stay
/// when these have such sizes.
fn available(
    (snapshot, now): (&Snapshot, Timestamp),
    rules: &Snapshot,
    deployment: &Object,
    size: impl Fn(&Object) -> i64,
) -> i64 {
    sum_of_sets(snapshot, deployment, |set| {
        let rule = rules.by_uid(&set.metadata().uid);
        let seconds = rule.map_or(0, |set| spec(set, "minReadySeconds", 0));
        let pods = controlled(snapshot, &set.metadata().uid, PODS);
        let available = pods.filter(|pod| is_available(pod, seconds, now)).count() as i64;
        available.min(size(set))
    })
}

fn size(set: &Object) -> i64 {
    spec(set, "replicas", 1)
}

/// Whether a Deployment goes on with a roll-out, and does not spread a change of its size.
fn rolls_on(before: &Snapshot, deployment: &Arc<Object>) -> bool {
    let wanted = spec(deployment, "replicas", 1).to_string();
    let is_of_another_wish = |set: &Arc<Object>| {
        let desired = set.metadata().annotations.get(DESIRED);
        size(set) > 0 && desired.is_some_and(|desired| *desired != wanted)
    };
    let mut sets = controlled(before, &deployment.metadata().uid, REPLICA_SETS);
    let paused = deployment.value()["spec"]["paused"] == true;
    !paused && rolls(deployment) && !sets.any(is_of_another_wish)
}

fn rolls(deployment: &Object) -> bool {
    deployment.value()["spec"]["strategy"]["type"] != "Recreate"
}

fn rolling(deployment: &Object) -> &Value {
    &deployment.value()["spec"]["strategy"]["rollingUpdate"]
}

/// Pods that there may be.
fn most(deployment: &Object) -> i64 {
    let replicas = spec(deployment, "replicas", 1);
    match rolls(deployment) {
        true => replicas + share(&rolling(deployment)["maxSurge"], replicas, true, "25%"),
        false => replicas,
    }
}

/// Pods that must be available. Where neither more nor fewer are allowed, one may be missing.
fn least(deployment: &Object) -> i64 {
    let replicas = spec(deployment, "replicas", 1);
    let unavailable = share(&rolling(deployment)["maxUnavailable"], replicas, false, "25%");
    let unavailable = if most(deployment) == replicas { unavailable.max(1) } else { unavailable };
    if rolls(deployment) { (replicas - unavailable).max(0) } else { 0 }
}

fn is_complete(deployment: &Object) -> bool {
    let replicas = spec(deployment, "replicas", 1);
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    counts.iter().all(|field| status(deployment, field) == replicas)
        && Some(status(deployment, "observedGeneration")) == deployment.metadata().generation
}
