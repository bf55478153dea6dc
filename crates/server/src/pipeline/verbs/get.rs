//! get: one object, or a part of it.

use coracle_api::Status;
use coracle_store::Snapshot;

use crate::pipeline::reply::Reply;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::{Part, existing, too_large_revision};

/// The object that `request` names.
///
/// # Errors
/// 404 when there is none; 504 when the client has seen a later state than there is.
pub fn get(snapshot: &Snapshot, request: &Request) -> Result<Reply, Status> {
    let asked: u64 = match request.options.resource_version.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Status::bad_request(format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
                 invalid syntax"
            ))
        })?,
    };
    if asked > snapshot.revision() {
        return Err(too_large_revision(asked, snapshot.revision()));
    }
    let part = Part::of(request.subresource).unwrap_or(Part::Whole);
    Ok(Reply::ok(part.answer(&request.kind, existing(snapshot, request)?)))
}
