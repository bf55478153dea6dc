//! The job of the latest time that has come.

use coracle_api::cron::{self, Schedule};
use coracle_api::resources::JOBS;
use coracle_api::{Timestamp, time};
use coracle_store::Snapshot;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::active::{Active, reference};
use super::cron_job::{Concurrency, CronJob, SCHEDULED};
use super::history;
use crate::json;
use crate::plan::{Because, Note, Plan, Step, Write};
use crate::workload::owner::Owner;

/// More missed times than these look like a clock that is wrong.
const MISSED_MAX: i64 = 100;

/// Starts it, as far as the policy allows, and looks again at the next time.
pub(super) fn start(
    plan: &mut Plan,
    step: &mut Step,
    snapshot: &Snapshot,
    cron_job: &CronJob,
    active: &mut Active,
    now: Timestamp,
) {
    let Some((schedule, zone)) = schedule(plan, cron_job) else { return };
    if let Some(next) = schedule.next(now, &zone) {
        plan.look_again_at(next);
    }
    let Some(due) = due(plan, cron_job, (&schedule, &zone), now) else { return };
    if active.last_schedule.is_some_and(|last| last >= due) {
        return;
    }
    let name = format!("{}-{}", cron_job.owner.name(), due.as_second().div_euclid(60));
    let taken = snapshot.find(JOBS, cron_job.owner.namespace(), &name);
    if let Some(job) = taken {
        if cron_job.owner.controls(job) {
            active.last_schedule = Some(due);
        } else {
            let sentence = format!("the Job {name} is somebody else's");
            plan.because = Some(Because::of(job.key().clone(), sentence));
        }
        return;
    }
    if !makes_room(plan, step, snapshot, cron_job, active) {
        return;
    }
    create(step, cron_job, (&name, due, &zone));
    active.last_schedule = Some(due);
}

/// What the CronJob says of its times, when that can be understood.
fn schedule(plan: &mut Plan, cron_job: &CronJob) -> Option<(Schedule, TimeZone)> {
    let object = &cron_job.owner.object;
    let spec = cron_job.spec();
    let name = spec["timeZone"].as_str();
    let Some(zone) = cron::zone(name) else {
        let message = format!("invalid timeZone: {:?}", name.unwrap_or_default());
        plan.because = Some(Because::only(message.clone()));
        plan.notes.push(Note::warning(object, "UnknownTimeZone", message));
        return None;
    };
    let text = spec["schedule"].as_str().unwrap_or_default();
    match Schedule::parse(text) {
        Ok(schedule) => Some((schedule, zone)),
        Err(why) => {
            let message = format!("unparseable schedule: {text:?} : {why}");
            plan.because = Some(Because::only(message.clone()));
            plan.notes.push(Note::warning(object, "UnparseableSchedule", message));
            None
        }
    }
}

/// The latest time that has come and may still be started.
fn due(
    plan: &mut Plan,
    cron_job: &CronJob,
    (schedule, zone): (&Schedule, &TimeZone),
    now: Timestamp,
) -> Option<Timestamp> {
    let object = &cron_job.owner.object;
    let created = object.metadata().creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut earliest = cron_job.time("lastScheduleTime").unwrap_or(created);
    if let Some(deadline) = cron_job.deadline {
        earliest = earliest.max(time::after(now, deadline.saturating_neg()));
    }
    let latest = schedule.latest(earliest, now, zone)?;
    if missed(schedule, zone, earliest, now) > MISSED_MAX {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds \
                       or check clock skew";
        plan.notes.push(Note::warning(object, "TooManyMissedTimes", message));
    }
    let is_late = |deadline| time::after(latest, deadline) < now;
    if cron_job.deadline.is_some_and(is_late) {
        let said = latest.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let message = format!("Missed scheduled time to start a job: {said}");
        plan.notes.push(Note::warning(object, "MissSchedule", message));
        return None;
    }
    Some(latest)
}

/// About how many times have come.
fn missed(schedule: &Schedule, zone: &TimeZone, earliest: Timestamp, now: Timestamp) -> i64 {
    let first = schedule.next(earliest, zone);
    let second = first.and_then(|first| schedule.next(first, zone));
    let (Some(first), Some(second)) = (first, second) else { return 0 };
    let seconds = |from: Timestamp, to: Timestamp| to.as_second().saturating_sub(from.as_second());
    let since = seconds(first, now).checked_div(seconds(first, second));
    since.unwrap_or(0).saturating_add(1)
}

/// Whether the policy lets another job run; jobs that it replaces are deleted.
fn makes_room(
    plan: &mut Plan,
    step: &mut Step,
    snapshot: &Snapshot,
    cron_job: &CronJob,
    active: &mut Active,
) -> bool {
    let running =
        |listed: &Value| listed["uid"].as_str().and_then(|uid| snapshot.by_uid(uid)).cloned();
    let jobs: Vec<_> = active.list.iter().filter_map(running).collect();
    match (cron_job.concurrency, jobs.first()) {
        (Concurrency::Forbid, Some(job)) => {
            let message = "Not starting job because prior execution is running and concurrency \
                           policy is Forbid";
            let note = Note::normal(&cron_job.owner.object, "JobAlreadyActive", message);
            plan.notes.push(note);
            let sentence = format!("{} still runs", job.metadata().name);
            plan.because = Some(Because::of(job.key().clone(), sentence));
            false
        }
        (Concurrency::Replace, Some(_)) => {
            for job in jobs {
                let deleted = history::delete(cron_job, &job);
                step.writes.extend(deleted.writes);
                step.notes.extend(deleted.notes);
                active.list.retain(|listed| *listed != reference(&job));
                active.list.retain(|listed| listed["uid"] != *job.metadata().uid);
            }
            true
        }
        _ => true,
    }
}

fn create(step: &mut Step, cron_job: &CronJob, (name, due, zone): (&str, Timestamp, &TimeZone)) {
    let owner: &Owner = &cron_job.owner;
    let template = &cron_job.spec()["jobTemplate"];
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": owner.namespace(),
            "ownerReferences": [json::controller_reference(&owner.object)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations"] {
        let value = template["metadata"][field].clone();
        json::set(&mut job, &["metadata", field], value);
    }
    let scheduled = due.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let scheduled = scheduled.replace("+00:00", "Z");
    json::set(&mut job, &["metadata", "annotations", SCHEDULED], json!(scheduled));
    let failed = Note::warning(&owner.object, "FailedCreate", "Error creating job: ");
    step.write_or(Write::Create(job), failed);
    let created = format!("Created job {name}");
    step.notes.push(Note::normal(&owner.object, "SuccessfulCreate", created));
}
