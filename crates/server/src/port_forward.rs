//! port-forward: SPDY/3.1 frames inside a WebSocket.

use coracle_api::Status;
use http::request::Parts;

use crate::http::Response;
use crate::streaming::Call;

/// Answers `pods/portforward`.
///
/// # Errors
/// 501: there are no upgrades yet.
pub(crate) fn serve(_call: Call<'_>, _parts: &mut Parts) -> Result<Response, Status> {
    Err(Status::failure(501, "NotImplemented", "port-forward is not served yet"))
}
