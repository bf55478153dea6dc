//! CronJobs: a Job at every time that a schedule names.
//!
//! A decision deletes jobs beyond the history (`history`), brings the list of active ones to what
//! there is (`active`), and starts the job of the latest time that has come (`start`). The job, the
//! end of those that it replaces, and the status are one step: each time is started once.

mod active;
mod cron_job;
mod history;
mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use coracle_api::Key;
use coracle_api::resources::{CRON_JOBS, JOBS};
use coracle_store::{Event, Snapshot};

use self::active::Active;
use self::cron_job::CronJob;
use crate::plan::{Because, Step};
use crate::table::{Controller, itself};
use crate::workload::wake;
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "cronjob-controller",
    serial: false,
    watches: &[(CRON_JOBS, itself), (JOBS, cron_jobs_of_job)],
    decide,
};

/// What should happen to the CronJob at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(cron_job) = snapshot.get(key).map(CronJob::read) else { return Plan::default() };
    let mut plan = Plan { rests_on: vec![Arc::clone(&cron_job.owner.object)], ..Plan::default() };
    history::shorten(&mut plan, snapshot, &cron_job);
    let mut active = Active::of(snapshot, &cron_job);
    let mut step = Step { notes: std::mem::take(&mut active.notes), ..Step::default() };
    if cron_job.is_suspended {
        plan.because = Some(Because::only("it is suspended: `spec.suspend` is true"));
    } else if cron_job.owner.may_create(snapshot) {
        start::start(&mut plan, &mut step, snapshot, &cron_job, &mut active, context.now);
    }
    step.writes.extend(active.write(&cron_job));
    if step.writes.is_empty() {
        plan.notes.append(&mut step.notes);
    }
    plan.step(step);
    plan
}

fn cron_jobs_of_job(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::controllers(event, snapshot, CRON_JOBS)
}
