//! The pods of a job, counted: those that the status counts already, and those that have ended since.

use coracle_api::Timestamp;

use super::indexes::Indexes;
use super::policy::{Action, Verdict, verdict};
use super::spec::{FINALIZER, INDEX, Job};
use crate::workload::replica::Replica;

/// Pods that one decision counts at most.
const COUNTED_MAX: usize = 500;

/// The counts of a job with all that has ended by now.
pub(super) struct Tally {
    pub succeeded: i64,
    pub failed: i64,
    /// Indexes that succeeded.
    pub completed: Indexes,
    /// Indexes that failed for good.
    pub failed_indexes: Indexes,
    /// Pods that are counted now and no longer need to be held.
    pub released: Vec<Replica>,
    /// What the policy says of a failed pod that ends the job.
    pub verdict: Option<Verdict>,
}

/// The index of a pod, when its job has it.
pub(super) fn index(job: &Job, pod: &Replica) -> Option<i64> {
    let index = pod.annotation(INDEX)?.parse::<i64>().ok()?;
    (index >= 0 && job.completions.is_none_or(|most| index < most)).then_some(index)
}

/// Whether a pod counts as failed.
pub(super) fn has_failed(job: &Job, pod: &Replica) -> bool {
    let is_given_up = !job.replaces_failed_only && pod.is_deleting();
    pod.phase() == "Failed" || (is_given_up && pod.phase() != "Succeeded")
}

/// Whether a pod is still to be counted.
pub(super) fn is_held(pod: &Replica) -> bool {
    pod.object.metadata().finalizers.iter().any(|held| held == FINALIZER)
}

impl Tally {
    /// Counts the pods.
    pub fn of(job: &Job, pods: &[Replica]) -> Self {
        let most = job.completions.unwrap_or(0);
        let stored = |field: &str| job.status()[field].as_str().unwrap_or_default();
        let mut tally = Self {
            succeeded: job.counted("succeeded"),
            failed: job.counted("failed"),
            completed: Indexes::parse(stored("completedIndexes"), most),
            failed_indexes: Indexes::parse(stored("failedIndexes"), most),
            released: Vec::new(),
            verdict: None,
        };
        let ended = |pod: &&Replica| pod.phase() == "Succeeded" || has_failed(job, pod);
        let held = pods.iter().filter(|pod| is_held(pod)).filter(ended);
        for pod in held.take(COUNTED_MAX) {
            tally.count(job, pod, pods);
        }
        if job.is_indexed {
            tally.succeeded = tally.completed.len();
        }
        tally
    }

    /// Counts a pod that runs as failed; whether one decision may count another one.
    pub fn give_up(&mut self, pod: &Replica) -> bool {
        let may = self.released.len() < COUNTED_MAX;
        if may {
            self.failed = self.failed.saturating_add(1);
            self.released.push(pod.clone());
        }
        may
    }

    fn count(&mut self, job: &Job, pod: &Replica, pods: &[Replica]) {
        let index = index(job, pod);
        if job.is_indexed && index.is_none() {
            return self.released.push(pod.clone());
        }
        if pod.phase() == "Succeeded" {
            match index.filter(|_| job.is_indexed) {
                Some(index) => self.completed.insert(index),
                None => self.succeeded = self.succeeded.saturating_add(1),
            }
            return self.released.push(pod.clone());
        }
        let verdict = verdict(job, pod);
        let action = verdict.as_ref().map(|verdict| verdict.action);
        if let Some(index) = index.filter(|_| job.limit_per_index.is_some()) {
            if is_last_try(job, pod, action) {
                self.failed_indexes.insert(index);
            } else if action != Some(Action::FailJob)
                && job.announced().is_none()
                && !is_replaced(job, pod, index, pods)
            {
                // It tells its replacement, if there is to be one, how often the index has failed.
                return;
            }
        }
        if action != Some(Action::Ignore) {
            self.failed = self.failed.saturating_add(1);
        }
        if action == Some(Action::FailJob) {
            self.verdict = self.verdict.take().or(verdict);
        }
        self.released.push(pod.clone());
    }
}

/// Whether the index of a failed pod is not tried again.
fn is_last_try(job: &Job, pod: &Replica, action: Option<Action>) -> bool {
    match action {
        Some(Action::FailIndex) => true,
        Some(Action::Ignore | Action::FailJob) => false,
        Some(Action::Count) | None => {
            job.limit_per_index.is_some_and(|limit| failures_before(pod) >= limit)
        }
    }
}

/// How many pods of its index failed before this one.
pub(super) fn failures_before(pod: &Replica) -> i64 {
    pod.annotation(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Likewise, those that the policy says not to count.
pub(super) fn ignored_before(pod: &Replica) -> i64 {
    pod.annotation(IGNORED).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How often an index failed before a pod of it was made.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Likewise, without counting.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Whether another pod of the index came after this one.
fn is_replaced(job: &Job, pod: &Replica, of: i64, pods: &[Replica]) -> bool {
    let tries = |pod: &Replica| failures_before(pod).saturating_add(ignored_before(pod));
    pods.iter().any(|other| {
        other.uid() != pod.uid() && index(job, other) == Some(of) && tries(other) > tries(pod)
    })
}

/// When a pod ended: its last container, or as near to that as is known.
pub(super) fn ended_at(pod: &Replica) -> Timestamp {
    let finished = pod.container_statuses().filter_map(|status| {
        let state = status.state.as_ref()?.terminated.as_ref()?;
        state.finished_at.as_ref().map(|time| time.0)
    });
    let ready = coracle_api::pods::condition(&pod.pod, "Ready");
    let unready = ready.filter(|ready| ready.status == "False");
    let unready = unready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0);
    let metadata = pod.object.metadata();
    let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
    let deleted =
        metadata.deletion_timestamp.map(|at| coracle_api::time::after(at, grace.saturating_neg()));
    let created = metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    finished.max().or(unready).or(deleted).unwrap_or(created)
}
