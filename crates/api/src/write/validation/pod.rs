//! Pods and pod templates.

use serde_json::{Value, json};

use super::container::{self, Pod};
use super::cursor::{Errors, Field};
use super::parts::{self, differences, dns_label, dns_subdomain, label_name};
use super::{scheduling, security, volume};
use crate::{FieldError, names, semantic};

/// What of a pod's specification may change.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A Pod, new or changed.
pub fn pod(pod: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(pod);
        let spec = root.child("spec");
        pod_spec(errors, &spec, root.descend(&["metadata", "name"]).text(), true);
        for list in ["containers", "initContainers"] {
            spec.child(list).items().for_each(|c| container::untrimmed_image(errors, &c));
        }
        if spec.child("serviceAccountName").is_empty() {
            no_tokens(errors, &spec);
        }
    })
}

/// Without an account there are no tokens.
fn no_tokens(errors: &mut Errors, spec: &Field<'_>) {
    for volume in spec.child("volumes").items() {
        for source in volume.descend(&["projected", "sources"]).items() {
            let token = source.child("serviceAccountToken");
            if token.is_set() {
                let detail = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&token, detail);
            }
        }
    }
}

/// A new Pod, on top of [`pod`].
pub fn pod_create(pod: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(pod).child("spec");
        let ephemeral = spec.child("ephemeralContainers");
        if !ephemeral.is_empty() {
            errors.forbidden(&ephemeral, "cannot be set on create");
        }
        let node = spec.child("nodeName");
        if !node.is_empty() && !spec.child("schedulingGates").is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden(&node, detail);
        }
    })
}

/// A PodTemplate.
pub fn pod_template_object(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| template(errors, &Field::root(object).child("template")))
}

/// `spec.template` of a workload.
pub(super) fn template(errors: &mut Errors, template: &Field<'_>) {
    // Upstream leaves out `metadata` in these paths.
    let metadata = template.child("metadata");
    let under = |name: &str| Field {
        value: metadata.value.get(name).unwrap_or(&Value::Null),
        path: format!("{}.{name}", template.path),
    };
    parts::check_labels(errors, &under("labels"));
    parts::check_annotations(errors, &under("annotations"));
    let spec = template.child("spec");
    pod_spec(errors, &spec, "", false);
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.forbidden(&ephemeral, "ephemeral containers not allowed in pod template");
    }
}

