//! Cells of nodes, events, quotas, access and admission, and those that every kind has.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::duration::human;
use super::fields::{
    condition, condition_status, is_true, items, members, number, or, selector, since, str_at,
    text, text_or,
};

pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(object, "/metadata/creationTimestamp", now, "<unknown>").into()
}

pub(crate) fn created_at(object: &Value, _: Timestamp) -> Value {
    text(object, "/metadata/creationTimestamp").into()
}

pub(crate) fn node_status(node: &Value, _: Timestamp) -> Value {
    let ready = match condition_status(node, "Ready") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordon = if is_true(node, "/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordon}").into()
}

pub(crate) fn node_roles(node: &Value, _: Timestamp) -> Value {
    let role = |(label, value): (&String, &Value)| match label.as_str() {
        "kubernetes.io/role" => value.as_str().map(str::to_string),
        label => label.strip_prefix("node-role.kubernetes.io/").map(str::to_string),
    };
    let roles: BTreeSet<String> = members(node, "/metadata/labels")
        .filter_map(role)
        .filter(|role| !role.is_empty())
        .collect();
    or(roles.into_iter().collect::<Vec<_>>().join(","), "<none>").into()
}

pub(crate) fn internal_ip(node: &Value, _: Timestamp) -> Value {
    node_address(node, "InternalIP")
}

pub(crate) fn external_ip(node: &Value, _: Timestamp) -> Value {
    node_address(node, "ExternalIP")
}

fn node_address(node: &Value, ty: &str) -> Value {
    let mut addresses = items(node, "/status/addresses").iter();
    let found = addresses.find(|address| address["type"] == ty);
    found.map_or_else(|| "<none>".into(), |address| text(address, "/address")).into()
}

pub(crate) fn kernel_version(node: &Value, _: Timestamp) -> Value {
    let version = text_or(node, "/status/nodeInfo/kernelVersion", "<unknown>");
    match str_at(node, "/status/nodeInfo/architecture") {
        "" => version.into(),
        architecture => format!("{version} ({architecture})").into(),
    }
}

pub(crate) fn event_first_seen(event: &Value, now: Timestamp) -> Value {
    let event_time = since(event, "/eventTime", now, "<unknown>");
    since(event, "/firstTimestamp", now, &event_time).into()
}

pub(crate) fn event_last_seen(event: &Value, now: Timestamp) -> Value {
    if event.pointer("/series").is_some_and(|series| !series.is_null()) {
        return since(event, "/series/lastObservedTime", now, "<unknown>").into();
    }
    let first = event_first_seen(event, now);
    since(event, "/lastTimestamp", now, first.as_str().unwrap_or_default()).into()
}

