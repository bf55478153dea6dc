//! Pods that no job waits for any more: their job is over, or gone, or was never one of theirs. They
//! lose the finalizer, or nothing that holds them would ever go.

use std::sync::Arc;

use coracle_api::resources::{JOBS, PODS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};

use super::spec::{FINALIZER, finished};
use crate::json;
use crate::plan::Write;
use crate::table::Controller;
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const FINALIZERS: Controller = Controller {
    name: "job-finalizer-controller",
    serial: false,
    watches: &[(PODS, held), (JOBS, pods_of_job)],
    decide,
};

fn is_held(pod: &Object) -> bool {
    pod.metadata().finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

fn held(event: &Event, _: &Snapshot) -> Vec<Key> {
    let pod = event.new.iter().filter(|pod| is_held(pod));
    pod.map(|pod| pod.key().clone()).collect()
}

/// The pods of a job that is over or gone.
fn pods_of_job(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let is_over = event.new.as_ref().is_none_or(|job| finished(job.value()).is_some());
    let uid = &event.last.metadata().uid;
    let pods = snapshot.dependents(uid).filter(|pod| *pod.key().resource == *PODS && is_over);
    pods.filter(|pod| is_held(pod)).map(|pod| pod.key().clone()).collect()
}

fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some(pod) = snapshot.get(key).filter(|pod| is_held(pod)) else { return Plan::default() };
    if is_waited_for(snapshot, pod) {
        return Plan::default();
    }
    Plan::each([Write::Update(json::without_finalizer(pod, FINALIZER))])
}

fn is_waited_for(snapshot: &Snapshot, pod: &Arc<Object>) -> bool {
    let owner = pod.metadata().controller().filter(|owner| owner.kind == "Job");
    let job = owner.and_then(|owner| snapshot.by_uid(&owner.uid));
    let job = job.filter(|job| *job.key().resource == *JOBS);
    job.is_some_and(|job| finished(job.value()).is_none())
}
