//! Whether the node takes a pod at all. The scheduler has asked before, but whoever sets
//! `nodeName` goes past it.

use std::collections::BTreeMap;

use coracle_api::sysctls;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::observed::Rejection;
use super::spec;
use crate::pods::is_on_host;

/// What the node has for pods.
#[derive(Clone, Debug, Default)]
pub struct NodeCapacity {
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// How many pods.
    pub pods: usize,
}

/// Whether the node can run `pod` beside the `others` that it has accepted already.
///
/// # Errors
/// The reason and message for the pod's status.
pub fn admit(pod: &Pod, others: &[&Pod], node: &NodeCapacity) -> Result<(), Rejection> {
    if let Some(name) = forbidden_parameter(pod) {
        let message = format!("forbidden sysctl: {name:?} not allowlisted");
        return Err(Rejection { reason: "SysctlForbidden".to_owned(), message });
    }
    if others.len() >= node.pods {
        let (count, pods) = (others.len(), node.pods);
        let message = format!(
            "Node didn't have enough resource: pods, requested: 1, used: {count}, capacity: {pods}"
        );
        return Err(Rejection { reason: "OutOfpods".to_owned(), message });
    }
    let wanted = spec::spec(pod).node_selector.iter().flatten();
    if wanted.into_iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
        return Err(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    let wanted = host_ports(pod);
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    if wanted.iter().any(|port| taken.iter().any(|other| clash(port, other))) {
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

type HostPort<'a> = (i32, &'a str, &'a str);

fn host_ports(pod: &Pod) -> Vec<HostPort<'_>> {
    let on_host = is_on_host(pod);
    let ports = |container| ports_of(container, on_host);
    spec::containers(pod).iter().flat_map(ports).collect()
}

fn ports_of(container: &Container, on_host: bool) -> Vec<HostPort<'_>> {
    let ports = container.ports.iter().flatten();
    ports
        .filter_map(|port| {
            let number = port.host_port.or(on_host.then_some(port.container_port))?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let ip = port.host_ip.as_deref().filter(|ip| *ip != "0.0.0.0").unwrap_or_default();
            (number != 0).then_some((number, protocol, ip))
        })
        .collect()
}

/// An empty address is every address.
fn clash(a: &HostPort<'_>, b: &HostPort<'_>) -> bool {
    a.0 == b.0 && a.1 == b.1 && (a.2.is_empty() || b.2.is_empty() || a.2 == b.2)
}
