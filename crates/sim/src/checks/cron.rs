//! CronJobs: each time is started at most once, none early, and as the policy says.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::resources::JOBS;
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;

use super::jobs::is_finished;
use super::owned::controlled;
use super::{Actor, Change};

const CONTROLLER: &str = "cronjob-controller";
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What the check remembers: UID and time of all that was started.
#[derive(Default)]
pub(super) struct Cron {
    started: BTreeSet<(String, Timestamp)>,
}

impl Cron {
    pub fn check(
        &mut self,
        actor: &Actor,
        before: &Snapshot,
        changes: &[Change],
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        if *actor != Actor::Controller(CONTROLLER) {
            return Ok(());
        }
        let is_new = |it: &&Change| *it.key.resource == *JOBS && it.old.is_none();
        for job in changes.iter().filter(is_new).filter_map(|change| change.new.as_ref()) {
            self.started(before, job, (after, now))?;
        }
        Ok(())
    }

    fn started(
        &mut self,
        before: &Snapshot,
        job: &Arc<Object>,
        (after, now): (&Snapshot, Timestamp),
    ) -> Result<(), String> {
        let key = job.key();
        let owner = job.metadata().controller().map(|owner| owner.uid.clone()).unwrap_or_default();
        let Some(cron_job) = before.by_uid(&owner).filter(|it| !it.metadata().is_deleting()) else {
            return Err(format!("{key} was started for a CronJob that is not there"));
        };
        let at = job.metadata().annotations.get(SCHEDULED);
        let at = at.and_then(|at| at.parse::<Timestamp>().ok());
        let at = at.ok_or_else(|| format!("{key} does not say when it was to start"))?;
        if at > now {
            return Err(format!("{key} was started before its time"));
        }
        if cron_job.value()["spec"]["suspend"] == true {
            return Err(format!("{key} was started by a CronJob that is suspended"));
        }
        if !self.started.insert((owner.clone(), at)) {
            return Err(format!("{key} was started twice for {at}"));
        }
        let runs = |snapshot: &Snapshot, stays: fn(&Object) -> bool| {
            let others = controlled(snapshot, &owner, JOBS).filter(|it| it.key() != key);
            others.filter(|it| !is_finished(it) && stays(it)).count()
        };
        let other = match cron_job.str_at("/spec/concurrencyPolicy") {
            Some("Forbid") => runs(before, |_| true),
            Some("Replace") => runs(after, |it| !it.metadata().is_deleting()),
            _ => 0,
        };
        match other {
            0 => Ok(()),
            _ => Err(format!("{key} was started while another one ran")),
        }
    }
}
