//! Whether the node takes a pod at all. The scheduler has asked before, but whoever sets
//! `nodeName` goes past it.

use std::collections::BTreeMap;

use coracle_api::sysctls;
use k8s_openapi::api::core::v1::Pod;

use super::observed::Rejection;
use super::spec;

/// What the node has for one more pod.
#[derive(Clone, Debug, Default)]
pub struct NodeRoom {
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// How many pods it takes.
    pub pods: usize,
    /// How many it has accepted already.
    pub others: usize,
    /// Whether one of them has a port of the node that the pod asks for.
    pub ports_taken: bool,
}

/// Whether the node can run `pod` beside those that it has accepted already.
///
/// # Errors
/// The reason and message for the pod's status.
pub fn admit(pod: &Pod, node: &NodeRoom) -> Result<(), Rejection> {
    if let Some(name) = forbidden_parameter(pod) {
        let message = format!("forbidden sysctl: {name:?} not allowlisted");
        return Err(Rejection { reason: "SysctlForbidden".to_owned(), message });
    }
    if node.others >= node.pods {
        let (count, pods) = (node.others, node.pods);
        let message = format!(
            "Node didn't have enough resource: pods, requested: 1, used: {count}, capacity: {pods}"
        );
        return Err(Rejection { reason: "OutOfpods".to_owned(), message });
    }
    let wanted = spec::spec(pod).node_selector.iter().flatten();
    if wanted.into_iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
        return Err(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if node.ports_taken {
        return Err(predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    Ok(())
}

/// A kernel parameter that may be the whole machine's.
fn forbidden_parameter(pod: &Pod) -> Option<String> {
    let context = spec::spec(pod).security_context.as_ref()?;
    let names = context.sysctls.iter().flatten().map(|sysctl| sysctl.name.replace('/', "."));
    names.into_iter().find(|name| !sysctls::SAFE.contains(&name.as_str()))
}

fn predicate(name: &str, message: &str) -> Rejection {
    Rejection { reason: name.to_owned(), message: format!("Predicate {name} failed: {message}") }
}
