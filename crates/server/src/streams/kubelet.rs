//! What a kubelet serves, at both of its doors: `nodes/proxy`, and the node's own port.

use coracle_api::Status;
use coracle_api::resources::PODS;
use http::request::Parts;

use crate::edge::response::{Response, full};
use crate::pipeline::parse::{Query, ResourceRef};
use crate::streams::logs;
use crate::streams::node::Call;

/// Answers a request to the node `node` for `path`, which is to be read: what containers wrote at
/// `/containerLogs/NAMESPACE/POD/CONTAINER`, with the options of `pods/log`; else what the node says of
/// itself.
///
/// # Errors
/// 404 for what is not there, and what logs say.
pub(crate) async fn serve(
    call: Call<'_>,
    (node, path): (&str, &str),
    parts: &mut Parts,
) -> Result<Response, Status> {
    let below: Vec<&str> = path.trim_matches('/').split('/').collect();
    let ["containerLogs", namespace, pod, container] = *below.as_slice() else {
        let (kind, body) = call.node.door(node, path).await?;
        return Ok(full(200, kind, body));
    };
    let resource = ResourceRef {
        resource: PODS.to_owned(),
        namespace: namespace.to_owned(),
        name: pod.to_owned(),
        ..ResourceRef::default()
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    logs::of_container(Call { resource: &resource, ..call }, container, &query, parts).await
}
