//! What a pod can be told of itself: the downward API's fields. Pure.

use std::collections::BTreeMap;

use coracle_api::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;

/// What the node has for pods: what a container without a limit is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocatable {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
}

/// A field that cannot be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// There is no such field.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// There is no such resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// The divisor is no quantity.
    #[error("invalid divisor {0:?}")]
    Divisor(String),
}

/// The value of `fieldRef.fieldPath`.
///
/// # Errors
/// [`FieldError::Path`].
pub(crate) fn pod_field(pod: &Pod, path: &str) -> Result<String, FieldError> {
    let (metadata, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(FieldError::Path(path.to_owned())),
        };
        return text(map.and_then(|map| map.get(key)));
    }
    match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => Ok(format_map(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(format_map(metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => text(status.and_then(|status| status.host_ip.as_ref())),
        "status.hostIPs" => {
            let ips = status.and_then(|status| status.host_ips.as_ref()).into_iter().flatten();
            Ok(ips.map(|ip| ip.ip.clone()).collect::<Vec<_>>().join(","))
        }
        "status.podIP" => text(status.and_then(|status| status.pod_ip.as_ref())),
        "status.podIPs" => {
            let ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
            Ok(ips.map(|ip| ip.ip.clone()).collect::<Vec<_>>().join(","))
        }
        _ => Err(FieldError::Path(path.to_owned())),
    }
}

/// `metadata.labels['app']` is the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, by key.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of `resourceFieldRef`, in units of its divisor, rounded up.
///
/// # Errors
/// [`FieldError::Resource`], [`FieldError::Divisor`].
pub(crate) fn resource_field(
    container: &Container,
    field: &ResourceFieldSelector,
    node: &Allocatable,
) -> Result<String, FieldError> {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let (from, name) = match field.resource.split_once('.') {
        Some(("limits", name)) => (limits, name),
        Some(("requests", name)) => (requests, name),
        _ => return Err(FieldError::Resource(field.resource.clone())),
    };
    let amount = from.and_then(|map| map.get(name)).and_then(|it| Quantity::parse(&it.0).ok());
    let is_limit = field.resource.starts_with("limits.");
    let fallback = |whole: i64| if is_limit { whole } else { 0 };
    let divisor = field.divisor.as_ref().map_or("1", |Amount(text)| text.as_str());
    let divisor = if divisor == "0" { "1" } else { divisor };
    let parsed = Quantity::parse(divisor).map_err(|_| FieldError::Divisor(divisor.to_owned()))?;
    // Milli-units: cores are divided by "1m", bytes by "1Mi".
    let (value, unit) = match name {
        "cpu" => {
            let value = amount.map_or_else(|| fallback(node.milli_cpu), Quantity::milli_value);
            (value, parsed.milli_value())
        }
        "memory" => (amount.map_or_else(|| fallback(node.memory), Quantity::value), parsed.value()),
        "ephemeral-storage" => {
            let value = amount.map_or_else(|| fallback(node.ephemeral_storage), Quantity::value);
            (value, parsed.value())
        }
        _ if name.starts_with("hugepages-") => (amount.map_or(0, Quantity::value), parsed.value()),
        _ => return Err(FieldError::Resource(field.resource.clone())),
    };
    Ok(value
        .div_euclid(unit.max(1))
        .saturating_add(i64::from(value % unit.max(1) != 0))
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_the_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                "labels": {"app": "web", "a.b/c": "x \"y\""}},
            "spec": {"nodeName": "node-1", "serviceAccountName": "sa", "containers": []},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.0.0.9"},
        }))
        .unwrap();
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a.b/c=\"x \\\"y\\\"\"\napp=\"web\""),
            ("spec.serviceAccountName", "sa"),
            ("status.podIPs", "10.0.0.1"),
        ] {
            assert_eq!(pod_field(&pod, path).as_deref(), Ok(value), "{path}");
        }
        assert!(pod_field(&pod, "spec.containers").is_err());
    }

    #[test]
    fn resources_in_units_of_the_divisor() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}},
        }))
        .unwrap();
        let node = Allocatable { milli_cpu: 2000, memory: 1 << 30, ephemeral_storage: 0 };
        for (resource, divisor, value) in [
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "0", "67108864"),
            ("requests.cpu", "1", "1"),
            ("requests.cpu", "1m", "250"),
            ("limits.cpu", "1", "2"),
            ("requests.memory", "1", "0"),
        ] {
            let field = serde_json::from_value(json!({"resource": resource, "divisor": divisor}));
            let found = resource_field(&container, &field.unwrap(), &node);
            assert_eq!(found.as_deref(), Ok(value), "{resource} / {divisor}");
        }
    }
}
