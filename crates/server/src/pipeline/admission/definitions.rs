//! Objects of a custom resource need its definition.

use coracle_api::Status;
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS;
use coracle_store::Expect;
use serde_json::Value;

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::text;
use crate::pipeline::write::WriteEnv;

/// The definition must be there, and be as it is until the new object is: one that began to go in
/// between would miss it.
pub(super) fn exists(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let kind = &attributes.request.kind;
    if attributes.operation != Operation::Create || kind.types.is_none() {
        return Ok(());
    }
    let name = kind.storage_resource();
    let definition =
        attributes.snapshot.find(DEFINITIONS, "", &name).ok_or_else(Status::no_such_path)?;
    if definition.metadata().is_deleting() {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(attributes.forbidden(text(value, "/metadata/name"), why));
    }
    let as_it_is = Expect::Revision(definition.revision());
    attributes.requires.push((definition.key().clone(), as_it_is));
    Ok(())
}