fn pod_spec(errors: &mut Errors, spec: &Field<'_>, name: &str, is_pod: bool) {
    let grace = spec.child("terminationGracePeriodSeconds");
    errors.require_text(&grace);
    let pod = Pod {
        volumes: volume::all(errors, &spec.child("volumes"), name),
        grace: grace.value.as_i64(),
        restart_policy: spec.child("restartPolicy").text(),
        host_users: spec.child("hostUsers").value != &Value::Bool(false),
    };
    let containers = spec.child("containers");
    container::regular(errors, &containers, &pod);
    container::init(errors, &spec.child("initContainers"), &containers, &pod);
    container::ephemeral(errors, spec, &pod);
    container::resources(errors, &spec.child("resources"));
    host_network(errors, spec, is_pod);
    errors.one_of(&spec.child("restartPolicy"), &["Always", "OnFailure", "Never"]);
    errors.one_of(
        &spec.child("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    parts::check_labels(errors, &spec.child("nodeSelector"));
    security::pod(errors, &spec.child("securityContext"), spec);
    scheduling::affinity(errors, &spec.child("affinity"));
    dns_config(errors, spec);
    gates(errors, spec);
    scheduling::spread(errors, &spec.child("topologySpreadConstraints"));
    host_users(errors, spec);
    spec_names(errors, spec);
    scheduling::tolerations(errors, &spec.child("tolerations"));
    host_aliases(errors, &spec.child("hostAliases"));
}

fn spec_names(errors: &mut Errors, spec: &Field<'_>) {
    for name in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let field = spec.child(name);
        if !field.is_empty() {
            dns_subdomain(errors, &field);
        }
    }
    let deadline = spec.child("activeDeadlineSeconds");
    let max = i64::from(i32::MAX);
    if deadline.is_set() && !(1..=max).contains(&deadline.int()) {
        errors.invalid(&deadline, names::not_between(1, max));
    }
    for name in ["hostname", "subdomain"] {
        let field = spec.child(name);
        if !field.is_empty() {
            dns_label(errors, &field);
        }
    }
    errors.one_of_if_set(&spec.child("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
}

fn host_network(errors: &mut Errors, spec: &Field<'_>, is_pod: bool) {
    if !spec.child("hostNetwork").is_true() {
        return;
    }
    for container in spec.child("containers").items() {
        for port in container.child("ports").items() {
            let (host, own) = (port.child("hostPort"), port.child("containerPort"));
            if (is_pod || host.int() != 0) && host.int() != own.int() {
                errors.invalid_as(
                    &host,
                    &host.int().into(),
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn host_users(errors: &mut Errors, spec: &Field<'_>) {
    if spec.child("hostUsers").value != &Value::Bool(false) {
        return;
    }
    for (name, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.child(name).is_true() {
            errors.forbidden(&spec.child(shown), "when `pod.Spec.HostUsers` is false");
        }
    }
}

fn dns_config(errors: &mut Errors, spec: &Field<'_>) {
    let config = spec.child("dnsConfig");
    let servers = config.child("nameservers");
    if spec.child("dnsPolicy").text() == "None" {
        if !config.is_set() {
            errors.required(&config, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&servers, detail);
            return;
        }
    }
    if servers.len() > 3 {
        errors.invalid(&servers, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        errors.all_invalid(&server, names::ip_address(server.text()));
    }
    let searches = config.child("searches");
    if searches.len() > 32 {
        errors.invalid(&searches, "must not have more than 32 search paths");
    }
    let characters: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if characters > 2048 + 1 {
        let detail =
            "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&searches, detail);
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let plain = search.text().trim_end_matches('.').replace('_', "a");
        errors.all_invalid(&search, names::dns1123_subdomain(&plain));
    }
    for option in config.child("options").items() {
        if option.child("name").is_empty() {
            errors.required(&option, "must not be empty");
        }
    }
}

fn gates(errors: &mut Errors, spec: &Field<'_>) {
    for gate in spec.child("readinessGates").items() {
        label_name(errors, &gate.child("conditionType"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for gate in spec.child("schedulingGates").items() {
        let name = gate.child("name");
        label_name(errors, &Field::at(name.value, &gate.path));
        if !seen.insert(name.text()) {
            errors.duplicate_as(&gate.path, name.text());
        }
    }
}

fn host_aliases(errors: &mut Errors, list: &Field<'_>) {
    for alias in list.items() {
        let ip = alias.child("ip");
        errors.all_invalid(&ip, names::ip_address(ip.text()));
        alias.child("hostnames").items().for_each(|name| dns_subdomain(errors, &name));
    }
}

/// A change of a Pod, on top of [`pod`].
pub fn pod_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new).child("spec"), Field::root(old).child("spec"));
        for list in ["containers", "initContainers"] {
            if new.child(list).len() != old.child(list).len() {
                errors.forbidden(&new.child(list), "pod updates may not add or remove containers");
                return;
            }
        }
        if !deadline_update(errors, &new, &old) {
            return;
        }
        toleration_update(errors, &new.child("tolerations"), &old.child("tolerations"));
        gate_update(errors, &new.child("schedulingGates"), &old.child("schedulingGates"));
        let allowed = with_allowed_changes(new.value, old.value);
        if !semantic::equal(&allowed, old.value) {
            let shown = differences(old.value, &allowed);
            let detail =
                format!("pod updates may not change fields other than {UPDATABLE}\n{shown}");
            errors.forbidden(&new, detail);
        }
    })
}

/// A deadline may be set, and come nearer. Whether the rest is worth checking.
fn deadline_update(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) -> bool {
    let (new, old) = (new.child("activeDeadlineSeconds"), old.child("activeDeadlineSeconds"));
    if !new.is_set() {
        if old.is_set() {
            errors.invalid(&new, "must not update from a positive integer to nil value");
        }
        return true;
    }
    let max = i64::from(i32::MAX);
    if !(0..=max).contains(&new.int()) {
        errors.invalid(&new, names::not_between(0, max));
        return false;
    }
    if old.is_set() && old.int() < new.int() {
        errors.invalid(&new, "must be less than or equal to previous value");
        return false;
    }
    true
}

fn toleration_update(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    let plain = |toleration: &Value| {
        let mut plain = toleration.clone();
        if let Value::Object(map) = &mut plain {
            map.remove("tolerationSeconds");
        }
        plain
    };
    let new_ones: Vec<Value> = new.items().map(|toleration| plain(toleration.value)).collect();
    if !old.items().all(|toleration| new_ones.contains(&plain(toleration.value))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(new, detail);
    }
}

fn gate_update(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    for gate in new.items() {
        if !old.items().any(|known| known.value == gate.value) {
            let name = gate.child("name");
            let detail = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                name.text()
            );
            errors.forbidden(&name, detail);
        }
    }
}

/// The new specification with all that may change as it was.
fn with_allowed_changes(new: &Value, old: &Value) -> Value {
    let mut allowed = new.clone();
    for list in ["containers", "initContainers"] {
        let images = old.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let containers = allowed.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(images) {
            keep(container, &old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(&mut allowed, old, field);
    }
    let grace = |spec: &Value| spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    if grace(old).is_some_and(|grace| grace < 0) && grace(&allowed) == Some(1) {
        keep(&mut allowed, old, "terminationGracePeriodSeconds");
    }
    let gated = old.get("schedulingGates").and_then(Value::as_array);
    if gated.is_some_and(|gates| !gates.is_empty()) {
        gated_changes(&mut allowed, old);
    }
    allowed
}

/// A pod that is not yet to be scheduled may still be told more of where to run.
fn gated_changes(allowed: &mut Value, old: &Value) {
    let empty = json!({});
    let selector = |spec: &Value| spec.get("nodeSelector").cloned().unwrap_or(empty.clone());
    let (new_selector, old_selector) = (selector(allowed), selector(old));
    let only_more = old_selector
        .as_object()
        .is_some_and(|old| old.iter().all(|(key, value)| new_selector.get(key) == Some(value)));
    if only_more {
        keep(allowed, old, "nodeSelector");
    }
}

fn keep(value: &mut Value, old: &Value, field: &str) {
    let Value::Object(map) = value else { return };
    match old.get(field) {
        Some(old) => drop(map.insert(field.to_string(), old.clone())),
        None => drop(map.remove(field)),
    }
}
