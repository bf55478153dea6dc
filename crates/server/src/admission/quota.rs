//! ResourceQuota: what a namespace may hold, counted in the same transaction as what is added, so
//! that two writes at once cannot both take the last place.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Object, Quantity, Status};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::admission::{Attributes, Operation};
use crate::verbs::{map_at, text};

/// What something takes of each resource that a quota can bound.
type Usage = BTreeMap<String, Quantity>;

/// Refuses what would exceed a quota, and counts what does not.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let request = attributes.request;
    let counted = matches!(attributes.operation, Operation::Create | Operation::Update)
        && request.subresource.is_empty()
        && !request.namespace.is_empty()
        && request.kind.plural != "resourcequotas";
    if !counted {
        return Ok(());
    }
    let snapshot = attributes.snapshot;
    let quotas: Vec<&Arc<Object>> =
        snapshot.list("resourcequotas", Some(&request.namespace)).collect();
    if quotas.is_empty() {
        return Ok(());
    }
    let plural = request.kind.group_resource();
    let mut added = usage(&plural, value);
    if let Some(old) = attributes.old {
        for (name, before) in usage(&plural, old.value()) {
            let now = added.remove(&name).unwrap_or(Quantity::from_count(0));
            added.insert(name, now.plus(before.negated()));
        }
    }
    added.retain(|_, amount| amount.signum() > 0);
    for quota in quotas {
        if !in_scope(quota, &plural, value) {
            continue;
        }
        missing_requests(attributes, quota, &plural, value)?;
        if let Some(write) = charge(attributes, quota, &added, value)? {
            attributes.writes.push(write);
        }
    }
    Ok(())
}

/// What an object of `plural` takes.
pub(crate) fn usage(plural: &str, object: &Value) -> Usage {
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

fn amounts(resources: &Value) -> impl Iterator<Item = (String, Quantity)> {
    let all = resources.as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount).ok()?)))
}

/// Whether the quota's scopes are the object's; only pods have any.
fn in_scope(quota: &Object, plural: &str, object: &Value) -> bool {
    let spec = &quota.value()["spec"];
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

/// A quota on requests or limits demands that pods say theirs.
fn missing_requests(
    attributes: &Attributes<'_>,
    quota: &Object,
    plural: &str,
    pod: &Value,
) -> Result<(), Status> {
    if plural != "pods" || attributes.operation != Operation::Create {
        return Ok(());
    }
    let hard = quota.value()["spec"]["hard"].as_object().cloned().unwrap_or_default();
    let mut missing = Vec::new();
    for name in hard.keys() {
        let (part, resource) = match name.split_once('.') {
            Some((part @ ("requests" | "limits"), resource)) => (part, resource),
            None if matches!(name.as_str(), "cpu" | "memory") => ("requests", name.as_str()),
            _ => continue,
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let silent: Vec<&str> = containers
            .filter(|container| container["resources"][part].get(resource).is_none())
            .map(|container| text(container, "/name"))
            .collect();
        if !silent.is_empty() {
            missing.push(format!("{name} for: {}", silent.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let name = &quota.metadata().name;
    let why = format!("failed quota: {name}: must specify {}", missing.join("; "));
    Err(attributes.forbidden(text(pod, "/metadata/name"), why))
}

/// The write that adds `added` to what the quota counts; `None` when it bounds none of it.
fn charge(
    attributes: &Attributes<'_>,
    quota: &Arc<Object>,
    added: &Usage,
    object: &Value,
) -> Result<Option<Write>, Status> {
    let mut used = used(attributes.snapshot, quota);
    let (mut asked, mut had, mut bound) = (Vec::new(), Vec::new(), Vec::new());
    let mut touched = false;
    for (name, hard) in amounts(&quota.value()["spec"]["hard"]) {
        let Some(more) = added.get(&name) else { continue };
        touched = true;
        let before = used.get(&name).copied().unwrap_or(Quantity::from_count(0));
        let after = before.plus(*more);
        if after > hard {
            asked.push(format!("{name}={more}"));
            had.push(format!("{name}={before}"));
            bound.push(format!("{name}={hard}"));
        }
        used.insert(name, after);
    }
    if !asked.is_empty() {
        let why = format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.metadata().name,
            asked.join(","),
            had.join(","),
            bound.join(",")
        );
        return Err(attributes.forbidden(text(object, "/metadata/name"), why));
    }
    if !touched {
        return Ok(None);
    }
    let mut value = quota.value().clone();
    let hard = value["spec"]["hard"].clone();
    let shown: BTreeMap<&String, String> =
        used.iter().map(|(name, amount)| (name, amount.to_string())).collect();
    let shown = json!(shown);
    let status = map_at(&mut value, "status");
    status.insert("hard".into(), hard);
    status.insert("used".into(), shown);
    let object = Object::with_resource(Arc::clone(&quota.key().resource), value)
        .map_err(Status::internal)?;
    Ok(Some(Write::put(object, Expect::Revision(quota.revision()))))
}

/// What the namespace holds now of what `quota` bounds: counted, not remembered, so that what was
/// deleted since is not in it.
fn used(snapshot: &Snapshot, quota: &Object) -> Usage {
    let namespace = Some(&*quota.key().namespace);
    let hard: Vec<String> = amounts(&quota.value()["spec"]["hard"]).map(|(name, _)| name).collect();
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
        for object in snapshot.list(plural, namespace) {
            if !in_scope(quota, plural, object.value()) {
                continue;
            }
            for (name, amount) in usage(plural, object.value()) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.plus(amount);
                }
            }
        }
    }
    used
}
