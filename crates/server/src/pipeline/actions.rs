//! Subresources that are actions: binding a pod to a node, evicting it.

use std::sync::Arc;

use coracle_api::resources::{POD_DISRUPTION_BUDGETS, PODS};
use coracle_api::{Cause, Object, Status, Subresource};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::pipeline::content;
use crate::pipeline::reply::{Answer, Deleted, Reply};
use crate::pipeline::request::{Body, Request};
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::deletion::DeleteOptions;
use crate::pipeline::verbs::{delete, existing, map_at, text};
use crate::pipeline::write::{Prepared, WriteEnv};

const BINDING: &str = "io.k8s.api.core.v1.Binding";
/// How many pods a budget may remember as being evicted.
const DISRUPTED_MAX: usize = 2000;
/// When to try an eviction again, in seconds.
const RETRY_EVICTION: u32 = 10;

fn success() -> Reply {
    Reply::created(Answer::Success(Deleted::default()))
}

/// `pods/binding`: the scheduler has chosen a node.
pub(crate) fn binding(
    snapshot: &Snapshot,
    request: &Request,
    env: &WriteEnv<'_>,
) -> Result<Prepared, Status> {
    let body = content::other(request, BINDING)?;
    content::of_this_name(request, &body, "Binding")?;
    let node = target(&body)?;
    let pod = existing(snapshot, request)?;
    refuse_binding(request, pod, &body)?;
    let mut value = pod.value().clone();
    map_at(&mut value, "spec").insert("nodeName".into(), node.into());
    for (key, annotation) in body["metadata"]["annotations"].as_object().into_iter().flatten() {
        map_at(&mut value["metadata"], "annotations").insert(key.clone(), annotation.clone());
    }
    set_condition(&mut value, "PodScheduled", json!({"status": "True"}), &rfc3339(env.now));
    let object = Object::new(&request.kind, value).map_err(Status::internal)?;
    let mut prepared = Prepared::answered(success());
    prepared.writes = vec![Write::put(object, Expect::Revision(pod.revision()))];
    Ok(prepared)
}

/// The node that a Binding names. Upstream answers one that is none with a 500 without a reason.
fn target(binding: &Value) -> Result<&str, Status> {
    let wrong = |why: &str| Err(Status::failure(500, "", why));
    match (text(binding, "/target/kind"), text(binding, "/target/name")) {
        ("" | "Node", "") => wrong("target.name: Required value"),
        ("" | "Node", node) => Ok(node),
        (kind, _) => wrong(&format!(
            "target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""
        )),
    }
}

/// `bindings`, as schedulers once wrote it: the Binding has the name of its pod.
pub(crate) fn binding_of_its_own(
    snapshot: &Snapshot,
    request: &Request,
    env: &WriteEnv<'_>,
) -> Result<Prepared, Status> {
    let body = content::other(request, BINDING)?;
    target(&body)?;
    let pods = env.kinds.stored(PODS).cloned();
    let request = Request {
        kind: pods.ok_or_else(Status::no_such_path)?,
        name: text(&body, "/metadata/name").to_owned(),
        subresource: Some(Subresource::Binding),
        body: Body::Object(body),
        ..request.clone()
    };
    binding(snapshot, &request, env)
}

fn refuse_binding(request: &Request, pod: &Object, body: &Value) -> Result<(), Status> {
    let name = &request.name;
    let conflict = |why: String| {
        let message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
        Err(Status::failure(409, "Conflict", message).with_details(|details| {
            details.name = name.clone();
            details.kind = "pods/binding".into();
        }))
    };
    let uid = text(body, "/metadata/uid");
    if !uid.is_empty() && uid != pod.metadata().uid {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            pod.metadata().uid
        ));
    }
    if pod.metadata().is_deleting() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if pod.value()["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    match pod.str_at("/spec/nodeName") {
        Some(node) if !node.is_empty() => {
            conflict(format!("pod {name} is already assigned to node \"{node}\""))
        }
        _ => Ok(()),
    }
}

/// Sets the condition `ty` of `object` to `fields`, as of `now` when its status changes.
fn set_condition(object: &mut Value, ty: &str, fields: Value, now: &str) {
    let status = map_at(object, "status");
    let mut all = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let old = all.iter().position(|condition| condition["type"] == ty);
    let mut new = fields;
    new["type"] = ty.into();
    new["lastProbeTime"] = Value::Null;
    let since = old.and_then(|at| all.get(at)).filter(|old| old["status"] == new["status"]);
    new["lastTransitionTime"] =
        since.map_or_else(|| now.into(), |old| old["lastTransitionTime"].clone());
    match old.and_then(|at| all.get_mut(at)) {
        Some(place) => *place = new,
        None => all.push(new),
    }
    status.insert("conditions".into(), all.into());
}

