//! Everything that is no workload.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{each, ensure, is_set, set, set_zero, text, within};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// How long a client keeps its backend: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// A Service.
pub fn service(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    set_zero(spec, "sessionAffinity", "None");
    session_affinity(spec);
    set_zero(spec, "type", "ClusterIP");
    each(spec, "ports", |port| {
        set_zero(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        set_zero(port, "targetPort", number);
    });
    let kind = text(spec, "type").to_string();
    let external_ips = spec.get("externalIPs").and_then(Value::as_array);
    let is_external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && external_ips.is_some_and(|ips| !ips.is_empty()));
    if is_external {
        set_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        // Upstream also sets ipMode on the ingress of the status. Here it stays unset: charts print
        // every field of the first ingress entry and mean its address.
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn session_affinity(spec: &mut Value) {
    let timeout = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_some();
    let is_client_ip = text(spec, "sessionAffinity") == "ClientIP";
    let is_none = text(spec, "sessionAffinity") == "None";
    let Value::Object(map) = spec else { return };
    if is_none {
        map.remove("sessionAffinityConfig");
    } else if is_client_ip && !timeout {
        let config = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
        map.insert("sessionAffinityConfig".into(), config);
    }
}

/// A Secret: what is written as text is stored as bytes.
pub fn secret(object: &mut Value) {
    set_zero(object, "type", "Opaque");
    let Value::Object(map) = object else { return };
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    if let Some(data) = ensure(object, "data")
        && let Value::Object(data) = data
    {
        for (key, value) in texts {
            let bytes = value.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(bytes).into());
        }
    }
}

/// A PersistentVolumeClaim.
pub fn persistent_volume_claim(object: &mut Value) {
    claim(object);
}

/// A claim, or the template of one.
pub(super) fn claim(object: &mut Value) {
    if let Some(spec) = ensure(object, "spec") {
        claim_spec(spec);
    }
    if let Some(status) = ensure(object, "status") {
        set_zero(status, "phase", "Pending");
    }
}

/// The specification of a claim, wherever it stands.
pub(super) fn claim_spec(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
    set(spec, "resources", Map::new());
}

/// A PersistentVolume.
pub fn persistent_volume(object: &mut Value) {
    if let Some(status) = ensure(object, "status") {
        set_zero(status, "phase", "Pending");
    }
    let Some(spec) = ensure(object, "spec") else { return };
    set_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    within(spec, "hostPath", |source| set(source, "type", ""));
}

/// A StorageClass.
pub fn storage_class(object: &mut Value) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}

/// A Namespace: it carries its name as a label.
pub fn namespace(object: &mut Value) {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    if name.as_str().is_some_and(|name| !name.is_empty())
        && let Some(metadata) = ensure(object, "metadata")
        && let Some(Value::Object(labels)) = ensure(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    if let Some(status) = ensure(object, "status") {
        set_zero(status, "phase", "Active");
    }
}

/// A RoleBinding or ClusterRoleBinding.
pub fn role_binding(object: &mut Value) {
    if let Some(role) = ensure(object, "roleRef") {
        set_zero(role, "apiGroup", RBAC_GROUP);
    }
    each(object, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set_zero(subject, "apiGroup", RBAC_GROUP);
        }
    });
}

/// A PriorityClass.
pub fn priority_class(object: &mut Value) {
    set(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// Endpoints.
pub fn endpoints(object: &mut Value) {
    each(object, "subsets", |subset| {
        each(subset, "ports", |port| set_zero(port, "protocol", "TCP"));
    });
}

/// An EndpointSlice.
pub fn endpoint_slice(object: &mut Value) {
    each(object, "ports", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    });
}

/// A NetworkPolicy: it is about what comes in, and about what goes out when it says so.
pub fn network_policy(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    if !is_set(spec, "policyTypes") {
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        set(spec, "policyTypes", types);
    }
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| each(rule, "ports", |port| set(port, "protocol", "TCP")));
    }
}

/// A LimitRange: limits and requests of containers follow from each other.
pub fn limit_range(object: &mut Value) {
    let Some(spec) = ensure(object, "spec") else { return };
    each(spec, "limits", |item| {
        if text(item, "type") == "Container" {
            copy_missing(item, "max", "default");
            copy_missing(item, "default", "defaultRequest");
            copy_missing(item, "min", "defaultRequest");
        }
    });
}

fn copy_missing(item: &mut Value, from: &str, to: &str) {
    let Some(source) = item.get(from).and_then(Value::as_object).cloned() else { return };
    if let Some(target) = ensure(item, to) {
        for (name, amount) in source {
            set(target, &name, amount);
        }
    }
}
