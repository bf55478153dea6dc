//! What pods say about the company of other pods: affinity, anti-affinity and spreading. Only what
//! is required; preferences are not weighed.

use std::collections::BTreeMap;

use coracle_api::Selector;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::nodes::{Nodes, Place};
use super::selectors::{Labels, allows_node};
use crate::pods;

const NO_LABELS: &Labels = &Labels::new();

/// Why the company on and around the node is wrong for the pod.
pub(super) fn why_not(place: &Place, nodes: &Nodes, pod: &Pod) -> Option<&'static str> {
    if !is_wanted_by_others(place, nodes, pod) {
        return Some("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    if anti_affinity(pod).any(|term| company(term, pod, place, nodes)) {
        return Some("node(s) didn't match pod anti-affinity rules");
    }
    let satisfied = |term: &PodAffinityTerm| {
        company(term, pod, place, nodes) || is_first_of_its_kind(term, pod, place, nodes)
    };
    if !affinity(pod).all(satisfied) {
        return Some("node(s) didn't match pod affinity rules");
    }
    spread(pod).find_map(|constraint| skewed(constraint, pod, place, nodes))
}

fn affinity(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let rules = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
    rules
        .and_then(|rules| rules.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .flatten()
}

fn anti_affinity(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let rules =
        pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
    rules
        .and_then(|rules| rules.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .flatten()
}

/// Pods on nodes that have the same value of a topology label as `place`.
fn around<'a>(nodes: &'a Nodes, place: &'a Place, key: &'a str) -> impl Iterator<Item = &'a Pod> {
    let here = place.labels.get(key);
    let same = move |other: &&Place| here.is_some() && other.labels.get(key) == here;
    nodes.iter().filter(same).flat_map(|other| other.pods.iter().map(|pod| &**pod))
}

fn company(term: &PodAffinityTerm, pod: &Pod, place: &Place, nodes: &Nodes) -> bool {
    around(nodes, place, &term.topology_key).any(|other| selects(term, pod, other))
}

/// Whether `term` of `owner` means `other`.
fn selects(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let named = term.namespaces.as_deref().unwrap_or_default();
    let everywhere = term.namespace_selector.as_ref().is_some_and(is_empty);
    let own = named.is_empty() && term.namespace_selector.is_none();
    let there = other.metadata.namespace.as_ref();
    let in_scope = everywhere
        || (own && there == owner.metadata.namespace.as_ref())
        || there.is_some_and(|namespace| named.contains(namespace));
    in_scope && matches(term.label_selector.as_ref(), other)
}

fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

fn matches(selector: Option<&LabelSelector>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref().unwrap_or(NO_LABELS);
    Selector::from_typed(selector).is_ok_and(|selector| selector.matches(labels))
}

/// The first of pods that want each other's company may go anywhere with the label.
fn is_first_of_its_kind(term: &PodAffinityTerm, pod: &Pod, place: &Place, nodes: &Nodes) -> bool {
    let mut everyone = nodes.iter().flat_map(|place| &place.pods);
    selects(term, pod, pod)
        && place.labels.contains_key(&term.topology_key)
        && !everyone.any(|other| selects(term, pod, other))
}

/// Whether no pod around objects to this one.
fn is_wanted_by_others(place: &Place, nodes: &Nodes, pod: &Pod) -> bool {
    let objects = |other: &Pod, home: &Place| {
        anti_affinity(other).any(|term| {
            let here = place.labels.get(&term.topology_key);
            here.is_some()
                && here == home.labels.get(&term.topology_key)
                && selects(term, other, pod)
        })
    };
    !nodes.iter().any(|home| home.pods.iter().any(|other| objects(other, home)))
}

fn spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let all = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
    let required =
        |constraint: &&TopologySpreadConstraint| constraint.when_unsatisfiable == "DoNotSchedule";
    all.into_iter().flatten().filter(required)
}

/// Why one more pod on the node would make the difference between domains too large.
fn skewed(
    constraint: &TopologySpreadConstraint,
    pod: &Pod,
    place: &Place,
    nodes: &Nodes,
) -> Option<&'static str> {
    let Some(here) = place.labels.get(&constraint.topology_key) else {
        return Some(
            "node(s) didn't match pod topology spread constraints (missing required label)",
        );
    };
    let is_counted = |other: &Pod| {
        other.metadata.namespace == pod.metadata.namespace
            && !pods::is_terminating(other)
            && matches(constraint.label_selector.as_ref(), other)
    };
    let mut domains: BTreeMap<&String, i32> = BTreeMap::new();
    for node in nodes.iter().filter(|node| allows_node(pod, &node.labels, node.name())) {
        if let Some(domain) = node.labels.get(&constraint.topology_key) {
            let count = node.pods.iter().filter(|other| is_counted(other)).count();
            *domains.entry(domain).or_default() += i32::try_from(count).unwrap_or(i32::MAX);
        }
    }
    let too_few = constraint
        .min_domains
        .is_some_and(|least| usize::try_from(least).is_ok_and(|least| domains.len() < least));
    let least = if too_few { 0 } else { domains.values().min().copied().unwrap_or(0) };
    let own = i32::from(matches(constraint.label_selector.as_ref(), pod));
    let count = domains.get(here).copied().unwrap_or(0);
    let skew = count.saturating_add(own) - least;
    (skew > constraint.max_skew).then_some("node(s) didn't match pod topology spread constraints")
}
