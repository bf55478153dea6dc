//! What workloads say of themselves in their status: that they have failed, or what of theirs has.

use coracle_api::resources::{JOBS, PODS};
use coracle_api::{Object, conditions};
use coracle_store::Snapshot;

use super::told;
use crate::autoscaler;
use crate::job::{Finished, finished};
use crate::plan::Because;

/// A Deployment that has made no progress for too long says so; `kubectl rollout status` gives up
/// then.
pub(super) fn deployment(object: &Object) -> Option<Because> {
    is_false(object, &["Progressing"]).map(Because::only)
}

/// A Job that has failed says why; the next link is the last pod that failed.
pub(super) fn job(snapshot: &Snapshot, job: &Object) -> Option<Because> {
    let failed = conditions::find(job.value(), "Failed").filter(|it| it["status"] == "True")?;
    let text = |field: &str| failed[field].as_str().unwrap_or_default();
    let sentence = format!("it has failed ({}): {}", text("reason"), text("message"));
    let has_failed = |pod: &Object| pod.str_at("/status/phase") == Some("Failed");
    let last = latest(snapshot, job, PODS, has_failed);
    Some(Because { sentence, whom: last.map(|pod| pod.key().clone()) })
}

/// A CronJob's latest Job, when it runs or has failed.
pub(super) fn cron_job(snapshot: &Snapshot, cron_job: &Object) -> Option<Because> {
    let job = latest(snapshot, cron_job, JOBS, |_| true)?;
    let name = &job.metadata().name;
    let sentence = match finished(job.value()) {
        None => format!("{name} runs"),
        Some((Finished::Failed, _)) => format!("its last Job, {name}, has failed"),
        Some((Finished::Complete, _)) => return None,
    };
    Some(Because::of(job.key().clone(), sentence))
}

/// An autoscaler says in its conditions what keeps it from scaling; what it scales may say more.
pub(super) fn autoscaler(snapshot: &Snapshot, object: &Object) -> Option<Because> {
    let sentence = is_false(object, &["AbleToScale", "ScalingActive"])?;
    Some(Because { sentence, whom: autoscaler::target(snapshot, object) })
}

/// The first of these conditions that does not hold.
fn is_false(object: &Object, types: &[&str]) -> Option<String> {
    let mut found = types.iter().filter_map(|of| conditions::find(object.value(), of));
    found.find(|condition| condition["status"] == "False").map(told)
}

/// The newest of what `owner` has of a resource, if `is_meant`.
fn latest<'a>(
    snapshot: &'a Snapshot,
    owner: &Object,
    resource: &str,
    is_meant: impl Fn(&Object) -> bool,
) -> Option<&'a Object> {
    let all = snapshot.dependents(&owner.metadata().uid);
    let meant = all.filter(|object| *object.key().resource == *resource && is_meant(object));
    let newest = meant.max_by_key(|it| (it.metadata().creation_timestamp, it.revision()));
    newest.map(|object| &**object)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::status_reason;
    use crate::world::World;

    fn owned(kind: &str, name: &str, owner: &Object, status: Value) -> Value {
        json!({
            "apiVersion": if kind == "Pod" { "v1" } else { "batch/v1" }, "kind": kind,
            "metadata": {
                "name": name, "namespace": "default",
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": owner.str_at("/kind"), "controller": true,
                    "name": owner.metadata().name, "uid": owner.metadata().uid,
                }],
            },
            "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": status,
        })
    }

    fn batch(kind: &str, name: &str) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "default"}, "spec": {},
        })
    }

    fn failed() -> Value {
        json!({"conditions": [{
            "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
            "message": "Job has reached the specified backoff limit",
        }]})
    }

    #[test]
    fn a_cron_job_leads_to_the_job_that_failed_and_to_its_last_pod() {
        let mut world = World::new();
        let cron_job = world.create(batch("CronJob", "nightly"));
        let old = owned("Job", "nightly-1", &cron_job, failed());
        world.create(old);
        let why = |world: &World, object: &Object| {
            status_reason(&world.store.snapshot(), object)
                .map(|because| (because.sentence, because.whom.map(|whom| whom.name.to_string())))
        };
        let job = world.create(owned("Job", "nightly-2", &cron_job, json!({})));
        assert_eq!(
            why(&world, &cron_job),
            Some(("nightly-2 runs".into(), Some("nightly-2".into())))
        );
        world.edit(JOBS, "nightly-2", |job| job["status"] = failed());
        let said = "its last Job, nightly-2, has failed".to_owned();
        assert_eq!(why(&world, &cron_job), Some((said, Some("nightly-2".into()))));
        let pod = world.create(owned(
            "Pod",
            "nightly-2-a",
            &job,
            json!({"phase": "Failed", "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 3, "reason": "Error"}},
            }]}),
        ));
        let said =
            "it has failed (BackoffLimitExceeded): Job has reached the specified backoff limit";
        let link = Some((said.to_owned(), Some("nightly-2-a".to_owned())));
        assert_eq!(why(&world, &world.get(JOBS, "nightly-2")), link);
        let last = "it has failed: container c exited with code 3".to_owned();
        assert_eq!(why(&world, &pod), Some((last, None)));
        let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        world.create(owned("Job", "nightly-3", &cron_job, complete));
        assert_eq!(why(&world, &cron_job), None, "an old failure is history");
    }

    #[test]
    fn an_autoscaler_tells_what_keeps_it_from_scaling_and_leads_to_its_target() {
        let mut world = World::new();
        world.create(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"}, "spec": {},
        }));
        let object = world.create(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            },
            "status": {"conditions": [{
                "type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
                "message": "missing request for cpu",
            }]},
        }));
        let because = status_reason(&world.store.snapshot(), &object).unwrap();
        assert_eq!(
            because.sentence,
            "ScalingActive is False (FailedGetResourceMetric): missing request for cpu"
        );
        assert_eq!(because.whom.unwrap().to_string(), "deployments.apps default/web");
    }

    #[test]
    fn a_deployment_that_makes_no_progress_says_so() {
        let condition = json!({
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"web-1\" has timed out progressing.",
        });
        let value = json!({
            "metadata": {"name": "web", "namespace": "default"},
            "status": {"conditions": [condition]},
        });
        let object = Object::with_resource("deployments.apps", value).unwrap();
        let because = status_reason(&World::new().store.snapshot(), &object).unwrap();
        assert_eq!(
            because.sentence,
            "Progressing is False (ProgressDeadlineExceeded): ReplicaSet \"web-1\" has timed out \
             progressing."
        );
    }
}
