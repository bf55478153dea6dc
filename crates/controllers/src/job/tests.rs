use serde_json::{Value, json};

use super::spec::{FINALIZER, INDEX};
use crate::Context;
use crate::plan::{Step, Write};
use crate::world::World;

const ALL: &[&str] = &["job-controller", "job-finalizer-controller"];
const JOBS: &str = "jobs.batch";

fn job(spec: Value) -> Value {
    let mut value = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "sum", "namespace": "default"},
        "spec": {
            "completions": 1, "parallelism": 1, "backoffLimit": 6,
            "selector": {"matchLabels": {"job": "sum"}},
            "template": {"metadata": {"labels": {"job": "sum"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "one"}]}},
        },
    });
    for (field, one) in spec.as_object().unwrap() {
        value["spec"][field] = one.clone();
    }
    value
}

fn world(spec: Value) -> World {
    let mut world = World::new();
    world.create(job(spec));
    world.settle(ALL);
    world
}

fn status(world: &World) -> Value {
    world.get(JOBS, "sum").value()["status"].clone()
}

/// `TYPE REASON` of all conditions that hold.
fn conditions(world: &World) -> Vec<String> {
    let status = status(world);
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let holding = all.iter().filter(|one| one["status"] == "True");
    holding
        .map(|one| format!("{} {}", one["type"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect()
}

/// The pods that run or wait to.
fn active(world: &World) -> Vec<String> {
    let names = world.names("pods").into_iter();
    names
        .filter(|name| {
            let pod = world.get("pods", name);
            let phase = pod.value()["status"]["phase"].as_str().unwrap();
            !pod.metadata().is_deleting() && !["Failed", "Succeeded"].contains(&phase)
        })
        .collect()
}

fn end(world: &mut World, pod: &str, exit_code: i64) {
    let now = world.now.to_string();
    let mut value = world.get("pods", pod).value().clone();
    value["spec"]["nodeName"] = json!("node-1");
    value["status"]["phase"] = json!(if exit_code == 0 { "Succeeded" } else { "Failed" });
    value["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": exit_code, "finishedAt": now}}}]);
    world.replace(value);
    world.settle(ALL);
}

/// The pod of an index that runs or waits to.
fn of_index(world: &World, index: i64) -> Option<String> {
    active(world)
        .into_iter()
        .find(|name| world.get("pods", name).metadata().annotations[INDEX] == index.to_string())
}

/// All pods on nodes that are being deleted have stopped.
fn stop(world: &mut World) {
    for name in world.names("pods") {
        let pod = world.get("pods", &name);
        if pod.metadata().is_deleting() && !pod.metadata().finalizers.iter().any(|f| f == FINALIZER)
        {
            world.stopped(&name);
        }
    }
    world.settle(ALL);
}

fn held(world: &World) -> usize {
    let pods = world.names("pods").into_iter().map(|name| world.get("pods", &name));
    pods.filter(|pod| pod.metadata().finalizers.iter().any(|it| it == FINALIZER)).count()
}

#[test]
fn a_refused_deletion_makes_no_count_untrue() {
    let mut world = world(json!({"completions": 3, "parallelism": 3, "backoffLimit": 0}));
    let pods = active(&world);
    pods.iter().for_each(|pod| world.runs(pod, true));
    world.settle(ALL);
    let mut failed = world.get("pods", &pods[0]).value().clone();
    failed["status"]["phase"] = json!("Failed");
    world.replace(failed);
    let (snapshot, now) = (world.store.snapshot(), world.now);
    let context = Context::new(now, &world.config);
    let key = world.get(JOBS, "sum").key().clone();
    let mut plan = (super::CONTROLLER.decide)(&snapshot, &key, &context);
    let deletes = |step: &Step| step.writes.iter().any(|it| matches!(it, Write::Delete { .. }));
    plan.steps.retain(|step| !deletes(step));
    world.carry_out(&plan);
    world.settle(ALL);
    stop(&mut world);
    assert_eq!((&status(&world)["failed"], held(&world)), (&json!(3), 0));
    assert!(conditions(&world).contains(&"Failed BackoffLimitExceeded".to_owned()));
}

