//! What variables and files show of their pod: `fieldRef` and `resourceFieldRef`.

use super::cursor::{Errors, Field};
use super::parts::quantity;
use crate::names;

/// What `resourceFieldRef` may show.
const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What `fieldRef` of a variable may show.
pub(super) const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A `fieldRef` that may name one of `fields`, or a label or annotation.
pub(super) fn field_reference(errors: &mut Errors, reference: &Field<'_>, fields: &[&str]) {
    let path = reference.child("fieldPath");
    for required in [reference.child("apiVersion"), path.clone()] {
        if required.is_empty() {
            errors.required(&required, "");
            return;
        }
    }
    let text = path.text();
    match text.strip_suffix("']").and_then(|text| text.split_once("['")) {
        Some(("metadata.annotations", key)) => {
            for sentence in names::qualified_name(&key.to_lowercase()) {
                errors.invalid_as(reference, &key.to_lowercase().into(), &sentence);
            }
        }
        Some(("metadata.labels", key)) => {
            for sentence in names::qualified_name(key) {
                errors.invalid_as(reference, &key.into(), &sentence);
            }
        }
        Some((other, _)) => errors.invalid(
            &path,
            format!("error converting fieldPath: field label does not support subscript: {other}"),
        ),
        None if fields.contains(&text) => {}
        None if ENV_FIELDS.contains(&text) || text.starts_with("metadata.") => {
            errors.not_supported(&path, fields);
        }
        None => errors.invalid(
            &path,
            format!("error converting fieldPath: field label not supported: {text}"),
        ),
    }
}

/// A `resourceFieldRef`; in a volume it must name the container.
pub(super) fn resource_reference(errors: &mut Errors, reference: &Field<'_>, in_volume: bool) {
    let (container, resource) = (reference.child("containerName"), reference.child("resource"));
    let huge = ["requests.hugepages-", "limits.hugepages-"];
    if in_volume && container.is_empty() {
        errors.required(&container, "");
    } else if resource.is_empty() {
        errors.required(&resource, "");
    } else if !huge.iter().any(|prefix| resource.text().starts_with(prefix)) {
        errors.one_of_if_set(&resource, &RESOURCE_FIELDS);
    }
    divisor(errors, &reference.child("divisor"), &resource);
}

fn divisor(errors: &mut Errors, divisor: &Field<'_>, resource: &Field<'_>) {
    const BYTES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    const ONLY_BYTES: &str = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the";
    if !divisor.is_set() || quantity(divisor).signum() == 0 {
        return;
    }
    let value = quantity(divisor).to_string();
    let (allowed, detail): (&[&str], String) = match resource.text().split_once('.') {
        Some((_, "cpu")) => (
            &["1m", "1"],
            "only divisor's values 1m and 1 are supported with the cpu resource".to_string(),
        ),
        Some((_, "memory")) => (&BYTES, format!("{ONLY_BYTES} memory resource")),
        Some((_, "ephemeral-storage")) => {
            (&BYTES, format!("{ONLY_BYTES} local ephemeral storage resource"))
        }
        Some((_, name)) if name.starts_with("hugepages-") => {
            (&BYTES, format!("{ONLY_BYTES} hugepages resource"))
        }
        _ => return,
    };
    if !allowed.contains(&value.as_str()) {
        errors.invalid_as(divisor, resource.value, &detail);
    }
}
