//! Why a node cannot take a pod, in upstream's words and in the order of its filters: the first
//! filter that objects is the one that is told.

use k8s_openapi::api::core::v1::Pod;

use super::neighbours;
use super::nodes::{Nodes, Place, taint};
use super::request::{HostPort, Request};
use super::selectors::{allows_node, tolerates};
use super::volumes::Volumes;

/// All reasons of the first filter that objects; empty when the node can take the pod.
pub(super) fn why_not(
    place: &Place,
    nodes: &Nodes,
    pod: &Pod,
    request: &Request,
    volumes: &Volumes,
) -> Vec<String> {
    let first = admits(place, pod)
        .or_else(|| ports(place, request))
        .map(|reason| vec![reason.to_owned()])
        .or_else(|| Some(lacks(place, request)).filter(|lacks| !lacks.is_empty()));
    first
        .or_else(|| volumes.why_not(place, nodes).map(|reason| vec![reason.to_owned()]))
        .or_else(|| neighbours::why_not(place, nodes, pod).map(|reason| vec![reason.to_owned()]))
        .unwrap_or_default()
}

fn admits(place: &Place, pod: &Pod) -> Option<&'static str> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    let tolerations = tolerations.unwrap_or_default();
    let cordon = taint("node.kubernetes.io/unschedulable", "NoSchedule");
    if place.is_unschedulable() && !tolerates(tolerations, &cordon) {
        return Some("node(s) were unschedulable");
    }
    let repels = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
    let mut repelling = place.taints.iter().filter(|taint| repels(&taint.effect));
    if repelling.any(|taint| !tolerates(tolerations, taint)) {
        return Some("node(s) had untolerated taint(s)");
    }
    let allowed = allows_node(pod, &place.labels, place.name());
    (!allowed).then_some("node(s) didn't match Pod's node affinity/selector")
}

fn ports(place: &Place, request: &Request) -> Option<&'static str> {
    let clash = |a: &HostPort, b: &HostPort| {
        (&a.1, a.2) == (&b.1, b.2) && (a.0 == b.0 || a.0.is_empty() || b.0.is_empty())
    };
    let taken = |wanted: &HostPort| place.ports.iter().any(|used| clash(wanted, used));
    let any = request.ports.iter().any(taken);
    any.then_some("node(s) didn't have free ports for the requested pod ports")
}

fn lacks(place: &Place, request: &Request) -> Vec<String> {
    let mut reasons = Vec::new();
    let pods = place.allocatable.get("pods").copied().unwrap_or(0);
    if i64::try_from(place.pods.len()).unwrap_or(i64::MAX) >= pods {
        reasons.push("Too many pods".to_owned());
    }
    for (name, wanted) in request.amounts.iter().filter(|(_, wanted)| **wanted > 0) {
        let has = place.allocatable.get(name).copied().unwrap_or(0);
        let used = place.used.get(name).copied().unwrap_or(0);
        if used.saturating_add(*wanted) > has {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
