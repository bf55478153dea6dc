//! CustomResourceDefinitions get the names that nobody has.

use coracle_api::kinds::custom::names::{self, Taken};
use coracle_api::resources::CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS;
use coracle_store::Snapshot;
use serde_json::Value;

use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::text;
use crate::pipeline::write::WriteEnv;

/// Gives a definition that is written the names that nobody else in its group has.
pub(crate) fn settle_names(
    snapshot: &Snapshot,
    request: &Request,
    value: &mut Value,
    env: &WriteEnv<'_>,
) {
    if !request.kind.is(DEFINITIONS) {
        return;
    }
    let (group, own) = (text(value, "/spec/group"), text(value, "/metadata/name"));
    let mut taken = Taken::default();
    env.kinds
        .iter()
        .filter(|kind| kind.group == group && kind.types.is_none())
        .for_each(|kind| taken.by_kind(kind));
    snapshot
        .list(DEFINITIONS, None)
        .map(|object| object.value())
        .filter(|other| text(other, "/spec/group") == group)
        .filter(|other| text(other, "/metadata/name") != own)
        .for_each(|other| taken.by_definition(other));
    names::accept(value, &taken, &rfc3339(env.now));
}