#[test]
fn pods_run_until_enough_have_succeeded() {
    let mut world = world(json!({"completions": 3, "parallelism": 2}));
    assert_eq!(active(&world).len(), 2);
    assert_eq!(status(&world)["startTime"], "2026-01-01T00:00:00Z");
    for left in [2, 1, 0] {
        let pod = active(&world).remove(0);
        world.runs(&pod, true);
        end(&mut world, &pod, 0);
        assert_eq!(active(&world).len(), left);
    }
    assert_eq!(
        conditions(&world),
        ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]
    );
    let status = status(&world);
    assert_eq!((&status["succeeded"], &status["terminating"]), (&json!(3), &json!(0)));
    assert_eq!(status["completionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    assert_eq!(held(&world), 0);
    assert_eq!(world.notes.last().unwrap(), "Completed Job completed");
}

#[test]
fn failures_are_tried_again_later_and_later_and_then_no_more() {
    let mut world = world(json!({"backoffLimit": 1}));
    let first = active(&world).remove(0);
    end(&mut world, &first, 1);
    assert!(active(&world).is_empty());
    world.pass(9, ALL);
    assert!(active(&world).is_empty());
    world.pass(1, ALL);
    let second = active(&world).remove(0);
    assert_eq!(status(&world)["failed"], 1);
    end(&mut world, &second, 1);
    assert_eq!(
        conditions(&world),
        ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]
    );
    assert_eq!(status(&world)["failed"], 2);
    let told = "BackoffLimitExceeded Job has reached the specified backoff limit".to_owned();
    assert_eq!(world.notes.last(), Some(&told));
    world.pass(3600, ALL);
    assert!(active(&world).is_empty());
}

#[test]
fn a_job_has_ended_only_when_its_pods_have() {
    let mut world = world(json!({"parallelism": 2, "completions": 2, "activeDeadlineSeconds": 60}));
    for pod in active(&world) {
        world.runs(&pod, true);
    }
    world.settle(ALL);
    assert_eq!(status(&world)["ready"], 2);
    world.pass(60, ALL);
    assert_eq!(conditions(&world), ["FailureTarget DeadlineExceeded"]);
    assert_eq!((&status(&world)["terminating"], status(&world).get("active")), (&json!(2), None));
    stop(&mut world);
    assert_eq!(conditions(&world), ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]);
    assert_eq!((&status(&world)["failed"], &status(&world)["terminating"]), (&json!(2), &json!(0)));
}

#[test]
fn every_index_is_done_once() {
    let mut world = world(json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2}));
    let first = of_index(&world, 0).unwrap();
    let pod = world.get("pods", &first);
    assert!(first.starts_with("sum-0-"), "{first}");
    assert_eq!(pod.value()["spec"]["hostname"], "sum-0");
    assert_eq!(pod.metadata().labels[INDEX], "0");
    let env = &pod.value()["spec"]["containers"][0]["env"][0];
    assert_eq!(env["name"], "JOB_COMPLETION_INDEX");
    for index in [1, 0, 3, 2] {
        let pod = of_index(&world, index).unwrap();
        end(&mut world, &pod, 0);
    }
    assert_eq!(status(&world)["completedIndexes"], "0-3");
    assert_eq!(status(&world)["succeeded"], 4);
    assert_eq!(conditions(&world).last().unwrap(), "Complete CompletionsReached");
}

#[test]
fn an_index_fails_alone_where_each_has_a_limit_of_its_own() {
    let mut world = world(json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2,
        "backoffLimitPerIndex": 1, "backoffLimit": 2_147_483_647,
    }));
    let zero = of_index(&world, 0).unwrap();
    end(&mut world, &zero, 1);
    let one = of_index(&world, 1).unwrap();
    end(&mut world, &one, 0);
    world.pass(10, ALL);
    let again = of_index(&world, 0).unwrap();
    let failures = "batch.kubernetes.io/job-index-failure-count";
    assert_eq!(world.get("pods", &again).metadata().annotations[failures], "1");
    end(&mut world, &again, 1);
    assert_eq!(conditions(&world).last().unwrap(), "Failed FailedIndexes");
    let status = status(&world);
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("0"), &json!("1")));
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(2), &json!(1)));
    assert_eq!(held(&world), 0);
}

#[test]
fn a_failed_pod_that_gets_no_replacement_holds_no_job_up() {
    let mut world = world(json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2, "maxFailedIndexes": 0,
        "backoffLimitPerIndex": 1, "backoffLimit": 2_147_483_647,
    }));
    let zero = of_index(&world, 0).unwrap();
    end(&mut world, &zero, 1);
    world.pass(10, ALL);
    // The other index waits to be tried again when the first one is given up.
    for index in [1, 0] {
        let pod = of_index(&world, index).unwrap();
        end(&mut world, &pod, 1);
    }
    stop(&mut world);
    assert_eq!(conditions(&world).last().unwrap(), "Failed MaxFailedIndexesExceeded");
    assert_eq!(held(&world), 0);
}

#[test]
fn a_policy_gives_the_job_up_or_does_not_count() {
    let policy = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]});
    let mut world = world(json!({"podFailurePolicy": policy, "backoffLimit": 0}));
    let pod = active(&world).remove(0);
    end(&mut world, &pod, 7);
    world.pass(10, ALL);
    assert_eq!(status(&world).get("failed"), None);
    let pod = active(&world).remove(0);
    end(&mut world, &pod, 42);
    assert_eq!(conditions(&world).last().unwrap(), "Failed PodFailurePolicy");
    let status = status(&world);
    assert_eq!(
        status["conditions"][0]["message"],
        format!(
            "Container c for pod default/{pod} failed with exit code 42 matching FailJob rule at index 0"
        )
    );
}

