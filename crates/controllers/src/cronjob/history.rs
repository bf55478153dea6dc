//! Finished jobs beyond those that are kept.

use std::sync::Arc;

use coracle_api::Object;
use coracle_store::Snapshot;

use super::cron_job::{CronJob, job_time};
use crate::job::{Finished, finished};
use crate::plan::{DeleteOptions, Note, Plan, Propagation, Step, Write};

/// Deletes the oldest ones.
pub(super) fn shorten(plan: &mut Plan, snapshot: &Snapshot, cron_job: &CronJob) {
    let (complete, failed) = cron_job.kept;
    for (how, kept) in [(Finished::Complete, complete), (Finished::Failed, failed)] {
        let ended = |job: &&Arc<Object>| {
            finished(job.value()).is_some_and(|(it, _)| it == how) && !job.metadata().is_deleting()
        };
        let mut jobs: Vec<_> = cron_job.jobs(snapshot).filter(ended).collect();
        jobs.sort_by_key(|job| (job_time(job, "startTime"), job.metadata().name.clone()));
        let surplus = jobs.len().saturating_sub(kept);
        for job in jobs.into_iter().take(surplus) {
            plan.step(delete(cron_job, job));
        }
    }
}

/// Deletes a job with its pods.
pub(super) fn delete(cron_job: &CronJob, job: &Object) -> Step {
    let object = &cron_job.owner.object;
    let options =
        DeleteOptions { propagation: Some(Propagation::Background), ..Default::default() };
    let mut step = Step::default();
    step.write_or(
        Write::delete_with(job, options),
        Note::warning(object, "FailedDelete", "Deleted job: "),
    );
    let name = &job.metadata().name;
    step.say(Note::normal(object, "SuccessfulDelete", format!("Deleted job {name}")))
}
