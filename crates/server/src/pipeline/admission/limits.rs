//! LimitRanger: what containers, pods and claims of a namespace get when they do not say, and what
//! they may ask for.

use coracle_api::resources::{LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS};
use coracle_api::{Quantity, Status};
use serde_json::{Value, json};

use crate::pipeline::admission::pods::each_container;
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, text};
use crate::pipeline::write::WriteEnv;

/// The limits of `ty` (`Container`, `Pod`, `PersistentVolumeClaim`) in the namespace.
fn limits(attributes: &Attributes<'_>, ty: &str) -> Vec<Value> {
    let namespace = attributes.request.namespace.as_str();
    let ranges = attributes.snapshot.list(LIMIT_RANGES, Some(namespace));
    let items = ranges.flat_map(|range| range.value()["spec"]["limits"].as_array().cloned());
    items.flatten().filter(|limit| text(limit, "/type") == ty).collect()
}

/// Gives containers of a new pod what the namespace says by default.
pub(super) fn default(
    attributes: &mut Attributes<'_>,
    pod: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    if !attributes.is(Operation::Create, PODS) {
        return Ok(());
    }
    for limit in limits(attributes, "Container") {
        each_container(pod, |container| {
            fill(container, "limits", &limit["default"]);
            fill(container, "requests", &limit["defaultRequest"]);
        });
    }
    Ok(())
}

fn fill(container: &mut Value, part: &str, given: &Value) {
    for (name, amount) in given.as_object().into_iter().flatten() {
        let missing = container["resources"][part].get(name).is_none();
        if missing {
            map_at(map_at_value(container, "resources"), part).insert(name.clone(), amount.clone());
        }
    }
}

fn map_at_value<'a>(value: &'a mut Value, field: &str) -> &'a mut Value {
    map_at(value, field);
    &mut value[field]
}

/// Refuses what goes beyond the limits of the namespace.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let created = attributes.operation == Operation::Create;
    let grown = attributes.is(Operation::Update, PERSISTENT_VOLUME_CLAIMS);
    let mut errors = Vec::new();
    if attributes.is(Operation::Create, PODS) {
        for limit in limits(attributes, "Container") {
            for list in ["initContainers", "containers"] {
                for container in value["spec"][list].as_array().into_iter().flatten() {
                    errors.extend(beyond(&limit, &container["resources"]));
                }
            }
        }
        for limit in limits(attributes, "Pod") {
            errors.extend(beyond(&limit, &total(value)));
        }
    }
    if grown || (created && attributes.request.kind.is(PERSISTENT_VOLUME_CLAIMS)) {
        for limit in limits(attributes, "PersistentVolumeClaim") {
            let requests = &value["spec"]["resources"]["requests"];
            errors.extend(beyond(&limit, &json!({"requests": requests, "limits": requests})));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let why = match errors.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(attributes.forbidden(text(value, "/metadata/name"), why))
}

fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::from_json(value).ok()
}

/// What the containers of a pod ask for together.
fn total(pod: &Value) -> Value {
    let mut total = json!({"requests": {}, "limits": {}});
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        for part in ["requests", "limits"] {
            for (name, amount) in container["resources"][part].as_object().into_iter().flatten() {
                let sum = match (quantity(amount), quantity(&total[part][name])) {
                    (Some(more), Some(sum)) => sum.plus(more).to_string().into(),
                    _ => amount.clone(),
                };
                total[part][name] = sum;
            }
        }
    }
    total
}

/// The sentences for what of `resources` is outside of `limit`.
fn beyond(limit: &Value, resources: &Value) -> Vec<String> {
    let ty = text(limit, "/type");
    let bounds = |bound: &str| limit[bound].as_object().cloned().unwrap_or_default();
    let mut errors = Vec::new();
    for (name, min) in bounds("min") {
        let what = format!("minimum {name} usage per {ty} is {}", shown(&min));
        match (quantity(&resources["requests"][&name]), quantity(&min)) {
            (None, _) => errors.push(format!("{what}.  No request is specified")),
            (Some(asked), Some(min)) if asked < min => {
                errors.push(format!("{what}, but request is {asked}"));
            }
            _ => {}
        }
    }
    for (name, max) in bounds("max") {
        let what = format!("maximum {name} usage per {ty} is {}", shown(&max));
        match (quantity(&resources["limits"][&name]), quantity(&max)) {
            (None, _) => errors.push(format!("{what}.  No limit is specified")),
            (Some(asked), Some(max)) if asked > max => {
                errors.push(format!("{what}, but limit is {asked}"));
            }
            _ => {}
        }
    }
    for (name, ratio) in bounds("maxLimitRequestRatio") {
        let of = |part: &str| quantity(&resources[part][&name]).map(Quantity::milli_value);
        let (Some(request), Some(most), Some(ratio)) =
            (of("requests"), of("limits"), quantity(&ratio))
        else {
            continue;
        };
        if request > 0 && most as f64 / request as f64 > ratio.milli_value() as f64 / 1000.0 {
            let found = most as f64 / request as f64;
            errors.push(format!(
                "{name} max limit to request ratio per {ty} is {ratio}, but provided ratio is {found:.6}"
            ));
        }
    }
    errors
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_a_limit_is_named() {
        let limit = json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "1"}});
        let ask = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        assert!(beyond(&limit, &ask("100m", "1")).is_empty());
        assert_eq!(
            beyond(&limit, &ask("10m", "2")),
            [
                "minimum cpu usage per Container is 50m, but request is 10m",
                "maximum cpu usage per Container is 1, but limit is 2",
            ]
        );
    }
}
