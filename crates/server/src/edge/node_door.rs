//! The port of a node, as a kubelet has it: what `nodes/proxy` shows, to be read by who may.
//!
//! Who asks is known as at the API; nobody is anonymous here. Which leave a path needs is upstream's
//! (`pkg/kubelet/server/auth.go`, KEP-2862).

use coracle_api::Status;
use coracle_api::resources::NODES;
use coracle_store::Snapshot;
use http::Method;
use http::request::Parts;

use crate::auth::Action;
use crate::auth::authorize::is_allowed;
use crate::edge::response::{Response, full};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;
use crate::streams::kubelet;
use crate::streams::node::Call;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Paths with their subresource of the node; whoever has it not may have `nodes/proxy`, but where the
/// bool says so.
const LEAVES: [(&str, &str, bool); 8] = [
    ("/stats", "stats", false),
    ("/metrics", "metrics", false),
    ("/logs", "log", false),
    ("/checkpoint", "checkpoint", false),
    ("/pods", "pods", true),
    ("/runningpods", "pods", true),
    ("/healthz", "healthz", true),
    ("/configz", "configz", true),
];

/// The subresources of which one must be allowed, in the order in which they are asked for.
fn subresources(path: &str) -> Vec<&'static str> {
    let is_below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match LEAVES.iter().find(|(prefix, ..)| is_below(prefix)) {
        Some((_, own, true)) => vec![own, "proxy"],
        Some((_, own, false)) => vec![own],
        None => vec!["proxy"],
    }
}

/// The verb that a method is, as upstream's kubelet counts them.
fn verb(method: &Method) -> String {
    match method.as_str() {
        "POST" => "create".to_owned(),
        "PUT" => "update".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// Whether `user` may have what is at `path`; else what they are told.
fn allowed(
    snapshot: &Snapshot,
    user: &User,
    node: &str,
    method: &Method,
    path: &str,
) -> Result<(), String> {
    let (wanted, verb) = (subresources(path), verb(method));
    let may = |subresource: &str| {
        let action = Action::Resource(ResourceRef {
            verb: verb.clone().into(),
            version: "v1".to_owned(),
            resource: NODES.to_owned(),
            name: node.to_owned(),
            subresource: subresource.to_owned(),
            ..ResourceRef::default()
        });
        is_allowed(snapshot, user, &action)
    };
    if wanted.iter().any(|one| may(one)) {
        return Ok(());
    }
    let (name, wanted) = (&user.name, wanted.join(" "));
    Err(format!(
        "Forbidden (user={name}, verb={verb}, resource={NODES}, subresource(s)=[{wanted}])\n"
    ))
}

/// Answers a request to the node that `call` names; `user` is nothing when nobody is known to ask.
pub(super) async fn answer(
    call: Call<'_>,
    user: Result<User, Status>,
    parts: &mut Parts,
) -> Response {
    let (snapshot, name, method) = (call.snapshot, &call.resource.name, &parts.method);
    let path = parts.uri.path().to_owned();
    let user = match user {
        Ok(user) if user != User::anonymous() => user,
        _ => return full(401, PLAIN, "Unauthorized"),
    };
    if let Err(words) = allowed(snapshot, &user, name, method, &path) {
        return full(403, PLAIN, words);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return full(405, PLAIN, "405: Method Not Allowed");
    }
    let name = name.clone();
    match kubelet::serve(call, (&name, &path), parts).await {
        Ok(response) => response,
        Err(status) if status.code == 404 => full(404, PLAIN, "404 page not found\n"),
        Err(status) => full(status.code, PLAIN, status.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_need_leave_as_at_upstreams_kubelet() {
        for (path, expected) in [
            ("/stats/summary", &["stats"][..]),
            ("/metrics", &["metrics"]),
            ("/metrics/resource", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/logs/", &["log"]),
            ("/pods", &["pods", "proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/ping", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/exec/ns/pod/c", &["proxy"]),
            ("/", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }
}
