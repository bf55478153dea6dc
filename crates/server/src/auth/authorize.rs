//! What a user may do: masters everything, others what RBAC says, nodes what concerns them.

use std::fmt;

use coracle_api::Status;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{
    CONFIG_MAPS, EVENTS, LEASES, NEW_EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS,
    SERVICE_ACCOUNTS, SERVICES,
};
use coracle_store::Snapshot;

use crate::auth::rbac::Grant;
use crate::auth::{MASTERS, rbac};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// With objects.
    Resource(ResourceRef),
    /// With a path that is no resource.
    Path {
        /// `get`, `post`…
        verb: String,
        /// `/metrics`
        path: String,
    },
}

#[cfg(test)]
impl Action {
    /// With an object of `resource`: `group/plural` or `group/plural/subresource`.
    pub(crate) fn on(verb: &'static str, namespace: &str, resource: &str, name: &str) -> Self {
        let (group, resource) = resource.split_once('/').unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Self::Resource(ResourceRef {
            verb: verb.into(),
            group: group.into(),
            namespace: namespace.into(),
            resource: resource.into(),
            name: name.into(),
            subresource: subresource.into(),
            ..ResourceRef::default()
        })
    }
}

/// Why somebody may do something; in words where upstream has some.
#[derive(Clone, Debug)]
pub enum Reason {
    /// They may do everything.
    Master,
    /// It is what nodes do.
    Node,
    /// A rule says so, of a role that is bound to them.
    Rule(Grant),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master | Self::Node => Ok(()),
            Self::Rule(grant) => write!(f, "RBAC: allowed by {grant}"),
        }
    }
}

/// Why `user` may do it, if they may.
#[must_use]
pub fn reason(snapshot: &Snapshot, user: &User, action: &Action) -> Option<Reason> {
    if user.is_in(MASTERS) {
        return Some(Reason::Master);
    }
    if node_may(snapshot, user, action) {
        return Some(Reason::Node);
    }
    rbac::allows(snapshot, user, action).map(Reason::Rule)
}

/// Whether `user` may do it.
#[must_use]
pub fn is_allowed(snapshot: &Snapshot, user: &User, action: &Action) -> bool {
    reason(snapshot, user, action).is_some()
}

/// Refuses what `user` may not do; why they may, otherwise.
///
/// # Errors
/// 403 in upstream's words.
pub fn authorize(snapshot: &Snapshot, user: &User, action: &Action) -> Result<Reason, Status> {
    reason(snapshot, user, action).ok_or_else(|| refusal(user, action))
}

fn refusal(user: &User, action: &Action) -> Status {
    let name = &user.name;
    let resource = match action {
        Action::Path { verb, path } => {
            let message = format!("forbidden: User \"{name}\" cannot {verb} path \"{path}\"");
            return Status::failure(403, "Forbidden", message).with_details(|_| ());
        }
        Action::Resource(resource) => resource,
    };
    let ResourceRef { verb, group, namespace, resource: plural, subresource, .. } = resource;
    let full = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
    let what = match (resource.name.as_str(), subresource.as_str()) {
        ("", _) => full,
        (object, _) => format!("{full} \"{object}\""),
    };
    let target = match subresource.as_str() {
        "" => plural.clone(),
        sub => format!("{plural}/{sub}"),
    };
    let scope = match namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let message = format!(
        "{what} is forbidden: User \"{name}\" cannot {verb} resource \"{target}\" in API group \
         \"{group}\" {scope}"
    );
    Status::failure(403, "Forbidden", message).with_details(|details| {
        details.name = resource.name.clone();
        details.group = group.clone();
        details.kind = plural.clone();
    })
}

/// A node may read what its pods use and write what it says of them and of itself.
fn node_may(snapshot: &Snapshot, user: &User, action: &Action) -> bool {
    let Some(node) = user.name.strip_prefix("system:node:") else { return false };
    let Action::Resource(resource) = action else { return false };
    if !user.is_in("system:nodes") {
        return false;
    }
    let reads = matches!(&*resource.verb, "get" | "list" | "watch");
    match resource.group_resource().as_str() {
        NODES => reads || (resource.name == node || resource.verb == "create"),
        SERVICES => reads,
        LEASES => resource.namespace == "kube-node-lease",
        EVENTS | NEW_EVENTS => matches!(&*resource.verb, "create" | "patch" | "update"),
        PODS => may_touch_pod(snapshot, node, resource, reads),
        SECRETS | CONFIG_MAPS | PERSISTENT_VOLUME_CLAIMS | SERVICE_ACCOUNTS => {
            resource.verb == "get" && is_used(snapshot, node, resource)
        }
        _ => reads && matches!(&*resource.group, "storage.k8s.io" | "node.k8s.io"),
    }
}

fn may_touch_pod(snapshot: &Snapshot, node: &str, pod: &ResourceRef, reads: bool) -> bool {
    let own = snapshot
        .find(PODS, &pod.namespace, &pod.name)
        .is_some_and(|pod| pod.str_at("/spec/nodeName") == Some(node));
    (reads && pod.name.is_empty())
        || (own && (reads || pod.verb == "delete" || pod.subresource == "status"))
}

/// Whether a pod on `node` is made from the object.
fn is_used(snapshot: &Snapshot, node: &str, object: &ResourceRef) -> bool {
    let resource = object.group_resource();
    snapshot
        .referring(&resource, &object.namespace, &object.name)
        .any(|pod| pod.node_name() == Some(node))
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_reads_what_its_pods_are_made_from_and_nothing_else() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "x"},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "env": [{"name": "A", "value": "admin"}]}],
                "volumes": [
                    {"name": "v", "secret": {"secretName": "keys"}},
                    {"name": "w", "persistentVolumeClaim": {"claimName": "data"}},
                ],
            },
        });
        let snapshot = Snapshot::of([Object::with_resource("pods", pod).unwrap()]).unwrap();
        let may = |node: &str, resource: &str, name: &str| {
            let (namespace, resource, name) =
                ("x".to_owned(), resource.to_owned(), name.to_owned());
            let object = ResourceRef { namespace, resource, name, ..ResourceRef::default() };
            is_used(&snapshot, node, &object)
        };
        assert!(may("n", "secrets", "keys") && may("n", "persistentvolumeclaims", "data"));
        assert!(may("n", "serviceaccounts", "default"));
        assert!(!may("m", "secrets", "keys") && !may("n", "configmaps", "keys"));
        assert!(!may("n", "secrets", "admin"), "only a word of the pod");
    }
}
