//! Why a node cannot take a pod, in upstream's words and in the order of its filters: the first
//! filter that objects is the one that is told.

use std::collections::BTreeSet;

use coracle_api::index;
use coracle_api::resources::PODS;

use super::ask::Ask;
use super::nodes::{Nodes, taint};
use super::request::{Amounts, Request};
use super::scene::Scene;
use super::selectors::{allows_node, named_nodes, tolerates};

/// Why a node cannot take a pod.
#[derive(Debug)]
pub(super) struct Objection {
    /// All reasons of the first filter that objects.
    pub reasons: Vec<String>,
    /// Whether it would help if other pods went.
    pub is_curable: bool,
}

impl Objection {
    fn of(reason: &str, is_curable: bool) -> Self {
        Self { reasons: vec![reason.to_owned()], is_curable }
    }
}

/// The nodes that can be asked about at all, when the pod names them.
///
/// # Errors
/// What is told when it names them so that there are none.
pub(super) fn named(ask: &Ask<'_>) -> Result<Option<BTreeSet<String>>, String> {
    match named_nodes(ask.pod) {
        Some(names) if names.is_empty() => Err("pod affinity terms conflict".to_owned()),
        names => Ok(names),
    }
}

/// What is said of a node that the pod does not name.
pub(super) fn not_named() -> Objection {
    Objection::of("node(s) didn't satisfy plugin(s) [NodeAffinity]", false)
}

/// Why the node cannot take the pod, with or without those that it is kept free for.
pub(super) fn why_not(
    nodes: &Nodes,
    ask: &Ask<'_>,
    crowded: Option<&Scene<'_>>,
    alone: &Scene<'_>,
) -> Option<Objection> {
    let crowded = crowded.and_then(|scene| objection(nodes, ask, scene));
    crowded.or_else(|| objection(nodes, ask, alone))
}

fn objection(nodes: &Nodes, ask: &Ask<'_>, scene: &Scene<'_>) -> Option<Objection> {
    let told = |(reason, is_curable): (&str, bool)| Objection::of(reason, is_curable);
    admits(ask, scene)
        .map(|reason| Objection::of(reason, false))
        .or_else(|| ports(nodes, ask, scene).map(|reason| Objection::of(reason, true)))
        .or_else(|| lacks(&scene.place.allocatable, &scene.used, &ask.request))
        .or_else(|| ask.volumes.why_not(scene.place, nodes, &scene.gone).map(told))
        .or_else(|| ask.spread.why_not(&scene.counts, scene.place).map(told))
        .or_else(|| ask.company.why_not(&scene.others, scene.place).map(told))
}

fn admits(ask: &Ask<'_>, scene: &Scene<'_>) -> Option<&'static str> {
    let (place, tolerations) = (scene.place, ask.tolerations());
    let cordon = || taint("node.kubernetes.io/unschedulable", "NoSchedule");
    if place.is_unschedulable() && !tolerates(tolerations, &cordon()) {
        return Some("node(s) were unschedulable");
    }
    if place.repelling().any(|taint| !tolerates(tolerations, taint)) {
        return Some("node(s) had untolerated taint(s)");
    }
    let allowed = allows_node(ask.pod, &place.labels, place.name());
    (!allowed).then_some("node(s) didn't match Pod's node affinity/selector")
}

fn ports(nodes: &Nodes, ask: &Ask<'_>, scene: &Scene<'_>) -> Option<&'static str> {
    let comes = |wanted: &index::HostPort| {
        let mut coming = scene.coming.iter().map(|pod| Request::of(pod));
        coming.any(|request| request.ports.iter().any(|port| port.clashes(wanted)))
    };
    let name = scene.place.name();
    let taken =
        |wanted: &index::HostPort| nodes.has_port(name, wanted, &scene.gone) || comes(wanted);
    let any = ask.request.ports.iter().any(taken);
    any.then_some("node(s) didn't have free ports for the requested pod ports")
}

/// What there is too little of. What the node never has, no pod that goes can give.
pub(super) fn lacks(has: &Amounts, used: &Amounts, request: &Request) -> Option<Objection> {
    let mut reasons = Vec::new();
    let mut is_curable = true;
    for (name, wanted) in request.amounts.iter().filter(|(_, wanted)| **wanted > 0) {
        let has = has.get(name).copied().unwrap_or(0);
        let used = used.get(name).copied().unwrap_or(0);
        if used.saturating_add(*wanted) > has {
            match name.as_str() {
                PODS => reasons.insert(0, "Too many pods".to_owned()),
                _ => {
                    reasons.push(format!("Insufficient {name}"));
                    is_curable &= *wanted <= has;
                }
            }
        }
    }
    (!reasons.is_empty()).then_some(Objection { reasons, is_curable })
}
