//! What the node cannot do yet and what is the whole purpose of a request is refused; a detail is a
//! warning, of [`coracle_api::unserved`].

use coracle_api::resources::PODS;
use coracle_api::{Status, Subresource};
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;

/// A resize that would change something: control groups stay as they are until the pod is made again.
pub(super) fn refuse_resize(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let is_resize = attributes.operation == Operation::Update
        && attributes.request.kind.group_resource() == PODS
        && attributes.request.subresource == Some(Subresource::Resize);
    let changes = |old: &coracle_api::Object| old.value()["spec"] != value["spec"];
    if !is_resize || !attributes.old.is_some_and(changes) {
        return Ok(());
    }
    let why = "coracle does not resize running pods yet: change the template of what owns the pod, \
               so that it is made again with the new resources";
    Err(attributes.forbidden(text(value, "/metadata/name"), why))
}
