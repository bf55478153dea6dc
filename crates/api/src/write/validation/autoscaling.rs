//! HorizontalPodAutoscalers.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, quantity};
use crate::{FieldError, names};

const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// The fields of a metric, in the order in which only the first is looked into.
const METRIC_FIELDS: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];
/// The longest that a scaler may look back, in seconds.
const WINDOW_MAX: i64 = 3600;
/// The longest period of a scaling policy, in seconds.
const PERIOD_MAX: i64 = 1800;

/// A HorizontalPodAutoscaler of `autoscaling/v1`.
pub fn autoscaler_v1(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        bounds(errors, &spec);
        scale_target(errors, &spec.child("scaleTargetRef"));
        let cpu = spec.child("targetCPUUtilizationPercentage");
        if cpu.is_set() && cpu.int() < 1 {
            let path = "spec.metrics[0].resource.target.averageUtilization";
            errors.invalid(&Field::at(cpu.value, path), "must be greater than 0");
        }
    })
}

/// A HorizontalPodAutoscaler of `autoscaling/v2`.
pub fn autoscaler(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        bounds(errors, &spec);
        scale_target(errors, &spec.child("scaleTargetRef"));
        for metric in spec.child("metrics").items() {
            check_metric(errors, &metric);
        }
        let behavior = spec.child("behavior");
        for direction in ["scaleUp", "scaleDown"] {
            scaling_rules(errors, &behavior.child(direction));
        }
    })
}

/// A change of an autoscaler's status.
pub fn autoscaler_status(new: &Value, _old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let status = Field::root(new).child("status");
        errors.non_negative(&status.child("currentReplicas"));
        errors.non_negative(&status.child("desiredReplicas"));
    })
}

fn bounds(errors: &mut Errors, spec: &Field<'_>) {
    let (min, max) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if min.is_set() && min.int() < 1 {
        errors.invalid(&min, "must be greater than or equal to 1");
    }
    match max.int() {
        0 => errors.required(&max, "must be set and greater than 0"),
        ..0 => errors.invalid(&max, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_set() && max.int() < min.int() {
        let why = "must be greater than or equal to `minReplicas`";
        errors.invalid_as(&max, &max.int().into(), why);
    }
    if min.is_set() && min.int() == 0 && !has_outside_metric(spec) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&spec.child("metrics"), why);
    }
}

fn has_outside_metric(spec: &Field<'_>) -> bool {
    spec.child("metrics")
        .items()
        .any(|metric| matches!(metric.child("type").text(), "Object" | "External"))
}

fn scale_target(errors: &mut Errors, target: &Field<'_>) {
    reference(errors, target);
    let version = target.child("apiVersion");
    // The core group's only scalable kind is written without a group.
    let is_core = version.text() == "v1" && target.child("kind").text() == "ReplicationController";
    if !is_core && !version.text().contains('/') {
        errors.invalid_as(&version, &version.text().into(), "apiVersion must specify API group");
    }
}

fn reference(errors: &mut Errors, target: &Field<'_>) {
    for name in ["kind", "name"] {
        let part = target.child(name);
        if part.is_empty() {
            errors.required(&part, "");
        } else {
            errors.all_invalid(&part, names::path_segment(part.text(), false));
        }
    }
}

fn check_metric(errors: &mut Errors, metric: &Field<'_>) {
    let kind = metric.child("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&kind.text()) {
        errors.not_supported(&kind, &METRIC_TYPES);
    }
    let present: Vec<&str> =
        METRIC_FIELDS.into_iter().filter(|name| metric.child(name).is_set()).collect();
    if let Some(first) = present.first() {
        let source = metric.child(first);
        match *first {
            "object" => object_source(errors, &source),
            "pods" => pods_source(errors, &source),
            "resource" => resource_source(errors, &source),
            "containerResource" => container_source(errors, &source),
            _ => external_source(errors, &source),
        }
    }
    let expected = field_of(kind.text());
    if !present.contains(&expected.as_str()) && METRIC_TYPES.contains(&kind.text()) {
        let why = "must populate information for the given metric source";
        errors.required(&metric.child(&expected), why);
    }
    if present.len() > 1 {
        for other in present.iter().filter(|name| **name != expected) {
            let why = "must populate the given metric source only";
            errors.forbidden(&metric.child(other), why);
        }
    }
}

