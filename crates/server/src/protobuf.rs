//! Bodies in `application/vnd.kubernetes.protobuf`: what typed clients send.

use coracle_api::Status;
use serde_json::Value;

use crate::Kinds;

/// The object in an enveloped message, as JSON.
///
/// # Errors
/// 415: no message is known yet, so every body is refused.
pub(crate) fn decode(_bytes: &[u8], _kinds: &Kinds) -> Result<Value, Status> {
    let message = "the body of the request was in an unknown format - accepted media types \
                   include: application/json, application/yaml";
    Err(Status::failure(415, "UnsupportedMediaType", message))
}
