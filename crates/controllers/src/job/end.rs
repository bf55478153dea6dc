//! Whether a job is over, and why.

use coracle_api::{Timestamp, time};

use super::policy;
use super::spec::{Finished, Job};
use super::tally::Tally;
use crate::workload::replica::Replica;

/// The end of a job: pods may still have to stop before it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub how: Finished,
    pub reason: String,
    pub message: String,
}

impl End {
    fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self { how: Finished::Failed, reason: reason.into(), message: message.into() }
    }

    /// An end by success.
    pub fn complete(reason: &str, message: impl Into<String>) -> Self {
        Self { how: Finished::Complete, reason: reason.into(), message: message.into() }
    }
}

/// The first reason to end the job, other than that nothing is left to do.
pub(super) fn of(job: &Job, pods: &[Replica], tally: &Tally, now: Timestamp) -> Option<End> {
    announced(job)
        .or_else(|| {
            let verdict = tally.verdict.as_ref()?;
            Some(End::failed("PodFailurePolicy", verdict.message.clone()))
        })
        .or_else(|| {
            let is_over = tally.failed > job.backoff_limit || restarts_too_often(job, pods);
            let message = "Job has reached the specified backoff limit";
            is_over.then(|| End::failed("BackoffLimitExceeded", message))
        })
        .or_else(|| {
            let is_over = !job.is_suspended && deadline(job, job.started())? <= now;
            let message = "Job was active longer than specified deadline";
            is_over.then(|| End::failed("DeadlineExceeded", message))
        })
        .or_else(|| of_indexes(job, tally))
}

/// When the job has been active for as long as it may.
pub(super) fn deadline(job: &Job, started: Option<Timestamp>) -> Option<Timestamp> {
    Some(time::after(started?, job.deadline?))
}

/// An end that the status tells of already.
fn announced(job: &Job) -> Option<End> {
    let (how, condition) = job.announced()?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    Some(End { how, reason: text("reason"), message: text("message") })
}

fn of_indexes(job: &Job, tally: &Tally) -> Option<End> {
    if !job.is_indexed {
        return None;
    }
    let failed = tally.failed_indexes.len();
    if job.limit_per_index.is_some() && failed > 0 {
        if job.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(End::failed("MaxFailedIndexesExceeded", message));
        }
        let ended = failed.saturating_add(tally.completed.len());
        if job.completions.is_some_and(|all| ended >= all) {
            return Some(End::failed("FailedIndexes", "Job has failed indexes"));
        }
    }
    let matched = policy::success(job, &tally.completed)?;
    Some(End::complete("SuccessPolicy", matched))
}

/// Whether containers that are started again in their pods have been so too often.
fn restarts_too_often(job: &Job, pods: &[Replica]) -> bool {
    if !job.restarts_in_place() {
        return false;
    }
    let running = pods.iter().filter(|pod| matches!(pod.phase(), "Pending" | "Running"));
    let statuses = running.flat_map(|pod| pod.init_statuses().chain(pod.container_statuses()));
    let restarts =
        statuses.fold(0_i64, |sum, status| sum.saturating_add(status.restart_count.into()));
    if job.backoff_limit == 0 { restarts > 0 } else { restarts >= job.backoff_limit }
}