/// `ContainerResource` is in `containerResource`.
fn field_of(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

fn object_source(errors: &mut Errors, source: &Field<'_>) {
    reference(errors, &source.child("describedObject"));
    metric_identifier(errors, &source.child("metric"));
    let target = source.child("target");
    metric_target(errors, &target);
    value_or_average(errors, &target);
}

fn external_source(errors: &mut Errors, source: &Field<'_>) {
    metric_identifier(errors, &source.child("metric"));
    let target = source.child("target");
    metric_target(errors, &target);
    value_or_average(errors, &target);
    if target.child("value").is_set() && target.child("averageValue").is_set() {
        let why = "may not set both a target value for metric and a per-pod target";
        errors.forbidden(&target.child("value"), why);
    }
}

fn value_or_average(errors: &mut Errors, target: &Field<'_>) {
    if !target.child("value").is_set() && !target.child("averageValue").is_set() {
        let why = "must set either a target value for metric or a per-pod target";
        errors.required(&target.child("averageValue"), why);
    }
}

fn pods_source(errors: &mut Errors, source: &Field<'_>) {
    metric_identifier(errors, &source.child("metric"));
    let target = source.child("target");
    metric_target(errors, &target);
    let average = target.child("averageValue");
    if !average.is_set() || quantity(&average).signum() != 1 {
        errors.required(&average, "must specify a positive target averageValue");
    }
}

fn container_source(errors: &mut Errors, source: &Field<'_>) {
    if source.child("name").is_empty() {
        errors.required(&source.child("name"), "must specify a resource name");
    }
    if source.child("container").is_empty() {
        errors.required(&source.child("container"), "must specify a container name");
    }
    resource_target(errors, &source.child("target"));
}

fn resource_source(errors: &mut Errors, source: &Field<'_>) {
    if source.child("name").is_empty() {
        errors.required(&source.child("name"), "must specify a resource name");
    }
    resource_target(errors, &source.child("target"));
}

fn resource_target(errors: &mut Errors, target: &Field<'_>) {
    metric_target(errors, target);
    let (use_, value) = (target.child("averageUtilization"), target.child("averageValue"));
    if !use_.is_set() && !value.is_set() {
        let why = "must set either a target raw value or a target utilization";
        errors.required(&use_, why);
    }
    if use_.is_set() && value.is_set() {
        let why = "may not set both a target raw value and a target utilization";
        errors.forbidden(&value, why);
    }
}

fn metric_identifier(errors: &mut Errors, metric: &Field<'_>) {
    let name = metric.child("name");
    if name.is_empty() {
        errors.required(&name, "must specify a metric name");
    } else {
        errors.all_invalid(&name, names::path_segment(name.text(), false));
    }
    if metric.child("selector").is_set() {
        parts::selector(errors, &metric.child("selector"));
    }
}

fn metric_target(errors: &mut Errors, target: &Field<'_>) {
    let kind = target.child("type");
    if kind.is_empty() {
        errors.required(&kind, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.text()) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid_as(&kind, &kind.text().into(), why);
    }
    for name in ["value", "averageValue"] {
        let value = target.child(name);
        if value.is_set() && quantity(&value).signum() != 1 {
            errors.invalid(&value, "must be positive");
        }
    }
    let use_ = target.child("averageUtilization");
    if use_.is_set() && use_.int() < 1 {
        errors.invalid(&use_, "must be greater than 0");
    }
}

fn scaling_rules(errors: &mut Errors, rules: &Field<'_>) {
    if !rules.is_set() {
        return;
    }
    let window = rules.child("stabilizationWindowSeconds");
    if window.int() < 0 {
        errors.invalid(&window, "must be greater than or equal to zero");
    }
    if window.int() > WINDOW_MAX {
        errors.invalid(&window, format!("must be less than or equal to {WINDOW_MAX}"));
    }
    errors.one_of_if_set(&rules.child("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = rules.child("policies");
    if policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let kind = policy.child("type");
        if !["Percent", "Pods"].contains(&kind.text()) {
            errors.not_supported(&kind, &["Percent", "Pods"]);
        }
        for name in ["value", "periodSeconds"] {
            let number = policy.child(name);
            if number.int() <= 0 {
                errors.invalid_as(&number, &number.int().into(), "must be greater than zero");
            }
        }
        let period = policy.child("periodSeconds");
        if period.int() > PERIOD_MAX {
            errors.invalid(&period, format!("must be less than or equal to {PERIOD_MAX}"));
        }
    }
    let tolerance = rules.child("tolerance");
    if tolerance.is_set() && quantity(&tolerance).signum() < 0 {
        errors.invalid(&tolerance, "must be greater than or equal to 0");
    }
}
