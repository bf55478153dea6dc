//! NamespaceLifecycle: nothing is created in a namespace that is missing or going.

use coracle_api::resources::NAMESPACES;
use coracle_api::{Cause, Status};
use coracle_store::Expect;
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;
use crate::pipeline::write::WriteEnv;

/// Namespaces that the cluster cannot do without.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// A new object's namespace must be there, and stay until the object is.
pub(super) fn exists(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let request = attributes.request;
    if attributes.operation != Operation::Create || request.namespace.is_empty() {
        return Ok(());
    }
    let Some(namespace) = attributes.snapshot.find(NAMESPACES, "", &request.namespace) else {
        return Err(missing(&request.namespace, env));
    };
    let expect = Expect::Revision(namespace.revision());
    attributes.requires.push((namespace.key().clone(), expect));
    let phase = namespace.str_at("/status/phase").unwrap_or_default();
    if !namespace.metadata().is_deleting() && phase != "Terminating" {
        return Ok(());
    }
    let name = &request.namespace;
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let status = attributes.forbidden(text(value, "/metadata/name"), why);
    Err(status.with_details(|details| {
        details.causes = vec![Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".into(),
        }];
    }))
}

fn missing(namespace: &str, env: &WriteEnv<'_>) -> Status {
    match env.kinds.resource("", "v1", NAMESPACES) {
        Some(kind) => Status::not_found(kind, namespace),
        None => Status::no_such_path(),
    }
}

/// Some namespaces stay.
pub(super) fn may_be_deleted(attributes: &mut Attributes<'_>, _: &Value) -> Result<(), Status> {
    let name = &attributes.request.name;
    if attributes.is(Operation::Delete, NAMESPACES) && IMMORTAL.contains(&name.as_str()) {
        return Err(attributes.forbidden(name, "this namespace may not be deleted"));
    }
    Ok(())
}
