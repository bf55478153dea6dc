//! ResourceQuotas: what objects take of what a quota bounds, and how much is taken together.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Quantity;

/// An amount of each resource that a quota can bound.
pub type Usage = BTreeMap<String, Quantity>;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What an object of `plural` takes.
pub fn usage(plural: &str, object: &Value) -> Usage {
    let one = Quantity::from_count(1);
    let mut usage = Usage::from([(format!("count/{plural}"), one)]);
    match plural {
        "pods" if !is_over(object) => {
            usage.insert("pods".into(), one);
            usage.extend(pod_usage(&object["spec"]));
        }
        "persistentvolumeclaims" => {
            usage.insert(plural.into(), one);
            let asked = &object["spec"]["resources"]["requests"]["storage"];
            if let Ok(asked) = Quantity::from_json(asked) {
                usage.insert("requests.storage".into(), asked);
                let class = text(object, "/spec/storageClassName");
                if !class.is_empty() {
                    let of_class = format!("{class}.storageclass.storage.k8s.io");
                    usage.insert(format!("{of_class}/requests.storage"), asked);
                    usage.insert(format!("{of_class}/persistentvolumeclaims"), one);
                }
            }
        }
        "services" => {
            usage.insert(plural.into(), one);
            let ports = object["spec"]["ports"].as_array().map_or(0, Vec::len);
            let ports = Quantity::from_count(i64::try_from(ports).unwrap_or(i64::MAX));
            match text(object, "/spec/type") {
                "NodePort" => drop(usage.insert("services.nodeports".into(), ports)),
                "LoadBalancer" => {
                    usage.insert("services.loadbalancers".into(), one);
                    usage.insert("services.nodeports".into(), ports);
                }
                _ => {}
            }
        }
        "configmaps" | "secrets" | "replicationcontrollers" => {
            usage.insert(plural.into(), one);
        }
        _ => {}
    }
    usage
}

fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Requests and limits: the larger of what the containers take together and of what any init
/// container takes.
fn pod_usage(spec: &Value) -> Usage {
    let mut usage = Usage::new();
    for part in ["requests", "limits"] {
        let mut sum: Usage = Usage::new();
        for container in spec["containers"].as_array().into_iter().flatten() {
            for (name, amount) in amounts(&container["resources"][part]) {
                let total = sum.remove(&name).map_or(amount, |sum| sum.plus(amount));
                sum.insert(name, total);
            }
        }
        for container in spec["initContainers"].as_array().into_iter().flatten() {
            for (name, amount) in amounts(&container["resources"][part]) {
                let most = sum.remove(&name).map_or(amount, |sum| sum.max(amount));
                sum.insert(name, most);
            }
        }
        for (name, amount) in sum {
            if part == "requests" && matches!(&*name, "cpu" | "memory" | "ephemeral-storage") {
                usage.insert(name.clone(), amount);
            }
            usage.insert(format!("{part}.{name}"), amount);
        }
    }
    usage
}

/// The quantities in a map of resources; what is no quantity is passed over.
pub fn amounts(resources: &Value) -> impl Iterator<Item = (String, Quantity)> {
    let all = resources.as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?)))
}

/// Whether the quota's scopes are the object's; only pods have any.
pub fn in_scope(quota: &Value, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let plain = plain.map(|scope| (scope, "Exists", Vec::new()));
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let selected = selected.map(|term| {
        let values = term["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        (text(term, "/scopeName"), text(term, "/operator"), values.collect())
    });
    plain.chain(selected).all(|(scope, operator, values)| {
        plural == "pods" && has_scope(object, scope, operator, &values)
    })
}

fn has_scope(pod: &Value, scope: &str, operator: &str, values: &[&str]) -> bool {
    let best_effort = pod_usage(&pod["spec"]).is_empty();
    let terminating = pod["spec"]["activeDeadlineSeconds"].is_i64();
    match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "PriorityClass" => {
            let class = text(pod, "/spec/priorityClassName");
            match operator {
                "In" => values.contains(&class),
                "NotIn" => !values.contains(&class),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        _ => false,
    }
}

/// What is taken now of what `quota` bounds; `objects` lists those of a GroupResource in the
/// quota's namespace.
pub fn used<'a>(quota: &Value, objects: impl Fn(&str) -> Vec<&'a Value>) -> Usage {
    let hard: Vec<String> = amounts(&quota["spec"]["hard"]).map(|(name, _)| name).collect();
    let mut plurals: Vec<&str> = hard
        .iter()
        .map(|name| match name.strip_prefix("count/") {
            Some(plural) => plural,
            None if name.contains("storage") || name.contains("persistentvolumeclaims") => {
                "persistentvolumeclaims"
            }
            None if name.starts_with("services") => "services",
            None if matches!(
                name.as_str(),
                "configmaps" | "secrets" | "replicationcontrollers"
            ) =>
            {
                name
            }
            None => "pods",
        })
        .collect();
    plurals.sort_unstable();
    plurals.dedup();
    let mut used: Usage = hard.iter().map(|name| (name.clone(), Quantity::from_count(0))).collect();
    for plural in plurals {
        for object in objects(plural) {
            if !in_scope(quota, plural, object) {
                continue;
            }
            for (name, amount) in usage(plural, object) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.plus(amount);
                }
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_that_are_over_take_nothing_and_init_containers_count_where_they_take_more() {
        let pod = |phase: &str| {
            json!({
                "status": {"phase": phase},
                "spec": {
                    "initContainers": [{"resources": {"requests": {"cpu": "300m"}}}],
                    "containers": [
                        {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                        {"resources": {"requests": {"cpu": "100m"}}},
                    ],
                },
            })
        };
        let (running, over) = (pod("Running"), pod("Succeeded"));
        let hard =
            json!({"pods": "9", "requests.cpu": "9", "requests.memory": "9Gi", "secrets": "1"});
        let quota = json!({"spec": {"hard": hard}});
        let used = used(&quota, |plural| match plural {
            "pods" => vec![&running, &over, &running],
            _ => vec![],
        });
        let used: Vec<String> = used.iter().map(|(name, sum)| format!("{name}={sum}")).collect();
        assert_eq!(used, ["pods=2", "requests.cpu=600m", "requests.memory=2Gi", "secrets=0"]);
    }
}
