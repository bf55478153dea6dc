//! What objects do next, or how they came to their end, that wait for nothing.

use coracle_api::cron::{self, Schedule};
use coracle_api::resources::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, JOBS, POD_DISRUPTION_BUDGETS,
    PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use coracle_api::{Object, Timestamp, conditions, time};
use jiff::tz::TimeZone;

use super::guard;
use crate::job::{Finished, finished};
use crate::rfc3339;

/// What an object that waits for nothing does next, or how it came to its end; `None` when there is
/// nothing to say.
pub fn outlook(object: &Object, now: Timestamp) -> Option<String> {
    match &*object.key().resource {
        CRON_JOBS => next_start(object, now),
        JOBS => finished(object.value())
            .filter(|(how, _)| *how == Finished::Complete)
            .map(|_| "it is complete".to_owned()),
        PODS => (object.str_at("/status/phase") == Some("Succeeded"))
            .then(|| "it has ended, and succeeded".to_owned()),
        HORIZONTAL_POD_AUTOSCALERS => limit(object),
        POD_DISRUPTION_BUDGETS => guard::allowance(object),
        STATEFUL_SETS => {
            is_empty(object).or_else(|| kept_old(object, ("replicas", "updatedReplicas")))
        }
        DAEMON_SETS => fits_nowhere(object)
            .or_else(|| kept_old(object, ("currentNumberScheduled", "updatedNumberScheduled"))),
        DEPLOYMENTS | REPLICA_SETS | REPLICATION_CONTROLLERS => is_empty(object),
        _ => None,
    }
}

fn is_empty(set: &Object) -> Option<String> {
    let wants_none = set.value()["spec"]["replicas"].as_i64() == Some(0);
    wants_none.then(|| "it is scaled to 0".to_owned())
}

fn fits_nowhere(set: &Object) -> Option<String> {
    let wants_none = set.value()["status"]["desiredNumberScheduled"].as_i64() == Some(0);
    wants_none.then(|| "no node is to have a pod of it: none fits its template".to_owned())
}

/// Why a set has pods of an older template, by its counts of all pods and of new ones.
fn kept_old(set: &Object, (all, new): (&str, &str)) -> Option<String> {
    let (spec, status) = (&set.value()["spec"], &set.value()["status"]);
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let old = count(all).saturating_sub(count(new));
    if old <= 0 {
        return None;
    }
    let strategy = &spec["updateStrategy"];
    let partition = strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    if strategy["type"] == "OnDelete" {
        return Some(format!(
            "{old} of its pods are of an older template: with OnDelete they stay until somebody \
             deletes them"
        ));
    }
    (partition > 0).then(|| {
        format!(
            "{old} of its pods are of an older template: those below partition {partition} stay"
        )
    })
}

/// The size that an autoscaler would want and may not have.
fn limit(autoscaler: &Object) -> Option<String> {
    let limited = conditions::find(autoscaler.value(), "ScalingLimited")?;
    let message = limited["message"].as_str().filter(|_| limited["status"] == "True")?;
    Some(message.to_owned())
}

fn next_start(cron_job: &Object, now: Timestamp) -> Option<String> {
    let spec = &cron_job.value()["spec"];
    let zone = cron::zone(spec["timeZone"].as_str())?;
    let text = spec["schedule"].as_str().unwrap_or_default();
    let schedule = Schedule::parse(text).ok()?;
    let last = cron_job.str_at("/status/lastScheduleTime");
    let told = last.map_or(String::new(), |last| format!("; the last was at {last}"));
    let missed = missed(cron_job, &schedule, &zone, now).unwrap_or_default();
    Some(match schedule.next(now, &zone) {
        Some(next) => format!("its next start is at {} ({text}){told}{missed}", rfc3339(next)),
        None => format!("its schedule names no time within five years ({text}){told}{missed}"),
    })
}

/// The latest start that was too late by the CronJob's own deadline.
fn missed(
    cron_job: &Object,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<String> {
    let deadline = cron_job.value()["spec"]["startingDeadlineSeconds"].as_i64()?;
    let last = cron_job.str_at("/status/lastScheduleTime").and_then(|last| last.parse().ok());
    let since: Timestamp = last.or(cron_job.metadata().creation_timestamp)?;
    let due = schedule.latest(since, now, zone)?;
    let is_late = time::after(due, deadline) < now;
    is_late.then(|| {
        let due = rfc3339(due);
        format!("; the start at {due} was missed: startingDeadlineSeconds is {deadline}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(resource: &str, spec: Value, status: Value) -> Option<String> {
        let metadata = json!({
            "name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        let value = json!({"metadata": metadata, "spec": spec, "status": status});
        let object = Object::with_resource(resource, value).unwrap();
        outlook(&object, "2026-01-01T00:07:30Z".parse().unwrap())
    }

    #[test]
    fn a_cron_job_says_when_it_starts_next_and_what_it_missed() {
        let every = json!({"schedule": "*/5 * * * *"});
        let last = json!({"lastScheduleTime": "2026-01-01T00:05:00Z"});
        let next = "its next start is at 2026-01-01T00:10:00Z (*/5 * * * *)";
        let told = said(CRON_JOBS, every.clone(), last).unwrap();
        assert_eq!(told, format!("{next}; the last was at 2026-01-01T00:05:00Z"));
        let mut strict = every;
        strict["startingDeadlineSeconds"] = json!(60);
        assert_eq!(
            said(CRON_JOBS, strict, json!({})).unwrap(),
            format!(
                "{next}; the start at 2026-01-01T00:05:00Z was missed: startingDeadlineSeconds is 60"
            )
        );
        let never = said(CRON_JOBS, json!({"schedule": "0 0 31 2 *"}), json!({})).unwrap();
        assert_eq!(never, "its schedule names no time within five years (0 0 31 2 *)");
    }

    #[test]
    fn what_keeps_a_sets_old_pods_is_named() {
        let status = json!({"replicas": 3, "updatedReplicas": 1});
        let with = |strategy: Value| {
            said(STATEFUL_SETS, json!({"replicas": 3, "updateStrategy": strategy}), status.clone())
        };
        assert!(with(json!({"type": "OnDelete"})).unwrap().contains("with OnDelete they stay"));
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        assert!(with(rolling).unwrap().ends_with("those below partition 2 stay"));
        assert_eq!(with(json!({"type": "RollingUpdate"})), None);
        assert_eq!(
            said(DEPLOYMENTS, json!({"replicas": 0}), json!({})).unwrap(),
            "it is scaled to 0"
        );
    }
}
