//! patch: JSON patch, merge patch, strategic merge patch and apply; each ends in an update.

use coracle_api::Status;
use coracle_store::Snapshot;

use crate::prepare::{Prepared, WriteEnv};
use crate::request::Request;
use crate::verbs::Part;

/// Changes the object that `request` names.
pub fn prepare(
    _snapshot: &Snapshot,
    _request: &Request,
    _part: Part,
    _env: &mut WriteEnv<'_>,
) -> Result<Prepared, Status> {
    Err(Status::failure(415, "UnsupportedMediaType", "the server has no patches yet"))
}
