//! Finished jobs go when their `ttlSecondsAfterFinished` have passed.

use coracle_api::resources::JOBS;
use coracle_api::{Key, time};
use coracle_store::Snapshot;

use super::spec::finished;
use crate::plan::{DeleteOptions, Propagation, Write};
use crate::table::{Controller, itself};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const TTL: Controller = Controller {
    name: "ttl-after-finished-controller",
    serial: false,
    watches: &[(JOBS, itself)],
    decide,
};

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(job) = snapshot.get(key).filter(|job| !job.metadata().is_deleting()) else {
        return plan;
    };
    let ttl = job.value()["spec"]["ttlSecondsAfterFinished"].as_i64();
    let ended = finished(job.value()).and_then(|(_, since)| since);
    let Some((ttl, ended)) = ttl.zip(ended) else { return plan };
    let due = time::after(ended, ttl);
    if due > context.now {
        plan.look_again_at(due);
    } else {
        let options =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..Default::default() };
        plan.write(Write::delete_with(job, options));
    }
    plan
}
