//! Changes of a part of a pod: its status, and the resources of its containers.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::{container, parts};
use crate::defaults::initial::quality_of_service;
use crate::{FieldError, names, semantic};

/// A change of a pod's status.
pub fn pod_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let status = |object| Field::root(object).child("status");
        let (status, old) = (status(new), status(old));
        let nominated = status.child("nominatedNodeName");
        if !nominated.is_empty() {
            parts::dns_subdomain(errors, &nominated);
        }
        addresses(errors, &status);
        let class = status.child("qosClass");
        if !class.is_empty() && !old.child("qosClass").is_empty() {
            parts::immutable(errors, &class, &old.child("qosClass"));
        }
        let generation = status.child("observedGeneration");
        if generation.int() < 0 {
            errors.invalid(&generation, "must be greater than or equal to 0");
        }
        for condition in status.child("conditions").items() {
            // Upstream's path has the name that Go gives the field.
            let kind = condition.child("type");
            let kind = Field { path: format!("{}.Type", condition.path), ..kind };
            parts::label_name(errors, &kind);
            if condition.child("observedGeneration").int() < 0 {
                let generation = condition.child("observedGeneration");
                errors.invalid(&generation, "must be greater than or equal to 0");
            }
        }
    })
}

/// `podIP` is the first of `podIPs`; each is an address, and there is one of a family.
fn addresses(errors: &mut Errors, status: &Field<'_>) {
    let (one, many) = (status.child("podIP"), status.child("podIPs"));
    let mut all: Vec<Field<'_>> = many.items().map(|entry| entry.child("ip")).collect();
    if all.is_empty() && !one.is_empty() {
        all.push(one);
    }
    for (index, ip) in all.iter().enumerate() {
        let place = Field { path: format!("{}[{index}]", many.path), ..ip.clone() };
        errors.all_invalid(&place, names::ip_address(ip.text()));
    }
}

/// A change of the resources of a pod that runs.
pub fn pod_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        if quality_of_service(new) != quality_of_service(old) {
            let spec = Field::root(new).child("spec");
            let why = "Pod QOS Class may not change as a result of resizing";
            errors.invalid_as(&spec, &quality_of_service(new).into(), why);
        }
        for list in ["containers", "initContainers"] {
            let of = |object| Field::root(object).descend(&["spec", list]);
            for (after, before) in of(new).items().zip(of(old).items()) {
                let (after, before) = (after.child("resources"), before.child("resources"));
                container::resources(errors, &after);
                only_cpu_and_memory(errors, &after, &before);
            }
        }
    })
}

fn only_cpu_and_memory(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    let fixed = |resources: &Field<'_>| {
        let mut rest = resources.value.clone();
        for list in ["requests", "limits"] {
            if let Some(Value::Object(amounts)) = rest.get_mut(list) {
                amounts.retain(|name, _| !["cpu", "memory"].contains(&name.as_str()));
            }
        }
        rest
    };
    if !semantic::equal(&fixed(new), &fixed(old)) {
        errors.forbidden(new, "only cpu and memory resources are mutable");
    }
}
