//! ResourceQuota: what a namespace may hold. Judged by what the snapshot adds up to, and once more by
//! the store when it commits: of two writes at once that both fit, the second is judged again on
//! what the first has left. What is used is told by the quota's controller.

use coracle_api::quota::{Bounds, Scopes, Usage, usage};
use coracle_api::resources::{PODS, RESOURCE_QUOTAS};
use coracle_api::{Object, Quantity, Status, Subresource};
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;

/// What a container must say for a quota that bounds it.
const ASKED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Refuses what would exceed a quota.
pub(super) fn check(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let request = attributes.request;
    let counted = matches!(attributes.operation, Operation::Create | Operation::Update)
        && matches!(request.subresource, None | Some(Subresource::Resize))
        && !request.namespace.is_empty();
    if !counted {
        return Ok(());
    }
    let resource = request.kind.group_resource();
    let scopes = Scopes::of(&resource, value);
    let (before, after) = (attributes.old.map(Object::value), usage(&resource, value));
    for quota in attributes.snapshot.list(RESOURCE_QUOTAS, Some(&request.namespace)) {
        let bounds = Bounds::of(quota);
        if !bounds.covers(&scopes) {
            continue;
        }
        if resource == PODS && attributes.operation == Operation::Create {
            missing_requests(attributes, quota, &bounds, value)?;
        }
        let counted = |old: &&Value| bounds.covers(&Scopes::of(&resource, old));
        let before = before.filter(counted).map(|old| usage(&resource, old)).unwrap_or_default();
        let more = after.iter().filter_map(|(name, amount)| {
            let before = before.get(name).copied().unwrap_or(Quantity::ZERO);
            let more = amount.plus(before.negated());
            (more.signum() > 0).then(|| (name.clone(), more))
        });
        within(attributes, quota, &bounds, &more.collect(), value)?;
    }
    Ok(())
}

/// A quota on requests or limits demands that containers say theirs, or the pod for them all.
fn missing_requests(
    attributes: &Attributes<'_>,
    quota: &Object,
    bounds: &Bounds,
    pod: &Value,
) -> Result<(), Status> {
    let spec = &pod["spec"];
    let says = |part: &str| spec["resources"][part].as_object().is_some_and(|it| !it.is_empty());
    if says("requests") || says("limits") {
        return Ok(());
    }
    let containers =
        ["containers", "initContainers"].iter().flat_map(|field| spec[*field].as_array());
    let containers: Vec<&Value> = containers.flatten().collect();
    let mut missing = Vec::new();
    for name in ASKED.iter().filter(|name| bounds.hard.contains_key(**name)) {
        let (part, resource) = name.split_once('.').unwrap_or(("requests", name));
        let is_silent = |container: &&&Value| container["resources"][part].get(resource).is_none();
        let silent = containers.iter().filter(is_silent);
        let mut silent: Vec<&str> = silent.map(|container| text(container, "/name")).collect();
        silent.sort_unstable();
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

/// That the quota has `more` left.
fn within(
    attributes: &Attributes<'_>,
    quota: &Object,
    bounds: &Bounds,
    more: &Usage,
    object: &Value,
) -> Result<(), Status> {
    let used = attributes.snapshot.quota_use(quota);
    let (mut asked, mut had, mut bound) = (Vec::new(), Vec::new(), Vec::new());
    for (name, hard) in &bounds.hard {
        let Some(more) = more.get(name) else { continue };
        let before = used.get(name).copied().unwrap_or(Quantity::from_count(0));
        if before.plus(*more) > *hard {
            asked.push(format!("{name}={more}"));
            had.push(format!("{name}={before}"));
            bound.push(format!("{name}={hard}"));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let why = format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.metadata().name,
        asked.join(","),
        had.join(","),
        bound.join(",")
    );
    Err(attributes.forbidden(text(object, "/metadata/name"), why))
}
