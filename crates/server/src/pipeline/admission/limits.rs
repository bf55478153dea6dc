//! LimitRanger: what containers, pods and claims of a namespace get when they do not say, and what
//! they may ask for.

use std::collections::BTreeSet;

use coracle_api::pod_resources::{self, Amounts, amounts, requests};
use coracle_api::resources::{LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS};
use coracle_api::{Quantity, Status};
use serde_json::Value;

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

/// Refuses what goes beyond the limits of the namespace; each sentence is said once.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    if attributes.is(Operation::Create, PODS) || attributes.resizes() {
        for limit in limits(attributes, "Container") {
            for list in ["initContainers", "containers"] {
                for container in value["spec"][list].as_array().into_iter().flatten() {
                    let part = |part: &str| amounts(&container["resources"][part]).collect();
                    errors.extend(beyond(&limit, &part("requests"), &part("limits")));
                }
            }
        }
        let (requests, most) = (requests(&value["spec"]), pod_resources::limits(&value["spec"]));
        for limit in limits(attributes, "Pod") {
            errors.extend(beyond(&limit, &requests, &most));
        }
    }
    if attributes.puts(PERSISTENT_VOLUME_CLAIMS) {
        let requests = amounts(&value["spec"]["resources"]["requests"]).collect();
        for limit in limits(attributes, "PersistentVolumeClaim") {
            errors.extend(requests_beyond(&limit, &requests));
        }
    }
    let mut said = BTreeSet::new();
    errors.retain(|error| said.insert(error.clone()));
    let why = match errors.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(attributes.forbidden(text(value, "/metadata/name"), why))
}

/// The bounds of one kind in a limit, in the order of their resources.
fn bounds<'a>(limit: &'a Value, bound: &str) -> impl Iterator<Item = (&'a str, Quantity, String)> {
    let all = limit[bound].as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| {
        Some((name.as_str(), Quantity::from_json(amount).ok()?, shown(amount)))
    })
}

/// The sentences for what of a container or pod is outside of `limit`. As upstream's `LimitRanger`.
fn beyond(limit: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let ty = text(limit, "/type");
    let mut errors = Vec::new();
    for (name, min, text) in bounds(limit, "min") {
        let what = format!("minimum {name} usage per {ty} is {text}");
        match (requests.get(name), limits.get(name)) {
            (None, _) => errors.push(format!("{what}.  No request is specified")),
            (Some(asked), _) if *asked < min => {
                errors.push(format!("{what}, but request is {asked}"));
            }
            (_, Some(most)) if *most < min => errors.push(format!("{what}, but limit is {most}")),
            _ => {}
        }
    }
    for (name, max, text) in bounds(limit, "max") {
        let what = format!("maximum {name} usage per {ty} is {text}");
        match (requests.get(name), limits.get(name)) {
            (_, None) => errors.push(format!("{what}.  No limit is specified")),
            (_, Some(most)) if *most > max => errors.push(format!("{what}, but limit is {most}")),
            (Some(asked), _) if *asked > max => {
                errors.push(format!("{what}, but request is {asked}"));
            }
            _ => {}
        }
    }
    for (name, ratio, text) in bounds(limit, "maxLimitRequestRatio") {
        let what = format!("{name} max limit to request ratio per {ty} is {text}");
        let of = |amounts: &Amounts| amounts.get(name).map_or(0, |amount| amount.milli_value());
        let (request, most) = (of(requests) as f64, of(limits) as f64);
        if request == 0.0 {
            errors.push(format!("{what}, but no request is specified or request is 0"));
        } else if most == 0.0 {
            errors.push(format!("{what}, but no limit is specified or limit is 0"));
        } else if most / request > ratio.milli_value() as f64 / 1000.0 {
            errors.push(format!("{what}, but provided ratio is {:.6}", most / request));
        }
    }
    errors
}

/// The sentences for what a claim asks for outside of `limit`.
fn requests_beyond(limit: &Value, requests: &Amounts) -> Vec<String> {
    let ty = text(limit, "/type");
    let bound =
        |which: &'static str, word: &'static str, is_beyond: fn(&Quantity, &Quantity) -> bool| {
            bounds(limit, which).filter_map(move |(name, bound, text)| {
                let what = format!("{word} {name} usage per {ty} is {text}");
                match requests.get(name) {
                    None => Some(format!("{what}.  No request is specified")),
                    Some(asked) => {
                        is_beyond(asked, &bound).then(|| format!("{what}, but request is {asked}"))
                    }
                }
            })
        };
    bound("min", "minimum", PartialOrd::lt).chain(bound("max", "maximum", PartialOrd::gt)).collect()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(limit: &Value, asked: &Value, most: &Value) -> Vec<String> {
        beyond(limit, &amounts(asked).collect(), &amounts(most).collect())
    }

    #[test]
    fn what_is_outside_of_a_limit_is_named() {
        let limit = json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "1"}});
        let cpu = |amount: &str| json!({"cpu": amount});
        assert!(told(&limit, &cpu("100m"), &cpu("1")).is_empty());
        assert_eq!(
            told(&limit, &cpu("10m"), &cpu("2")),
            [
                "minimum cpu usage per Container is 50m, but request is 10m",
                "maximum cpu usage per Container is 1, but limit is 2",
            ]
        );
        assert_eq!(
            told(&limit, &json!({}), &json!({})),
            [
                "minimum cpu usage per Container is 50m.  No request is specified",
                "maximum cpu usage per Container is 1.  No limit is specified",
            ]
        );
    }

    #[test]
    fn a_ratio_needs_both_its_sides() {
        let limit = json!({"type": "Pod", "maxLimitRequestRatio": {"memory": "2"}});
        let memory = |amount: &str| json!({"memory": amount});
        let what = "memory max limit to request ratio per Pod is 2, but";
        for (asked, most, why) in [
            (json!({}), memory("1Gi"), "no request is specified or request is 0"),
            (memory("1Gi"), json!({}), "no limit is specified or limit is 0"),
            (memory("1Gi"), memory("3Gi"), "provided ratio is 3.000000"),
        ] {
            assert_eq!(told(&limit, &asked, &most), [format!("{what} {why}")]);
        }
        assert!(told(&limit, &memory("1Gi"), &memory("2Gi")).is_empty());
    }

    #[test]
    fn a_claim_is_told_what_it_requests() {
        let limit = json!({"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}});
        let asked = amounts(&json!({"storage": "20Gi"})).collect();
        assert_eq!(
            requests_beyond(&limit, &asked),
            ["maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"]
        );
    }
}
