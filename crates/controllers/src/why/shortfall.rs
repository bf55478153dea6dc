//! What objects are short of by their own status, for those that nobody gives a reason for.

use coracle_api::resources::{
    CERTIFICATE_SIGNING_REQUESTS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS,
    JOBS, PERSISTENT_VOLUME_CLAIMS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS,
    REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use coracle_api::{Object, conditions};

use super::told;
use crate::job::{MANAGER, finished};

/// What an object is short of by its own status; `None` when it is where it should be, or when its
/// kind says nothing of the sort.
pub fn shortfall(object: &Object) -> Option<String> {
    let replicas = object.value()["spec"]["replicas"].as_i64().unwrap_or(1);
    let of_kind = match &*object.key().resource {
        DEPLOYMENTS => {
            short(object, "updatedReplicas", replicas, "pods are of the newest template")
                .or_else(|| short(object, "availableReplicas", replicas, "pods are available"))
        }
        STATEFUL_SETS | REPLICA_SETS | REPLICATION_CONTROLLERS => {
            short(object, "readyReplicas", replicas, "pods are ready")
        }
        DAEMON_SETS => {
            let nodes = count(object, "desiredNumberScheduled");
            short(object, "numberAvailable", nodes, "nodes have a pod that is available")
        }
        JOBS => unfinished(object),
        PERSISTENT_VOLUME_CLAIMS => unbound(object),
        PODS => unready(object),
        POD_DISRUPTION_BUDGETS | HORIZONTAL_POD_AUTOSCALERS => conditions::all(object.value())
            .is_empty()
            .then(|| "nobody has looked at it yet".to_owned()),
        CRON_JOBS | CERTIFICATE_SIGNING_REQUESTS => None,
        _ => unmet(object),
    };
    of_kind.or_else(|| unseen(object))
}

fn count(object: &Object, field: &str) -> i64 {
    object.value()["status"][field].as_i64().unwrap_or(0)
}

/// `1 of 3 pods are ready`
fn short(object: &Object, field: &str, wanted: i64, what: &str) -> Option<String> {
    let there = count(object, field);
    (there < wanted).then(|| format!("{there} of {wanted} {what}"))
}

/// A change that its controller has not seen.
fn unseen(object: &Object) -> Option<String> {
    let observed = object.value()["status"]["observedGeneration"].as_i64()?;
    let is_old = object.metadata().generation.is_some_and(|generation| observed < generation);
    is_old.then(|| "its last change has not been acted on yet".to_owned())
}

fn unfinished(job: &Object) -> Option<String> {
    if finished(job.value()).is_some() {
        return None;
    }
    if let Some(manager) = job.str_at("/spec/managedBy").filter(|by| *by != MANAGER) {
        return Some(format!("it has not ended: it is left to {manager}"));
    }
    let succeeded = count(job, "succeeded");
    let all = job.value()["spec"]["completions"].as_i64().unwrap_or(1);
    Some(format!("it has not ended: {succeeded} of {all} pods have succeeded"))
}

fn unbound(claim: &Object) -> Option<String> {
    let phase = claim.str_at("/status/phase").unwrap_or("Pending");
    (phase != "Bound").then(|| format!("it is {phase}"))
}

fn unready(pod: &Object) -> Option<String> {
    let phase = pod.str_at("/status/phase").unwrap_or("Pending");
    let is_well = phase == "Succeeded" || conditions::is_true(pod.value(), "Ready");
    (!is_well).then(|| format!("it is {phase}, and not ready"))
}

/// What most objects of custom kinds say of themselves.
fn unmet(object: &Object) -> Option<String> {
    let all = ["Ready", "Available"].into_iter();
    let mut known = all.filter_map(|of| conditions::find(object.value(), of));
    known.find(|condition| condition["status"] != "True").map(told)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(resource: &str, spec: Value, status: Value) -> Option<String> {
        let metadata = json!({"name": "web", "namespace": "default", "generation": 1});
        let value = json!({"metadata": metadata, "spec": spec, "status": status});
        shortfall(&Object::with_resource(resource, value).unwrap())
    }

    #[test]
    fn what_is_short_of_something_says_so_itself() {
        let wants = |replicas: i64| json!({"replicas": replicas});
        let some = json!({"updatedReplicas": 3, "availableReplicas": 1});
        assert_eq!(said(DEPLOYMENTS, wants(3), some), Some("1 of 3 pods are available".to_owned()));
        let old = json!({"updatedReplicas": 1, "availableReplicas": 3});
        let old = said(DEPLOYMENTS, wants(3), old).unwrap();
        assert_eq!(old, "1 of 3 pods are of the newest template");
        let well = json!({"updatedReplicas": 3, "availableReplicas": 3, "observedGeneration": 1});
        assert_eq!(said(DEPLOYMENTS, wants(3), well), None);
        let unseen = json!({"readyReplicas": 1, "observedGeneration": 0});
        let unseen = said(STATEFUL_SETS, wants(1), unseen).unwrap();
        assert_eq!(unseen, "its last change has not been acted on yet");
        let left = said(JOBS, json!({"managedBy": "a.b/c"}), json!({})).unwrap();
        assert_eq!(left, "it has not ended: it is left to a.b/c");
        let claim = said(PERSISTENT_VOLUME_CLAIMS, json!({}), json!({"phase": "Lost"}));
        assert_eq!(claim.unwrap(), "it is Lost");
        assert_eq!(said("configmaps", json!({}), json!({})), None);
    }

    #[test]
    fn what_is_new_is_not_said_to_be_well() {
        for resource in [
            DEPLOYMENTS,
            STATEFUL_SETS,
            REPLICA_SETS,
            REPLICATION_CONTROLLERS,
            JOBS,
            PODS,
            PERSISTENT_VOLUME_CLAIMS,
            POD_DISRUPTION_BUDGETS,
            HORIZONTAL_POD_AUTOSCALERS,
        ] {
            assert!(said(resource, json!({}), json!({})).is_some(), "{resource}");
        }
    }

    #[test]
    fn a_custom_object_is_as_ready_as_it_says() {
        let status = |status: &str| {
            json!({"conditions": [
                {"type": "Ready", "status": status, "reason": "NoMaster", "message": "wait"},
            ]})
        };
        let resource = "clusters.example.com";
        let said_of = |is: &str| said(resource, json!({}), status(is));
        assert_eq!(said_of("False").unwrap(), "Ready is False (NoMaster): wait");
        assert_eq!(said_of("True"), None);
    }
}
