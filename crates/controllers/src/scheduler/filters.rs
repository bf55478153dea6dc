//! Why a node cannot take a pod, in upstream's words and in the order of its filters: the first
//! filter that objects is the one that is told.

use coracle_api::resources::PODS;
use k8s_openapi::api::core::v1::Pod;

use super::neighbours::Neighbours;
use super::nodes::{Nodes, Place, taint};
use super::request::Request;
use super::selectors::{allows_node, tolerates};
use super::volumes::Volumes;

/// All reasons of the first filter that objects; empty when the node can take the pod.
pub(super) fn why_not(
    place: &Place,
    nodes: &Nodes,
    pod: &Pod,
    request: &Request,
    volumes: &Volumes,
    neighbours: &Neighbours,
) -> Vec<String> {
    let first = admits(place, pod)
        .or_else(|| ports(place, nodes, request))
        .map(|reason| vec![reason.to_owned()])
        .or_else(|| Some(lacks(place, request)).filter(|lacks| !lacks.is_empty()));
    first
        .or_else(|| volumes.why_not(place, nodes).map(|reason| vec![reason.to_owned()]))
        .or_else(|| neighbours.why_not(place).map(|reason| vec![reason.to_owned()]))
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

fn ports(place: &Place, nodes: &Nodes, request: &Request) -> Option<&'static str> {
    let any = request.ports.iter().any(|wanted| nodes.has_port(place.name(), wanted));
    any.then_some("node(s) didn't have free ports for the requested pod ports")
}

fn lacks(place: &Place, request: &Request) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, wanted) in request.amounts.iter().filter(|(_, wanted)| **wanted > 0) {
        let has = place.allocatable.get(name).copied().unwrap_or(0);
        let used = place.used.get(name).copied().unwrap_or(0);
        if used.saturating_add(*wanted) > has {
            match name.as_str() {
                PODS => reasons.insert(0, "Too many pods".to_owned()),
                _ => reasons.push(format!("Insufficient {name}")),
            }
        }
    }
    reasons
}
