//! Kinds that are served in two versions with different fields, and stored in one.

use crate::resources::{EVENTS, HORIZONTAL_POD_AUTOSCALERS};
use serde_json::{Map, Value, json};

use crate::kind::Form;
use crate::presence;

/// Fields of core/v1 Event under their names in events.k8s.io/v1.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// events.k8s.io/v1 Event, stored as core/v1.
pub(super) fn events() -> Form {
    Form {
        to_storage: |event| {
            rename(event, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)));
            presence::spell_as("io.k8s.api.core.v1.Event", event);
        },
        from_storage: |event| rename(event, EVENT_FIELDS.iter().copied()),
        ..Form::same(EVENTS, "v1")
    }
}

fn rename(object: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.into(), value);
        }
    }
}

/// autoscaling/v1 HorizontalPodAutoscaler, stored as v2.
pub(super) fn autoscalers() -> Form {
    Form {
        to_storage: |hpa| {
            autoscaler_to_v2(hpa);
            presence::spell_as("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", hpa);
        },
        from_storage: autoscaler_to_v1,
        ..Form::same(HORIZONTAL_POD_AUTOSCALERS, "autoscaling/v2")
    }
}

/// What v1 has no field for stands, as JSON of the v2 field, in annotations.
const ANNOTATED: &[(&str, &str, &str)] = &[
    ("autoscaling.alpha.kubernetes.io/metrics", "spec", "metrics"),
    ("autoscaling.alpha.kubernetes.io/behavior", "spec", "behavior"),
    ("autoscaling.alpha.kubernetes.io/current-metrics", "status", "currentMetrics"),
    ("autoscaling.alpha.kubernetes.io/conditions", "status", "conditions"),
];

fn autoscaler_to_v2(hpa: &mut Value) {
    for (annotation, part, field) in ANNOTATED {
        let text = annotations(hpa).and_then(|all| all.remove(*annotation));
        let parsed = text.as_ref().and_then(Value::as_str).map(serde_json::from_str::<Value>);
        if let Some(Ok(value)) = parsed
            && let Some(part) = part_mut(hpa, part)
        {
            part.insert((*field).into(), value);
        }
    }
    drop_empty_annotations(hpa);
    if let Some(spec) = part_mut(hpa, "spec")
        && let Some(percent) = spec.remove("targetCPUUtilizationPercentage")
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        prepend(spec, "metrics", metric);
    }
    if let Some(status) = part_mut(hpa, "status")
        && let Some(percent) = status.remove("currentCPUUtilizationPercentage")
    {
        let current = json!({"averageUtilization": percent, "averageValue": "0"});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        prepend(status, "currentMetrics", metric);
    }
}

fn autoscaler_to_v1(hpa: &mut Value) {
    let cpu = |metric: &Value| metric.pointer("/resource/name") == Some(&json!("cpu"));
    if let Some(spec) = part_mut(hpa, "spec") {
        let utilization = |metric: &Value| {
            metric.pointer("/resource/target/averageUtilization").filter(|_| cpu(metric)).cloned()
        };
        if let Some(percent) = take_first(spec, "metrics", utilization) {
            spec.insert("targetCPUUtilizationPercentage".into(), percent);
        }
    }
    if let Some(status) = part_mut(hpa, "status") {
        let utilization = |metric: &Value| {
            metric.pointer("/resource/current/averageUtilization").filter(|_| cpu(metric)).cloned()
        };
        if let Some(percent) = take_first(status, "currentMetrics", utilization) {
            status.insert("currentCPUUtilizationPercentage".into(), percent);
        }
    }
    for (annotation, part, field) in ANNOTATED {
        let value = part_mut(hpa, part).and_then(|part| part.remove(*field));
        let is_empty = |value: &Value| value.is_null() || *value == json!([]);
        if let Some(value) = value.filter(|value| !is_empty(value)) {
            let metadata = &mut hpa["metadata"];
            metadata["annotations"][*annotation] = Value::String(value.to_string());
        }
    }
}

fn part_mut<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(part)?.as_object_mut()
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}

fn drop_empty_annotations(object: &mut Value) {
    if annotations(object).is_some_and(|all| all.is_empty())
        && let Some(metadata) = part_mut(object, "metadata")
    {
        metadata.remove("annotations");
    }
}

fn prepend(part: &mut Map<String, Value>, field: &str, item: Value) {
    let list = part.entry(field).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.insert(0, item);
    }
}

/// Takes the first item of a list for which `found` has a value, and answers with the value.
fn take_first(
    part: &mut Map<String, Value>,
    field: &str,
    found: impl Fn(&Value) -> Option<Value>,
) -> Option<Value> {
    let list = part.get_mut(field)?.as_array_mut()?;
    let (at, value) =
        list.iter().enumerate().find_map(|(at, item)| found(item).map(|value| (at, value)))?;
    list.remove(at);
    Some(value)
}
