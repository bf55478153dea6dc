//! Objects as the row of a request shows them, and as they are stored: a webhook may have to be asked
//! for the one and for the other.

use std::sync::Arc;

use coracle_api::{Kind, Object};
use coracle_store::Snapshot;
use serde_json::Value;

use crate::pipeline::content;
use crate::pipeline::conversion;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::existing;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

/// As [`existing`], in the version of the request's row.
pub(crate) fn shown(
    snapshot: &Snapshot,
    request: &Request,
    env: &WriteEnv<'_>,
) -> Result<Arc<Object>, Stop> {
    let (kind, object) = (&request.kind, existing(snapshot, request)?);
    if !conversion::is_needed(kind, object) {
        return Ok(Arc::clone(object));
    }
    let value = env.converted(kind, kind.api_version(), object.value().clone())?;
    Ok(conversion::object(object, value)?)
}

/// An object of `kind` in the form in which it is stored.
pub(crate) fn stored(kind: &Kind, mut value: Value, env: &WriteEnv<'_>) -> Result<Object, Stop> {
    let version = kind.storage_api_version();
    if kind.conversion.is_some() && version != kind.api_version() {
        value = env.converted(kind, version, value)?;
    }
    Ok(content::storable(kind, value)?)
}
