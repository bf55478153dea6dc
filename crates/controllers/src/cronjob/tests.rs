use serde_json::{Value, json};

use crate::world::World;

const ALL: &[&str] = &["cronjob-controller"];
const CRON: &str = "cronjobs.batch";
const JOBS: &str = "jobs.batch";

/// The world's clock begins with 2026: minute 29453760 since 1970.
const FIRST: i64 = 29_453_760;

fn cron_job(spec: Value) -> Value {
    let mut value = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": "Allow",
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}},
        },
    });
    for (field, one) in spec.as_object().unwrap() {
        value["spec"][field] = one.clone();
    }
    value
}

fn world(spec: Value) -> World {
    let mut world = World::new();
    world.create(cron_job(spec));
    world.settle(ALL);
    world
}

fn name(minute: i64) -> String {
    format!("tick-{}", FIRST + minute)
}

fn end(world: &mut World, job: &str, how: &str) {
    let now = json!(world.now.to_string());
    let mut value = world.get(JOBS, job).value().clone();
    value["status"] = json!({"startTime": now, "conditions": [
        {"type": how, "status": "True", "lastTransitionTime": now}]});
    if how == "Complete" {
        value["status"]["completionTime"] = now;
    }
    world.replace(value);
    world.settle(ALL);
}

fn status(world: &World) -> Value {
    world.get(CRON, "tick").value()["status"].clone()
}

#[test]
fn each_time_that_comes_is_started_once() {
    let mut world = world(json!({}));
    world.pass(59, ALL);
    assert!(world.names(JOBS).is_empty());
    world.pass(1, ALL);
    assert_eq!(world.names(JOBS), [name(1)]);
    let job = world.get(JOBS, &name(1));
    assert_eq!(job.metadata().labels["a"], "b");
    let scheduled = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    assert_eq!(job.metadata().annotations[scheduled], "2026-01-01T00:01:00Z");
    assert_eq!(status(&world)["lastScheduleTime"], "2026-01-01T00:01:00Z");
    assert_eq!(status(&world)["active"][0]["uid"], *job.metadata().uid);
    world.pass(59, ALL);
    assert_eq!(world.names(JOBS).len(), 1);
    world.pass(1, ALL);
    assert_eq!(world.names(JOBS), [name(1), name(2)]);
    assert!(
        world.notes.iter().all(|note| note.starts_with("SuccessfulCreate")),
        "{:?}",
        world.notes
    );
}

#[test]
fn a_forbidden_one_waits_and_starts_late() {
    let mut world = world(json!({"concurrencyPolicy": "Forbid"}));
    world.pass(60, ALL);
    world.pass(60, ALL);
    assert_eq!(world.names(JOBS), [name(1)]);
    assert!(world.notes.iter().any(|note| note.starts_with("JobAlreadyActive")));
    end(&mut world, &name(1), "Complete");
    assert_eq!(world.names(JOBS), [name(1), name(2)]);
    assert_eq!(status(&world)["lastSuccessfulTime"], "2026-01-01T00:02:00Z");
    let told = format!("SawCompletedJob Saw completed job: {}, condition: Complete", name(1));
    assert!(world.notes.contains(&told), "{:?}", world.notes);
}

#[test]
fn a_replaced_one_is_deleted() {
    let mut world = world(json!({"concurrencyPolicy": "Replace"}));
    world.pass(60, ALL);
    world.pass(60, ALL);
    assert_eq!(world.names(JOBS), [name(2)]);
    assert!(world.notes.contains(&format!("SuccessfulDelete Deleted job {}", name(1))));
}

#[test]
fn the_oldest_finished_jobs_go() {
    let mut world = world(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}));
    for (minute, how) in [(1, "Complete"), (2, "Complete"), (3, "Failed")] {
        world.pass(60, ALL);
        end(&mut world, &name(minute), how);
    }
    assert_eq!(world.names(JOBS), [name(2)]);
}

#[test]
fn many_missed_times_are_told_and_the_latest_is_started() {
    let mut world = world(json!({"suspend": true}));
    world.pass(3 * 3600, ALL);
    world.edit(CRON, "tick", |it| it["spec"]["suspend"] = json!(false));
    world.settle(ALL);
    assert_eq!(world.names(JOBS), [name(180)]);
    assert!(world.notes.iter().any(|note| note.starts_with("TooManyMissedTimes")));
}

#[test]
fn a_time_that_is_too_long_ago_is_missed() {
    let mut world = world(json!({"schedule": "0 * * * *", "startingDeadlineSeconds": 30}));
    world.edit(CRON, "tick", |it| it["spec"]["suspend"] = json!(true));
    world.pass(3600 + 60, ALL);
    world.edit(CRON, "tick", |it| it["spec"]["suspend"] = json!(false));
    world.settle(ALL);
    assert!(world.names(JOBS).is_empty());
}

#[test]
fn a_job_by_hand_counts_and_one_that_vanishes_is_told() {
    let mut world = world(json!({"schedule": "0 0 1 1 *"}));
    let owner = world.get(CRON, "tick");
    world.create(json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": {},
        "metadata": {"name": "manual", "namespace": "default",
            "ownerReferences": [crate::json::controller_reference(&owner)]},
    }));
    world.settle(ALL);
    assert_eq!(status(&world)["active"][0]["name"], "manual");
    assert!(world.notes.iter().any(|note| note.starts_with("UnexpectedJob")));
    world.remove(&coracle_api::Key::new(JOBS, "default", "manual"));
    world.settle(ALL);
    assert_eq!(status(&world).get("active"), None);
    assert!(world.notes.contains(&"MissingJob Active job went missing: manual".to_owned()));
}

#[test]
fn a_foreign_job_under_the_name_is_left_alone() {
    let mut world = world(json!({}));
    world.create(json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": {},
        "metadata": {"name": name(1), "namespace": "default"},
    }));
    world.pass(60, ALL);
    assert_eq!(world.names(JOBS), [name(1)]);
    assert_eq!(status(&world).get("lastScheduleTime"), None);
}

#[test]
fn times_are_those_of_the_zone() {
    let mut world = world(json!({"schedule": "30 5 * * *", "timeZone": "Asia/Kolkata"}));
    world.pass(86_400, ALL);
    assert_eq!(world.names(JOBS), [name(24 * 60)]);
    let job = world.get(JOBS, &name(24 * 60));
    let scheduled = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    assert_eq!(job.metadata().annotations[scheduled], "2026-01-02T05:30:00+05:30");
}

#[test]
fn it_is_said_why_a_cron_job_starts_nothing() {
    let said = |spec: Value| {
        let mut world = world(spec);
        let key = world.get(CRON, "tick").key().clone();
        world.decide(&super::CONTROLLER, &key).because.map(|because| because.sentence)
    };
    assert_eq!(said(json!({})), None);
    let suspended = said(json!({"suspend": true})).unwrap();
    assert_eq!(suspended, "it is suspended: `spec.suspend` is true");
    let nowhere = said(json!({"timeZone": "Mars/Olympus"})).unwrap();
    assert_eq!(nowhere, "invalid timeZone: \"Mars/Olympus\"");
    let never = said(json!({"schedule": "now"})).unwrap();
    assert!(never.starts_with("unparseable schedule: \"now\" : "), "{never}");
}
