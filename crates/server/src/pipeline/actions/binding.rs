//! `pods/binding`, and `bindings`: the scheduler has chosen a node.

use coracle_api::conditions;
use coracle_api::resources::PODS;
use coracle_api::{Object, Status, Subresource};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::pipeline::actions::success;
use crate::pipeline::admission;
use crate::pipeline::content;
use crate::pipeline::request::{Body, Request};
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::{existing, map_at, text};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};

const BINDING: &str = "io.k8s.api.core.v1.Binding";

/// `pods/binding`: the scheduler has chosen a node.
pub(crate) fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let body = content::other(request, BINDING)?;
    content::of_this_name(request, &body, "Binding")?;
    target(&body)?;
    let pod = existing(snapshot, request)?;
    refuse_binding(request, pod, &body)?;
    let (body, warnings) = admission::act(snapshot, request, body, BINDING, env)?;
    let node = target(&body)?;
    let mut value = pod.value().clone();
    map_at(&mut value, "spec").insert("nodeName".into(), node.into());
    for (key, annotation) in body["metadata"]["annotations"].as_object().into_iter().flatten() {
        map_at(&mut value["metadata"], "annotations").insert(key.clone(), annotation.clone());
    }
    set_condition(&mut value, "PodScheduled", json!({"status": "True"}), &rfc3339(env.now));
    // The node that was kept free for it is this one, or is free for others again.
    map_at(&mut value, "status").remove("nominatedNodeName");
    let object = Object::new(&request.kind, value).map_err(Status::internal)?;
    let mut prepared = Prepared::answered(success());
    prepared.writes = vec![Write::put(object, Expect::Revision(pod.revision()))];
    prepared.warnings = warnings;
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
pub(crate) fn prepare_named(
    snapshot: &Snapshot,
    request: &Request,
    env: &WriteEnv<'_>,
) -> Result<Prepared, Stop> {
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
    prepare(snapshot, &request, env)
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
    let mut new = fields;
    new["type"] = ty.into();
    new["lastProbeTime"] = Value::Null;
    conditions::set(&mut all, new, now);
    status.insert("conditions".into(), all.into());
}
