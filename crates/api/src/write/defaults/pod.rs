//! Pods and pod templates.

use serde_json::{Map, Value, json};

use super::{each, ensure, is_set, set, set_zero, text, within};
use crate::Quantity;

/// `0644`: what files of secrets, config maps and projections may.
const FILE_MODE: i64 = 0o644;
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// A Pod.
pub fn pod(pod: &mut Value) {
    let Some(spec) = ensure(pod, "spec") else { return };
    for list in ["containers", "initContainers"] {
        each(spec, list, requests_from_limits);
    }
    requests_of_whole(spec);
    set(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| each(container, "ports", host_port));
        }
    }
    pod_spec(spec);
}

/// A PodTemplate.
pub fn pod_template_object(object: &mut Value) {
    if let Some(template) = ensure(object, "template") {
        pod_template(template);
    }
}

/// `spec.template` of a workload.
pub(super) fn pod_template(template: &mut Value) {
    if let Some(spec) = ensure(template, "spec") {
        pod_spec(spec);
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits = container.pointer("/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    let Some(resources) = ensure(container, "resources") else { return };
    let Some(requests) = ensure(resources, "requests") else { return };
    for (name, limit) in limits {
        set(requests, &name, limit);
    }
}

/// What a pod asks for as a whole, where only its limit is told: what its containers ask for
/// together, or the limit.
fn requests_of_whole(spec: &mut Value) {
    let limits = spec.pointer("/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    let mut asked = Map::new();
    for (name, limit) in limits {
        let own = |list: &str| {
            let all = spec.get(list).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(|container| {
                let amount = container.pointer("/resources/requests")?.get(&name)?;
                Quantity::from_json(amount).ok()
            })
            .collect::<Vec<_>>()
        };
        let together = own("containers").into_iter().reduce(Quantity::plus);
        let most = own("initContainers").into_iter().chain(together).max();
        let amount = most.map_or(limit, |amount| amount.to_string().into());
        asked.insert(name, amount);
    }
    let Some(requests) = ensure(spec, "resources").and_then(|all| ensure(all, "requests")) else {
        return;
    };
    for (name, amount) in asked {
        set(requests, &name, amount);
    }
}

fn host_port(port: &mut Value) {
    let number = port.get("containerPort").cloned().unwrap_or_default();
    set_zero(port, "hostPort", number);
}

fn pod_spec(spec: &mut Value) {
    set_zero(spec, "dnsPolicy", "ClusterFirst");
    set_zero(spec, "restartPolicy", "Always");
    set(spec, "securityContext", Map::new());
    set(spec, "terminationGracePeriodSeconds", 30);
    set_zero(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    for list in CONTAINERS {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
}

/// The field's old name is kept in step with the new one.
fn service_account(spec: &mut Value) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount").to_string(),
        name => name.to_string(),
    };
    if let (false, Value::Object(map)) = (name.is_empty(), spec) {
        map.insert("serviceAccountName".into(), json!(name));
        map.insert("serviceAccount".into(), json!(name));
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    set_zero(container, "imagePullPolicy", policy);
    set_zero(container, "terminationMessagePath", "/dev/termination-log");
    set_zero(container, "terminationMessagePolicy", "File");
    if let Some(resources) = ensure(container, "resources") {
        for list in ["limits", "requests"] {
            within(resources, list, round_to_milli);
        }
    }
    each(container, "ports", |port| set_zero(port, "protocol", "TCP"));
    each(container, "env", |variable| within(variable, "valueFrom", field_source));
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, kind, probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            within(lifecycle, hook, |hook| within(hook, "httpGet", http_get));
        }
    });
}

/// `latest`, said or unsaid, is pulled each time.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let is_latest = match (last.contains('@'), last.rsplit_once(':')) {
        (true, _) => false,
        (false, Some((_, tag))) => tag == "latest",
        (false, None) => true,
    };
    if is_latest { "Always" } else { "IfNotPresent" }
}

/// Amounts finer than thousandths are rounded up.
fn round_to_milli(list: &mut Value) {
    let Value::Object(map) = list else { return };
    for value in map.values_mut() {
        if let Ok(quantity) = Quantity::from_json(value)
            && quantity.is_finer_than_milli()
        {
            *value = json!(Quantity::from_millis(quantity.milli_value()).to_string());
        }
    }
}

fn probe(probe: &mut Value) {
    set_zero(probe, "timeoutSeconds", 1);
    set_zero(probe, "periodSeconds", 10);
    set_zero(probe, "successThreshold", 1);
    set_zero(probe, "failureThreshold", 3);
    within(probe, "httpGet", http_get);
    within(probe, "grpc", |grpc| set(grpc, "service", ""));
}

fn http_get(action: &mut Value) {
    set_zero(action, "path", "/");
    set_zero(action, "scheme", "HTTP");
}

/// `fieldRef` and `resourceFieldRef` of a variable or of a file of the downward API.
fn field_source(source: &mut Value) {
    within(source, "fieldRef", |field| set_zero(field, "apiVersion", "v1"));
    within(source, "resourceFieldRef", |field| set(field, "divisor", "0"));
}

fn volume(volume: &mut Value) {
    let has_source = volume
        .as_object()
        .is_some_and(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        set(volume, "emptyDir", Map::new());
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, kind, |source| set(source, "defaultMode", FILE_MODE));
    }
    within(volume, "downwardAPI", |source| each(source, "items", field_source));
    within(volume, "projected", |source| each(source, "sources", projection));
    within(volume, "hostPath", |source| set(source, "type", ""));
    within(volume, "image", |source| {
        let policy = pull_policy(text(source, "reference"));
        set_zero(source, "pullPolicy", policy);
    });
    within(volume, "ephemeral", |source| {
        within(source, "volumeClaimTemplate", |template| {
            if let Some(spec) = ensure(template, "spec") {
                super::core::claim_spec(spec);
            }
        });
    });
}

fn projection(source: &mut Value) {
    within(source, "downwardAPI", |source| each(source, "items", field_source));
    within(source, "serviceAccountToken", |token| {
        if !is_set(token, "expirationSeconds") {
            set(token, "expirationSeconds", 3600);
        }
    });
}