pub(crate) fn event_object(event: &Value, _: Timestamp) -> Value {
    let kind = str_at(event, "/involvedObject/kind").to_lowercase();
    match str_at(event, "/involvedObject/name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

pub(crate) fn event_source(event: &Value, _: Timestamp) -> Value {
    let component = text_or(event, "/source/component", str_at(event, "/reportingComponent"));
    match text_or(event, "/source/host", str_at(event, "/reportingInstance")) {
        host if host.is_empty() => component.into(),
        host => format!("{component}, {host}").into(),
    }
}

pub(crate) fn event_message(event: &Value, _: Timestamp) -> Value {
    str_at(event, "/message").trim().into()
}

pub(crate) fn event_count(event: &Value, _: Timestamp) -> Value {
    match event.pointer("/series/count").and_then(Value::as_i64) {
        Some(count) => count.into(),
        None => number(event, "/count").max(1).into(),
    }
}

pub(crate) fn quota_requests(quota: &Value, _: Timestamp) -> Value {
    quota_use(quota, false)
}

pub(crate) fn quota_limits(quota: &Value, _: Timestamp) -> Value {
    quota_use(quota, true)
}

/// `RESOURCE: USED/HARD` of what limits containers, or of all else.
fn quota_use(quota: &Value, limits: bool) -> Value {
    let mut all: Vec<String> = members(quota, "/status/hard")
        .filter(|(resource, _)| resource.starts_with("limits.") == limits)
        .map(|(resource, hard)| {
            let used = quota["status"]["used"][resource].as_str().unwrap_or("0");
            format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default())
        })
        .collect();
    all.sort();
    all.join(", ").into()
}

/// `ClusterRole/admin`.
pub(crate) fn role(binding: &Value, _: Timestamp) -> Value {
    format!("{}/{}", str_at(binding, "/roleRef/kind"), str_at(binding, "/roleRef/name")).into()
}

pub(crate) fn users(binding: &Value, _: Timestamp) -> Value {
    subjects(binding, "User")
}

pub(crate) fn groups(binding: &Value, _: Timestamp) -> Value {
    subjects(binding, "Group")
}

pub(crate) fn service_accounts(binding: &Value, _: Timestamp) -> Value {
    subjects(binding, "ServiceAccount")
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let name = |subject: &Value| match kind {
        "ServiceAccount" => {
            format!("{}/{}", str_at(subject, "/namespace"), str_at(subject, "/name"))
        }
        _ => text(subject, "/name"),
    };
    let subjects = items(binding, "/subjects").iter().filter(|subject| subject["kind"] == kind);
    subjects.map(name).collect::<Vec<_>>().join(", ").into()
}

pub(crate) fn certificate_duration(request: &Value, _: Timestamp) -> Value {
    let seconds = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    seconds.map_or_else(|| "<none>".into(), human).into()
}

/// Decided or not; failed, issued.
pub(crate) fn certificate_condition(request: &Value, _: Timestamp) -> Value {
    // A condition counts whatever its status is.
    let has = |ty| condition_status(request, ty).is_some();
    let decision = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if str_at(request, "/status/certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}").into()
}

/// `v1/ConfigMap`, the kind of a policy's parameters.
pub(crate) fn param_kind(policy: &Value, _: Timestamp) -> Value {
    let Some(kind) = policy.pointer("/spec/paramKind").filter(|kind| !kind.is_null()) else {
        return "<unset>".into();
    };
    format!("{}/{}", str_at(kind, "/apiVersion"), str_at(kind, "/kind")).into()
}

/// Which object parameterises a policy; whether it is in a namespace cannot be seen from here.
pub(crate) fn param_ref(binding: &Value, _: Timestamp) -> Value {
    let Some(param) = binding.pointer("/spec/paramRef").filter(|param| !param.is_null()) else {
        return "<unset>".into();
    };
    match str_at(param, "/name") {
        "" => match param.get("selector") {
            Some(chosen) => selector(Some(chosen)).into(),
            None => "<unset>".into(),
        },
        name => format!("{}/{name}", text_or(param, "/namespace", "*")).into(),
    }
}

/// Whether a flow schema's priority level is missing; `?` when nobody looked.
pub(crate) fn missing_level(schema: &Value, _: Timestamp) -> Value {
    condition_status(schema, "Dangling").unwrap_or("?").into()
}

pub(crate) fn api_service(service: &Value, _: Timestamp) -> Value {
    match service.pointer("/spec/service").filter(|backend| !backend.is_null()) {
        Some(backend) => {
            format!("{}/{}", str_at(backend, "/namespace"), str_at(backend, "/name")).into()
        }
        None => "Local".into(),
    }
}

pub(crate) fn api_available(service: &Value, _: Timestamp) -> Value {
    if condition(service, "Available") {
        return "True".into();
    }
    let mut conditions = items(service, "/status/conditions").iter();
    let available = conditions.find(|condition| condition["type"] == "Available");
    match available {
        Some(condition) => {
            format!("{} ({})", str_at(condition, "/status"), str_at(condition, "/reason")).into()
        }
        None => "Unknown".into(),
    }
}

pub(crate) fn component_status(component: &Value, _: Timestamp) -> Value {
    let healthy = healthy(component);
    match str_at(healthy, "/status") {
        "True" => "Healthy".into(),
        "False" => "Unhealthy".into(),
        _ => "Unknown".into(),
    }
}

pub(crate) fn component_message(component: &Value, _: Timestamp) -> Value {
    text(healthy(component), "/message").into()
}

pub(crate) fn component_error(component: &Value, _: Timestamp) -> Value {
    text(healthy(component), "/error").into()
}

fn healthy(component: &Value) -> &Value {
    let mut conditions = items(component, "/conditions").iter();
    conditions.find(|condition| condition["type"] == "Healthy").unwrap_or(&Value::Null)
}
