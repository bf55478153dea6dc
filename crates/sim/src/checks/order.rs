//! A StatefulSet's order: pods come up one after the other and go down the other way round.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{CONTROLLER_REVISIONS, PODS};
use coracle_store::Snapshot;
use serde_json::Value;

use super::{Actor, Change};

const CONTROLLER: &str = "statefulset-controller";

/// What the check remembers: which pods were ever Ready, by UID.
#[derive(Default)]
pub(super) struct Order {
    ever_ready: BTreeSet<String>,
}

impl Order {
    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
    ) -> Result<(), String> {
        for change in changes.iter().filter(|change| *change.key.resource == *PODS) {
            if let Some(pod) = change.new.as_ref().filter(|pod| is_ready(pod)) {
                self.ever_ready.insert(pod.metadata().uid.clone());
            }
            if *actor != Actor::Controller(CONTROLLER) {
                continue;
            }
            if let (None, Some(pod)) = (&change.old, &change.new) {
                created(before, pod)?;
            }
            if let Some(pod) = change.old.as_ref().filter(|_| change.begins_deletion()) {
                self.deleted(before, pod, changes)?;
            }
        }
        Ok(())
    }

    fn deleted(&self, before: &Snapshot, pod: &Object, changes: &[Change]) -> Result<(), String> {
        let Some(set) = Set::of(before, pod) else {
            return Err(format!("{} was deleted for a set that is not there", pod.key()));
        };
        let Some(ordinal) = ordinal(pod) else { return Ok(()) };
        if set.recreates() && set.newest(changes) != revision(pod) {
            return Ok(());
        }
        if set.range().contains(&ordinal) {
            return self.replaced(&set, pod, ordinal);
        }
        if !set.ordered {
            return Ok(());
        }
        let pods = set.pods();
        let higher = pods.iter().filter_map(|it| ordinal_of_condemned(&set, it)).max();
        if higher.is_some_and(|higher| higher > ordinal) {
            return Err(format!("{} was deleted while a higher one was there", pod.key()));
        }
        match set.range().find(|ordinal| !set.serves(*ordinal)) {
            Some(other) => Err(format!("{} was deleted while {other} was not ready", pod.key())),
            None => Ok(()),
        }
    }

    /// A pod that is wanted was deleted: it has ended, or it is its turn in a roll-out, or it never
    /// worked.
    fn replaced(&self, set: &Set<'_>, pod: &Object, ordinal: i64) -> Result<(), String> {
        if pod.has_ended() {
            return Ok(());
        }
        let is_its_turn = set.range().filter(|it| *it > ordinal).all(|it| set.serves(it));
        let never_worked = !self.ever_ready.contains(&pod.metadata().uid)
            && set.range().filter(|it| *it < ordinal).all(|it| set.serves(it));
        if is_its_turn || never_worked || set.may_be_without(ordinal) {
            return Ok(());
        }
        Err(format!("{} was replaced when it was not its turn", pod.key()))
    }
}

fn created(before: &Snapshot, pod: &Object) -> Result<(), String> {
    let Some(set) = Set::of(before, pod) else {
        return Err(format!("{} was created for a set that is not there", pod.key()));
    };
    let Some(ordinal) = ordinal(pod) else {
        return Err(format!("{} was created without an ordinal", pod.key()));
    };
    if !set.range().contains(&ordinal) {
        return Err(format!("{} was created outside of its set", pod.key()));
    }
    if set.recreates()
        && let Some(old) = set.pods().into_iter().find(|old| revision(old) != revision(pod))
    {
        return Err(format!("{} was created beside {} of another revision", pod.key(), old.key()));
    }
    if !set.ordered {
        return Ok(());
    }
    match set.range().take_while(|it| *it < ordinal).find(|it| !set.serves(*it)) {
        Some(lower) => Err(format!("{} was created while {lower} was not ready", pod.key())),
        None => Ok(()),
    }
}

/// A set as it was before the step.
struct Set<'a> {
    before: &'a Snapshot,
    object: &'a Arc<Object>,
    ordered: bool,
    start: i64,
    replicas: i64,
}

impl<'a> Set<'a> {
    fn of(before: &'a Snapshot, pod: &Object) -> Option<Self> {
        let object = before.by_uid(&pod.metadata().controller()?.uid)?;
        let spec = &object.value()["spec"];
        Some(Self {
            before,
            object,
            ordered: spec["podManagementPolicy"] != "Parallel",
            start: spec["ordinals"]["start"].as_i64().unwrap_or(0),
            replicas: spec["replicas"].as_i64().unwrap_or(1),
        })
    }

    /// Whether `maxUnavailable` lets this pod be replaced out of turn: with `Parallel`, any that
    /// serves nobody; else as many as may be unavailable at once.
    fn may_be_without(&self, ordinal: i64) -> bool {
        let rolling = &self.object.value()["spec"]["updateStrategy"]["rollingUpdate"];
        let Some(most) = rolling.get("maxUnavailable").and_then(Value::as_u64) else {
            return false;
        };
        let out = self.range().filter(|it| *it != ordinal && !self.serves(*it)).count();
        (!self.ordered && !self.serves(ordinal)) || out < usize::try_from(most.max(1)).unwrap_or(1)
    }

    /// Whether nothing new is made before all old pods are gone.
    fn recreates(&self) -> bool {
        self.object.value()["spec"]["updateStrategy"]["type"] == "Recreate"
    }

    /// The name of the newest revision, with what is written now.
    fn newest<'b>(&self, changes: &'b [Change]) -> Option<&'b str>
    where
        'a: 'b,
    {
        let uid = &self.object.metadata().uid;
        let written = changes.iter().filter_map(|change| change.new.as_ref());
        let all = self.before.dependents(uid).chain(written);
        let is_own = |it: &Object| it.metadata().controller().is_some_and(|by| by.uid == *uid);
        let own = all.filter(|it| *it.key().resource == *CONTROLLER_REVISIONS && is_own(it));
        let newest = own.max_by_key(|it| it.value()["revision"].as_i64());
        newest.map(|it| it.metadata().name.as_str())
    }

    fn range(&self) -> std::ops::Range<i64> {
        self.start..self.start + self.replicas
    }

    fn pods(&self) -> Vec<&'a Arc<Object>> {
        let own = self.before.dependents(&self.object.metadata().uid);
        own.filter(|it| *it.key().resource == *PODS).collect()
    }

    /// Whether the pod of this ordinal is there, Ready and stays.
    fn serves(&self, ordinal: i64) -> bool {
        let metadata = self.object.metadata();
        let name = format!("{}-{ordinal}", metadata.name);
        let pod = self.before.find(PODS, &metadata.namespace, &name);
        pod.is_some_and(|pod| is_ready(pod) && !pod.metadata().is_deleting())
    }
}

fn revision(pod: &Object) -> Option<&str> {
    pod.metadata().labels.get("controller-revision-hash").map(String::as_str)
}

fn ordinal(pod: &Object) -> Option<i64> {
    pod.metadata().name.rsplit_once('-')?.1.parse().ok()
}

fn ordinal_of_condemned(set: &Set<'_>, pod: &Object) -> Option<i64> {
    ordinal(pod).filter(|ordinal| !set.range().contains(ordinal))
}

pub(super) fn is_ready(pod: &Object) -> bool {
    pod.phase() == "Running" && pod.is_ready()
}
