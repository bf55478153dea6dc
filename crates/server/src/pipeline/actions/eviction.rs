//! `pods/eviction`: a deletion that asks the disruption budgets.

use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::POD_DISRUPTION_BUDGETS;
use coracle_api::{Cause, Object, Status, conditions};
use coracle_store::{Expect, Snapshot, Write};

use crate::pipeline::actions::success;
use crate::pipeline::admission;
use crate::pipeline::content;
use crate::pipeline::request::{Body, Request};
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::deletion::DeleteOptions;
use crate::pipeline::verbs::{delete, existing, map_at};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};
use serde_json::{Value, json};

const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
/// How many pods a budget may remember as being evicted.
const DISRUPTED_MAX: usize = 2000;
/// When to try an eviction again, in seconds.
const RETRY_EVICTION: u32 = 10;

/// `pods/eviction`: a deletion that asks the disruption budgets.
pub(crate) fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let body = content::other(request, EVICTION)?;
    content::of_this_name(request, &body, "Eviction")?;
    let pod = existing(snapshot, request)?;
    let (body, warnings) = admission::act(snapshot, request, body, EVICTION, env)?;
    let as_delete =
        Request { body: Body::Object(body["deleteOptions"].clone()), ..request.clone() };
    let options = match &body["deleteOptions"] {
        Value::Null => DeleteOptions::default(),
        _ => DeleteOptions::of(&as_delete)?,
    };
    let mut prepared = Prepared::answered(success());
    prepared.warnings = warnings;
    prepared.writes = if unguarded(pod) { Vec::new() } else { budget(snapshot, pod, env)? };
    let deletion = Request { subresource: None, body: Body::Empty, ..request.clone() };
    let deleted = delete::one(snapshot, &deletion, &options, &marked(pod, env)?, env)?;
    prepared.writes.extend(deleted.writes);
    prepared.requires.extend(deleted.requires);
    prepared.warnings.extend(deleted.warnings);
    if options.dry_run {
        prepared.writes.clear();
    }
    Ok(prepared)
}

/// The pod, which says why it goes.
fn marked(pod: &Arc<Object>, env: &WriteEnv<'_>) -> Result<Arc<Object>, Status> {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    if let Some(generation) = pod.metadata().generation {
        condition["observedGeneration"] = generation.into();
    }
    let mut value = pod.value().clone();
    let mut all = conditions::all(&value).to_vec();
    conditions::set(&mut all, condition, &rfc3339(env.now));
    map_at(&mut value, "status").insert("conditions".into(), all.into());
    let marked = Object::with_resource(Arc::clone(&pod.key().resource), value);
    marked.map(Arc::new).map_err(Status::internal)
}

/// Pods that count for no budget: over, not started, or going already.
fn unguarded(pod: &Object) -> bool {
    pod.metadata().is_deleting() || pod.has_ended() || pod.phase() == "Pending"
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
    let ready = pod.is_ready();
    let policy = budget.str_at("/spec/unhealthyPodEvictionPolicy");
    let count = |field: &str| budget.value()["status"][field].as_i64().unwrap_or(0);
    let desired = count("desiredHealthy");
    let healthy_enough = desired > 0 && count("currentHealthy") >= desired;
    if !ready && (policy == Some("AlwaysAllow") || healthy_enough) {
        return Ok(Vec::new());
    }
    take_one(budget, pod, env)
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
