//! Cells of workloads.

use jiff::Timestamp;
use serde_json::Value;

use super::duration::human;
use super::fields::{
    at_most, condition, is_deleting, is_true, items, number, str_at, text, text_or, time,
};

/// The owner that controls a revision: `statefulset.apps/web`.
pub(crate) fn controller(revision: &Value, _: Timestamp) -> Value {
    let owners = items(revision, "/metadata/ownerReferences");
    let Some(owner) = owners.iter().find(|owner| is_true(owner, "/controller")) else {
        return "<none>".into();
    };
    let group = str_at(owner, "/apiVersion").rsplit_once('/').map(|(group, _)| group);
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let kind = format!("{}{group}", str_at(owner, "/kind")).to_lowercase();
    format!("{kind}/{}", str_at(owner, "/name")).into()
}

pub(crate) fn job_status(job: &Value, _: Timestamp) -> Value {
    let status = match () {
        () if condition(job, "Complete") => "Complete",
        () if condition(job, "Failed") => "Failed",
        () if is_deleting(job) => "Terminating",
        () if condition(job, "Suspended") => "Suspended",
        () if condition(job, "FailureTarget") => "FailureTarget",
        () if condition(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    status.into()
}

pub(crate) fn job_completions(job: &Value, _: Timestamp) -> Value {
    let succeeded = number(job, "/status/succeeded");
    let completions = job.pointer("/spec/completions").and_then(Value::as_i64);
    let parallelism = number(job, "/spec/parallelism");
    match completions {
        Some(completions) => format!("{succeeded}/{completions}").into(),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        None => format!("{succeeded}/1").into(),
    }
}

pub(crate) fn job_duration(job: &Value, now: Timestamp) -> Value {
    let Some(start) = time(job, "/status/startTime") else { return "".into() };
    let end = time(job, "/status/completionTime").unwrap_or(now);
    human(end.duration_since(start).as_secs()).into()
}

/// `True` or `False`, as upstream writes it although the column is a boolean.
pub(crate) fn cron_suspend(job: &Value, _: Timestamp) -> Value {
    match job.pointer("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => "<unset>".into(),
    }
}

pub(crate) fn scale_target(hpa: &Value, _: Timestamp) -> Value {
    let target = "/spec/scaleTargetRef";
    format!("{}/{}", text(hpa, &format!("{target}/kind")), text(hpa, &format!("{target}/name")))
        .into()
}

/// Of each metric, what is and what should be.
pub(crate) fn metric_targets(hpa: &Value, _: Timestamp) -> Value {
    let specs = items(hpa, "/spec/metrics");
    if specs.is_empty() {
        return "<none>".into();
    }
    let statuses = items(hpa, "/status/currentMetrics");
    let texts: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| metric_target(spec, statuses.get(at).unwrap_or(&Value::Null)))
        .collect();
    at_most(2, &texts, ", ").into()
}

fn metric_target(spec: &Value, status: &Value) -> String {
    let (part, resource) = match str_at(spec, "/type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "Pods" => return averages(spec, status, "pods"),
        "Object" => ("object", false),
        "External" => ("external", false),
        _ => return "<unknown type>".into(),
    };
    let has_average = spec.pointer(&format!("/{part}/target/averageValue")).is_some();
    match (resource, has_average) {
        (true, true) => {
            let name = text(spec, &format!("/{part}/name"));
            format!("{name}: {}", averages(spec, status, part))
        }
        (true, false) => utilization(spec, status, part),
        (false, true) => format!("{} (avg)", averages(spec, status, part)),
        (false, false) => {
            let current = text_or(status, &format!("/{part}/current/value"), "<unknown>");
            format!("{current}/{}", text(spec, &format!("/{part}/target/value")))
        }
    }
}

fn averages(spec: &Value, status: &Value, part: &str) -> String {
    let current = text_or(status, &format!("/{part}/current/averageValue"), "<unknown>");
    format!("{current}/{}", text(spec, &format!("/{part}/target/averageValue")))
}

fn utilization(spec: &Value, status: &Value, part: &str) -> String {
    let percent = |value: Option<&Value>, missing: &str| {
        let number = value.and_then(Value::as_i64);
        number.map_or_else(|| missing.to_string(), |number| format!("{number}%"))
    };
    let current = status.pointer(&format!("/{part}/current/averageUtilization"));
    let target = spec.pointer(&format!("/{part}/target/averageUtilization"));
    let name = text(spec, &format!("/{part}/name"));
    format!("{name}: {}/{}", percent(current, "<unknown>"), percent(target, "<auto>"))
}
