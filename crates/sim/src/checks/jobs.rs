//! Jobs: counts are exact whoever is killed when, each index is done once, and never more pods run
//! than may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{JOBS, PODS};
use coracle_store::Snapshot;

use super::owned::{active, spec, status};
use super::{Actor, Change};

const CONTROLLER: &str = "job-controller";
/// What a pod carries until it is counted.
pub(super) const HELD: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What the check remembers, by the UID of a job.
#[derive(Default)]
pub(super) struct Jobs(BTreeMap<String, Job>);

/// The pods of a job, by what became of them, by UID.
#[derive(Default)]
struct Job {
    /// Those that have succeeded, before they were let go.
    succeeded: BTreeSet<String>,
    /// Those that have failed, or were told to stop, before they were let go.
    failed: BTreeSet<String>,
    /// Those among them that the controller has let go: they are counted, or never will be.
    counted: BTreeSet<String>,
    lost: BTreeSet<String>,
    /// Indexes of pods that are counted as succeeded.
    done: BTreeSet<String>,
    /// What users wrote into `status.failed`.
    claimed: i64,
}

impl Jobs {
    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        after: &Snapshot,
    ) -> Result<(), String> {
        let ours = *actor == Actor::Controller(CONTROLLER);
        let mut touched = BTreeSet::new();
        for change in changes {
            match &*change.key.resource {
                PODS => touched.extend(self.pod(ours, before, change, after)?),
                JOBS => touched.extend(self.claim(actor, change)),
                _ => {}
            }
        }
        for job in touched.iter().filter_map(|uid| after.by_uid(uid)) {
            let known = self.0.entry(job.metadata().uid.clone()).or_default();
            known.agrees(job)?;
        }
        Ok(())
    }

    /// What a user wrote into the status counts from then on.
    fn claim(&mut self, actor: &Actor, change: &Change) -> Option<String> {
        let (old, new) = (change.old.as_ref(), change.new.as_ref()?);
        let uid = &new.metadata().uid;
        if *actor == Actor::User {
            let was = old.map_or(0, |old| status(old, "failed"));
            self.0.entry(uid.clone()).or_default().claimed += status(new, "failed") - was;
        }
        Some(uid.clone())
    }

    fn pod(
        &mut self,
        ours: bool,
        before: &Snapshot,
        change: &Change,
        after: &Snapshot,
    ) -> Result<Option<String>, String> {
        let Some(pod) = change.new.as_ref().or(change.old.as_ref()) else { return Ok(None) };
        let Some(owner) = pod.metadata().controller().filter(|it| it.kind == "Job") else {
            return Ok(None);
        };
        let uid = owner.uid.clone();
        if ours && change.old.is_none() {
            created(before, &uid, change, after)?;
        }
        let job = self.0.entry(uid.clone()).or_default();
        if let Some(old) = change.old.as_ref().filter(|old| is_held(old)) {
            job.saw(pod);
            if !change.new.as_ref().is_some_and(|new| is_held(new)) {
                job.let_go(ours, is_running(before, &uid), old)?;
            }
        }
        Ok(Some(uid))
    }
}

impl Job {
    /// A pod as it is while the job holds it.
    fn saw(&mut self, pod: &Arc<Object>) {
        let uid = &pod.metadata().uid;
        if pod.phase() == "Succeeded" {
            self.succeeded.insert(uid.clone());
        } else if pod.phase() == "Failed" || pod.metadata().is_deleting() {
            self.failed.insert(uid.clone());
        }
    }

    /// `counts` when its job has to count it: one that is deleted need not.
    fn let_go(&mut self, ours: bool, counts: bool, pod: &Arc<Object>) -> Result<(), String> {
        let metadata = pod.metadata();
        // One that still runs is told to stop, which may count as a failure.
        if ours && !pod.has_ended() {
            self.failed.insert(metadata.uid.clone());
        }
        if !ours || !counts {
            return Ok(());
        }
        let index = metadata.annotations.get(INDEX);
        match pod.phase() {
            "Succeeded" => {
                self.counted.insert(metadata.uid.clone());
                if index.is_some_and(|index| !self.done.insert(index.clone())) {
                    return Err(format!("{} does an index that was done already", pod.key()));
                }
            }
            "Failed" => drop(self.lost.insert(metadata.uid.clone())),
            _ => {}
        }
        Ok(())
    }

    /// Whether a job says what became of its pods.
    fn agrees(&self, job: &Object) -> Result<(), String> {
        let key = job.key();
        let (least, most) = (self.counted.len() as i64, self.succeeded.len() as i64);
        let says = status(job, "succeeded");
        if says < least || says > most {
            return Err(format!("{key}: succeeded is {says}, and {least} to {most} did"));
        }
        // A policy may say that failures do not count.
        let counts_all = job.value()["spec"].get("podFailurePolicy").is_none();
        let least = if counts_all { self.lost.len() as i64 } else { 0 };
        let (least, most) = (least + self.claimed, self.failed.len() as i64 + self.claimed);
        let says = status(job, "failed");
        if says < least || says > most {
            return Err(format!("{key}: failed is {says}, and {least} to {most} did"));
        }
        let said = |of: &str| {
            let conditions = job.value()["status"]["conditions"].as_array();
            let mut all = conditions.into_iter().flatten();
            all.any(|it| it["type"] == of && it["status"] == "True")
        };
        match said("Complete") && said("Failed") {
            true => Err(format!("{key} is both Complete and Failed")),
            false => Ok(()),
        }
    }
}

/// A pod more: as many as may run do.
fn created(before: &Snapshot, uid: &str, change: &Change, after: &Snapshot) -> Result<(), String> {
    let Some(job) = before.by_uid(uid).filter(|_| is_running(before, uid)) else {
        return Err(format!("{} was created for a job that does not run", change.key));
    };
    if job.value()["spec"]["suspend"] == true {
        return Err(format!("{} was created for a job that is suspended", change.key));
    }
    let (runs, may) = (active(after, uid), spec(job, "parallelism", 1));
    if runs > may {
        return Err(format!("{} was created: {} runs {runs} of {may}", change.key, job.key()));
    }
    Ok(())
}

fn is_running(snapshot: &Snapshot, uid: &str) -> bool {
    let job = snapshot.by_uid(uid).filter(|job| !job.metadata().is_deleting());
    job.is_some_and(|job| !is_finished(job))
}

/// Whether a job has ended.
pub(super) fn is_finished(job: &Object) -> bool {
    let conditions = job.value()["status"]["conditions"].as_array();
    let over = |it: &&serde_json::Value| it["type"] == "Complete" || it["type"] == "Failed";
    conditions.into_iter().flatten().filter(over).any(|it| it["status"] == "True")
}

/// Whether a pod waits to be counted until its job goes on: it tells its successor how often its
/// index has failed.
pub(super) fn waits_for_successor(snapshot: &Snapshot, pod: &Object) -> bool {
    let owner = pod.metadata().controller().and_then(|owner| snapshot.by_uid(&owner.uid));
    is_held(pod)
        && owner.is_some_and(|job| {
            let stands = job.value()["spec"]["suspend"] == true || spec(job, "parallelism", 1) == 0;
            stands && job.value()["spec"].get("backoffLimitPerIndex").is_some()
        })
}

/// Whether a pod waits to be counted.
pub(super) fn is_held(pod: &Object) -> bool {
    pod.metadata().finalizers.iter().any(|it| it == HELD)
}