/// `pods/eviction`: a deletion that asks the disruption budgets.
pub(crate) fn eviction(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Status> {
    let body = content::other(request, "io.k8s.api.policy.v1.Eviction")?;
    content::of_this_name(request, &body, "Eviction")?;
    let pod = existing(snapshot, request)?;
    let as_delete =
        Request { body: Body::Object(body["deleteOptions"].clone()), ..request.clone() };
    let options = match &body["deleteOptions"] {
        Value::Null => DeleteOptions::default(),
        _ => DeleteOptions::of(&as_delete)?,
    };
    let mut prepared = Prepared::answered(success());
    prepared.writes = if unguarded(pod) { Vec::new() } else { budget(snapshot, pod, env)? };
    let deletion = Request { subresource: None, body: Body::Empty, ..request.clone() };
    let deleted = delete::one(snapshot, &deletion, &options, pod, env)?;
    prepared.writes.extend(deleted.writes);
    prepared.requires.extend(deleted.requires);
    if options.dry_run {
        prepared.writes.clear();
    }
    Ok(prepared)
}

/// Pods that count for no budget: over, not started, or going already.
fn unguarded(pod: &Object) -> bool {
    pod.metadata().is_deleting()
        || matches!(pod.str_at("/status/phase"), Some("Succeeded" | "Failed" | "Pending"))
}

/// The write that takes one disruption from the pod's budget.
fn budget(snapshot: &Snapshot, pod: &Object, env: &WriteEnv<'_>) -> Result<Vec<Write>, Status> {
    let labels = &pod.metadata().labels;
    let budgets = snapshot.selecting(POD_DISRUPTION_BUDGETS, &pod.key().namespace, labels);
    let budget = match budgets.as_slice() {
        [] => return Ok(Vec::new()),
        [one] => one,
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction \
                       subresource does not support.";
            return Err(Status::failure(500, "InternalError", why));
        }
    };
    let ready = condition(pod, "Ready") == Some("True");
    let policy = budget.str_at("/spec/unhealthyPodEvictionPolicy");
    let healthy_enough = budget.value()["status"]["currentHealthy"].as_i64().unwrap_or(0)
        >= budget.value()["status"]["desiredHealthy"].as_i64().unwrap_or(0);
    if !ready && (policy == Some("AlwaysAllow") || healthy_enough) {
        return Ok(Vec::new());
    }
    take_one(budget, pod, env)
}

fn condition<'a>(object: &'a Object, ty: &str) -> Option<&'a str> {
    let all = object.value()["status"]["conditions"].as_array()?;
    all.iter().find(|condition| condition["type"] == ty)?["status"].as_str()
}

fn take_one(budget: &Arc<Object>, pod: &Object, env: &WriteEnv<'_>) -> Result<Vec<Write>, Status> {
    let (name, status) = (&budget.metadata().name, &budget.value()["status"]);
    let observed = status["observedGeneration"].as_i64().unwrap_or(0);
    if observed < budget.metadata().generation.unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(RETRY_EVICTION, why));
    }
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed <= 0 {
        let (needed, healthy) = (
            status["desiredHealthy"].as_i64().unwrap_or(0),
            status["currentHealthy"].as_i64().unwrap_or(0),
        );
        let why = format!(
            "The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        );
        // No time to wait is named: clients would wait it out unseen, ten times over.
        return Err(refused(0, why));
    }
    let mut value = budget.value().clone();
    let mut disrupted = status["disruptedPods"].as_object().cloned().unwrap_or_default();
    if disrupted.len() >= DISRUPTED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::failure(403, "Forbidden", why));
    }
    disrupted.insert(pod.metadata().name.clone(), rfc3339(env.now).into());
    let status = map_at(&mut value, "status");
    status.insert("disruptedPods".into(), disrupted.into());
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    let object = Object::with_resource(Arc::clone(&budget.key().resource), value)
        .map_err(Status::internal)?;
    Ok(vec![Write::put(object, Expect::Revision(budget.revision()))])
}

fn refused(retry_after: u32, why: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::failure(429, "TooManyRequests", message).with_details(|details| {
        details.retry_after_seconds = retry_after;
        details.causes =
            vec![Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() }];
    })
}