#[test]
fn a_success_policy_ends_the_job_before_all_are_done() {
    let mut world = world(json!({
        "completionMode": "Indexed", "completions": 5, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0,4", "succeededCount": 1}]},
    }));
    for pod in active(&world) {
        world.runs(&pod, true);
    }
    let zero = of_index(&world, 0).unwrap();
    end(&mut world, &zero, 0);
    assert_eq!(conditions(&world), ["SuccessCriteriaMet SuccessPolicy"]);
    stop(&mut world);
    assert_eq!(conditions(&world).last().unwrap(), "Complete SuccessPolicy");
    let status = status(&world);
    assert_eq!(
        (&status["succeeded"], status.get("failed"), &status["completedIndexes"]),
        (&json!(1), None, &json!("0"))
    );
}

#[test]
fn a_suspended_job_runs_nothing_and_keeps_its_counts() {
    let mut world = world(json!({"completions": 2}));
    let pod = active(&world).remove(0);
    end(&mut world, &pod, 0);
    let running = active(&world).remove(0);
    world.edit(JOBS, "sum", |job| job["spec"]["suspend"] = json!(true));
    world.settle(ALL);
    assert!(world.find("pods", &running).is_none());
    assert_eq!(conditions(&world), ["Suspended JobSuspended"]);
    assert_eq!((&status(&world)["succeeded"], status(&world).get("startTime")), (&json!(1), None));
    world.pass(60, ALL);
    world.edit(JOBS, "sum", |job| job["spec"]["suspend"] = json!(false));
    world.settle(ALL);
    assert_eq!(status(&world)["startTime"], "2026-01-01T00:01:00Z");
    assert_eq!(active(&world).len(), 1);
}

#[test]
fn restarts_in_place_count_against_the_limit() {
    let mut world = world(json!({"backoffLimit": 2, "template": {
        "metadata": {"labels": {"job": "sum"}},
        "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}}}));
    let pod = active(&world).remove(0);
    world.runs(&pod, true);
    let mut value = world.get("pods", &pod).value().clone();
    value["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "",
        "ready": false, "restartCount": 2, "state": {"running": {}}}]);
    world.replace(value);
    world.settle(ALL);
    assert_eq!(conditions(&world), ["FailureTarget BackoffLimitExceeded"]);
}

#[test]
fn nothing_holds_the_pods_of_a_job_that_is_gone() {
    let mut world = world(json!({}));
    assert_eq!(held(&world), 1);
    world.remove(&coracle_api::Key::new(JOBS, "default", "sum"));
    world.settle(ALL);
    assert_eq!(held(&world), 0);
}

#[test]
fn a_job_for_another_controller_is_left_alone() {
    let world = world(json!({"managedBy": "example.com/other"}));
    assert!(world.names("pods").is_empty());
    assert!(world.get(JOBS, "sum").value().get("status").is_none());
}

#[test]
fn a_finished_job_goes_when_its_time_has_passed() {
    let names = ["job-controller", "job-finalizer-controller", "ttl-after-finished-controller"];
    let mut world = World::new();
    world.create(job(json!({})));
    world.settle(&names);
    let pod = active(&world).remove(0);
    end(&mut world, &pod, 0);
    world.edit(JOBS, "sum", |job| job["spec"]["ttlSecondsAfterFinished"] = json!(30));
    world.settle(&names);
    world.pass(29, &names);
    assert!(!world.get(JOBS, "sum").metadata().is_deleting());
    world.pass(1, &names);
    assert!(world.get(JOBS, "sum").metadata().is_deleting());
}

#[test]
fn it_is_said_what_a_job_waits_for() {
    let said = |world: &mut World| {
        let key = world.get(JOBS, "sum").key().clone();
        world.decide(&super::CONTROLLER, &key).because.unwrap().sentence
    };
    let mut suspended = world(json!({"suspend": true}));
    assert_eq!(said(&mut suspended), "it is suspended: `spec.suspend` is true");
    let mut idle = world(json!({"parallelism": 0}));
    assert_eq!(said(&mut idle), "it may run no pods: `spec.parallelism` is 0");
    let mut failing = world(json!({}));
    let pod = active(&failing).remove(0);
    assert_eq!(said(&mut failing), format!("{pod} has not ended"));
    end(&mut failing, &pod, 3);
    let next = "the next pod is made at 2026-01-01T00:00:10Z";
    assert_eq!(said(&mut failing), format!("{pod} has failed: {next}"));
}
