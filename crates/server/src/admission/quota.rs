//! ResourceQuota: what a namespace may hold, counted in the same transaction as what is added, so
//! that two writes at once cannot both take the last place.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::quota::{self, Usage, amounts, in_scope, usage};
use coracle_api::{Object, Quantity, Status};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::admission::{Attributes, Operation};
use crate::verbs::{map_at, text};

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
        if !in_scope(quota.value(), &plural, value) {
            continue;
        }
        missing_requests(attributes, quota, &plural, value)?;
        if let Some(write) = charge(attributes, quota, &added, value)? {
            attributes.writes.push(write);
        }
    }
    Ok(())
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
    quota::used(quota.value(), |plural| {
        snapshot.list(plural, namespace).map(|object| object.value()).collect()
    })
}
