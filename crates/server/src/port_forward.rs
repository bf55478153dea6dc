//! port-forward: SPDY/3.1 frames inside a WebSocket.

use coracle_api::Status;
use http::request::Parts;

use crate::http::Response;
use crate::parse::ResourceRef;
use crate::streaming::NodeStreams;

/// Answers `pods/portforward`.
///
/// # Errors
/// 501: there are no upgrades yet.
pub(crate) async fn serve(
    _node: &dyn NodeStreams,
    _pod: &ResourceRef,
    _request: &mut Parts,
) -> Result<Response, Status> {
    Err(Status::failure(501, "NotImplemented", "port-forward is not served yet"))
}
