//! exec and attach over WebSocket: the channels of `v5.channel.k8s.io`.

use coracle_api::Status;
use http::request::Parts;

use crate::http::Response;
use crate::parse::{Query, ResourceRef};
use crate::streaming::NodeStreams;

/// Answers `pods/exec` and `pods/attach`.
///
/// # Errors
/// 501: there are no upgrades yet.
pub(crate) async fn serve(
    _node: &dyn NodeStreams,
    _pod: &ResourceRef,
    _query: &Query,
    _request: &mut Parts,
) -> Result<Response, Status> {
    Err(Status::failure(501, "NotImplemented", "exec and attach are not served yet"))
}
