//! Jobs: pods that run until enough of them have succeeded.
//!
//! Every pod of a job carries a finalizer until it is counted, so that none ends unseen. A decision
//! counts the pods that ended (`tally`), sees whether that ends the job (`end`, `policy`), makes or
//! deletes pods (`pods`, `back_off`), and takes the finalizers of what it counted: counts and
//! finalizers are one step, so upstream's list of uncounted pods is always empty here.
//! Finalizers of pods whose job is over or gone are another row (`finalizers`), and so is the
//! deletion of finished jobs by age (`ttl`).

mod back_off;
mod end;
mod finalizers;
mod indexes;
mod pods;
mod policy;
mod spec;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod ttl;

use coracle_api::Key;
use coracle_api::resources::{JOBS, PODS};
use coracle_store::{Event, Snapshot};

pub(crate) use self::finalizers::FINALIZERS;
pub(crate) use self::spec::{Finished, MANAGER, finished};
pub(crate) use self::ttl::TTL;

use self::pods::Draft;
use self::spec::{FINALIZER, Job};
use crate::table::{Controller, itself};
use crate::workload::replica::Replica;
use crate::workload::{ownership, wake};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "job-controller",
    serial: false,
    watches: &[(JOBS, itself), (PODS, jobs_of_pod)],
    decide,
};

/// What should happen to the job at `key` now.
fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let job = snapshot.get(key).and_then(Job::read);
    let Some(job) = job.filter(|job| job.is_ours && !job.is_finished()) else {
        return Plan::default();
    };
    let any = |_: &_| true;
    let settled = ownership::settle_selected(snapshot, &job.owner, PODS, any, Some(FINALIZER));
    if let Some(plan) = settled {
        return plan;
    }
    let pods = Replica::of(snapshot, &job.owner);
    let mut draft = Draft::new(snapshot, &job, &pods, context.now);
    match draft.end() {
        Some(end) => draft.stop(&end),
        None if job.owner.is_deleting() => {}
        None => draft.run(),
    }
    draft.finish()
}

fn jobs_of_pod(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    wake::holders(event, snapshot, JOBS)
}
