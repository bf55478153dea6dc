//! Workloads that are where they should be: they have their pods and say so, or are done.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
};
use coracle_store::Snapshot;

use super::jobs::is_finished;
use super::owned::{active, controlled, spec, status, sum_of_sets};

/// One workload of a kind.
type Stands = fn(&Snapshot, &Arc<Object>) -> Result<(), String>;

const ALL: [(&str, Stands); 7] = [
    (STATEFUL_SETS, stateful_set),
    (DEPLOYMENTS, deployment),
    (REPLICA_SETS, replica_set),
    (REPLICATION_CONTROLLERS, replica_set),
    (DAEMON_SETS, daemon_set),
    (JOBS, job),
    (CRON_JOBS, cron_job),
];

/// Whether all workloads are where they should be; if not, the first that is not.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), String> {
    for (resource, stands) in ALL {
        for object in snapshot.list(resource, None) {
            let observed = object.value()["status"]["observedGeneration"].as_i64();
            if resource != JOBS && resource != CRON_JOBS && observed != object.metadata().generation
            {
                return Err(format!("{}: the status is of an older generation", object.key()));
            }
            stands(snapshot, object)?;
        }
    }
    Ok(())
}

/// Whether each of these counts of a status is `wanted`.
fn says(object: &Object, fields: &[&str], wanted: i64) -> Result<(), String> {
    match fields.iter().find(|field| status(object, field) != wanted) {
        Some(field) => {
            let says = status(object, field);
            Err(format!("{}: {field} is {says} instead of {wanted}", object.key()))
        }
        None => Ok(()),
    }
}

fn deployment(snapshot: &Snapshot, deployment: &Arc<Object>) -> Result<(), String> {
    let wanted = spec(deployment, "replicas", 1);
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    says(deployment, &counts, wanted)?;
    says(deployment, &["unavailableReplicas"], 0)?;
    let key = deployment.key();
    let sets: Vec<_> = controlled(snapshot, &deployment.metadata().uid, REPLICA_SETS).collect();
    let filled = sets.iter().filter(|set| spec(set, "replicas", 1) > 0).count();
    if filled > 1 || sum_of_sets(snapshot, deployment, |set| spec(set, "replicas", 1)) != wanted {
        return Err(format!("{key}: the roll-out does not end"));
    }
    let kept = spec(deployment, "revisionHistoryLimit", 10) + 1;
    match sets.len() as i64 > kept {
        true => Err(format!("{key} keeps {} sets", sets.len())),
        false => Ok(()),
    }
}

fn replica_set(snapshot: &Snapshot, set: &Arc<Object>) -> Result<(), String> {
    let wanted = spec(set, "replicas", 1);
    says(set, &["replicas", "readyReplicas", "availableReplicas"], wanted)?;
    match active(snapshot, &set.metadata().uid) {
        has if has == wanted => Ok(()),
        has => Err(format!("{} has {has} of {wanted} pods", set.key())),
    }
}

fn daemon_set(snapshot: &Snapshot, set: &Arc<Object>) -> Result<(), String> {
    let wanted = set.value()["spec"]["template"]["spec"]["nodeSelector"].as_object();
    let fits = |node: &&Arc<Object>| {
        let labels = &node.metadata().labels;
        wanted
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
    };
    let nodes = snapshot.list(NODES, None).filter(fits).count() as i64;
    let counts =
        ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable"];
    says(set, &counts, nodes)?;
    says(set, &["numberMisscheduled", "numberUnavailable"], 0)?;
    if set.value()["spec"]["updateStrategy"]["type"] != "OnDelete" {
        says(set, &["updatedNumberScheduled"], nodes)?;
    }
    match active(snapshot, &set.metadata().uid) {
        has if has == nodes => Ok(()),
        has => Err(format!("{} has {has} pods on {nodes} nodes", set.key())),
    }
}

fn job(snapshot: &Snapshot, job: &Arc<Object>) -> Result<(), String> {
    let key = job.key();
    let rests = is_finished(job) || job.value()["spec"]["suspend"] == true;
    if !rests && spec(job, "parallelism", 1) > 0 {
        return Err(format!("{key} does not end: {}", job.value()["status"]));
    }
    // Nobody looks at one that has ended: what users write there stays.
    if is_finished(job) {
        return Ok(());
    }
    says(job, &["active", "ready", "terminating"], 0)?;
    let uncounted = &job.value()["status"]["uncountedTerminatedPods"];
    let is_left = |field: &str| uncounted[field].as_array().is_some_and(|list| !list.is_empty());
    if is_left("succeeded") || is_left("failed") {
        return Err(format!("{key} has pods that are not counted"));
    }
    match active(snapshot, &job.metadata().uid) {
        0 => Ok(()),
        left => Err(format!("{key} rests, and {left} pods run")),
    }
}

/// Its list of active jobs is of those that have not ended.
fn cron_job(snapshot: &Snapshot, cron_job: &Arc<Object>) -> Result<(), String> {
    let jobs = controlled(snapshot, &cron_job.metadata().uid, JOBS);
    let mut running: Vec<_> =
        jobs.filter(|job| !is_finished(job)).map(|job| job.metadata().uid.as_str()).collect();
    let listed = cron_job.value()["status"]["active"].as_array();
    let mut listed: Vec<_> =
        listed.into_iter().flatten().filter_map(|job| job["uid"].as_str()).collect();
    running.sort_unstable();
    listed.sort_unstable();
    match running == listed {
        true => Ok(()),
        false => Err(format!("{} lists {listed:?} and has {running:?}", cron_job.key())),
    }
}

/// A StatefulSet has its pods, at its revisions, and says so.
fn stateful_set(snapshot: &Snapshot, set: &Arc<Object>) -> Result<(), String> {
    let key = set.key();
    let (spec, status) = (&set.value()["spec"], &set.value()["status"]);
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let start = spec["ordinals"]["start"].as_i64().unwrap_or(0);
    let says = |field: &str| status[field].as_i64().unwrap_or(0);
    if status["observedGeneration"].as_i64() != set.metadata().generation {
        return Err(format!("{key}: the status is of an older generation"));
    }
    for field in ["replicas", "readyReplicas", "availableReplicas"] {
        if says(field) != replicas {
            return Err(format!("{key}: {field} is {} instead of {replicas}", says(field)));
        }
    }
    let own = snapshot.dependents(&set.metadata().uid).filter(|it| *it.key().resource == *PODS);
    if own.count() as i64 != replicas {
        return Err(format!("{key} has too many pods"));
    }
    let strategy = &spec["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    let rolls = strategy["type"] != "OnDelete";
    for ordinal in start..start + replicas {
        let name = format!("{}-{ordinal}", set.metadata().name);
        let pod = snapshot.find(PODS, &set.metadata().namespace, &name);
        let pod = pod.ok_or_else(|| format!("{key}: there is no {name}"))?;
        let revision = pod.metadata().labels.get("controller-revision-hash");
        let is_new = revision.map(String::as_str) == status["updateRevision"].as_str();
        if rolls && ordinal - start >= partition && !is_new {
            return Err(format!("{key}: {name} is not updated"));
        }
    }
    if rolls && partition == 0 && status["currentRevision"] != status["updateRevision"] {
        return Err(format!("{key}: the roll-out does not end"));
    }
    Ok(())
}
