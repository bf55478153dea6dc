//! A CronJob as its decision reads it.

use std::sync::Arc;

use coracle_api::resources::JOBS;
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use serde_json::Value;

use crate::workload::owner::Owner;

/// When a job was to be started, on the job.
pub(super) const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What happens when a time comes and a job of an earlier one still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concurrency {
    /// Both run.
    Allow,
    /// The new one waits.
    Forbid,
    /// The old one is deleted.
    Replace,
}

/// A CronJob, read once a decision.
pub(super) struct CronJob {
    pub owner: Owner,
    pub is_suspended: bool,
    pub concurrency: Concurrency,
    /// Seconds that a job may start late.
    pub deadline: Option<i64>,
    /// Jobs that are kept: that succeeded, that failed.
    pub kept: (usize, usize),
}

impl CronJob {
    pub fn read(object: &Arc<Object>) -> Self {
        let spec = &object.value()["spec"];
        let count = |field: &str, otherwise: i64| {
            let count = spec[field].as_i64().unwrap_or(otherwise).max(0);
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        Self {
            is_suspended: spec["suspend"] == true,
            concurrency: match spec["concurrencyPolicy"].as_str() {
                Some("Forbid") => Concurrency::Forbid,
                Some("Replace") => Concurrency::Replace,
                _ => Concurrency::Allow,
            },
            deadline: spec["startingDeadlineSeconds"].as_i64(),
            kept: (count("successfulJobsHistoryLimit", 3), count("failedJobsHistoryLimit", 1)),
            owner: Owner::of(object),
        }
    }

    /// The spec as it is stored.
    pub fn spec(&self) -> &Value {
        &self.owner.object.value()["spec"]
    }

    /// A time of the stored status.
    pub fn time(&self, field: &str) -> Option<Timestamp> {
        self.owner.object.value()["status"][field].as_str()?.parse().ok()
    }

    /// The jobs that it controls, by name.
    pub fn jobs<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Object>> {
        self.owner.controlled(snapshot, JOBS)
    }
}

/// A time of a job's status.
pub(super) fn job_time(job: &Object, field: &str) -> Option<Timestamp> {
    job.value()["status"][field].as_str()?.parse().ok()
}
