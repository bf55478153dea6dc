//! What pods say about the company of other pods: affinity, anti-affinity and spreading. Only what
//! is required; preferences are not weighed.
//!
//! Which pods are meant is asked of the indexes once a pod, not once a node: what is kept are the
//! values of topology labels where somebody is.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::resources::{NAMESPACES, PODS};
use coracle_api::{Index, Object, Selector, index};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};

use super::nodes::{Nodes, Place, running_on};
use super::selectors::allows_node;

/// Domains of a topology: the label, and the values of it that are meant.
struct Domains<'a> {
    key: &'a str,
    values: BTreeSet<String>,
}

/// What a pod's neighbours mean for where it can be.
pub(super) struct Neighbours<'a> {
    /// Where the pods are that it wants around, each with whether it may be the first of them.
    wanted: Vec<(Domains<'a>, bool)>,
    /// Where the pods are that it does not want around.
    avoided: Vec<Domains<'a>>,
    /// Where the pods are that do not want it around.
    unwelcome: BTreeSet<(String, String)>,
    spread: Vec<Spread<'a>>,
}

/// How pods are spread over the domains of a constraint.
struct Spread<'a> {
    constraint: &'a TopologySpreadConstraint,
    counts: BTreeMap<String, i32>,
    /// One for a pod that the constraint counts.
    own: i32,
}

impl<'a> Neighbours<'a> {
    pub fn of(nodes: &Nodes, object: &Object, pod: &'a Pod) -> Self {
        let meant = |term: &'a PodAffinityTerm| {
            let others = selected(nodes.snapshot(), object, term);
            domains(nodes, &term.topology_key, others.into_iter())
        };
        let wanted = affinity(pod).map(|term| {
            let found = meant(term);
            let first = found.values.is_empty()
                && selected(nodes.snapshot(), object, term)
                    .iter()
                    .all(|it| running_on(it).is_none())
                && selects(nodes.snapshot(), term, object, object);
            (found, first)
        });
        Self {
            wanted: wanted.collect(),
            avoided: anti_affinity(pod).map(meant).collect(),
            unwelcome: unwelcome(nodes, object),
            spread: spread(pod)
                .map(|constraint| Spread::of(nodes, object, pod, constraint))
                .collect(),
        }
    }

    /// Why the company on and around the node is wrong for the pod.
    pub fn why_not(&self, place: &Place) -> Option<&'static str> {
        if let Some(why) = self.spread.iter().find_map(|spread| spread.why_not(place)) {
            return Some(why);
        }
        let satisfied = |(wanted, first): &(Domains<'_>, bool)| {
            wanted.has(place) || (*first && place.labels.contains_key(wanted.key))
        };
        if !self.wanted.iter().all(satisfied) {
            return Some("node(s) didn't match pod affinity rules");
        }
        if self.avoided.iter().any(|avoided| avoided.has(place)) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let here = |(key, value): &(String, String)| place.labels.get(key) == Some(value);
        let unwelcome = self.unwelcome.iter().any(here);
        unwelcome.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }
}

impl Domains<'_> {
    fn has(&self, place: &Place) -> bool {
        place.labels.get(self.key).is_some_and(|value| self.values.contains(value))
    }
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

/// The values of the label `key` on the nodes of `pods`.
fn domains<'a, 'b>(
    nodes: &Nodes,
    key: &'a str,
    pods: impl Iterator<Item = &'b std::sync::Arc<Object>>,
) -> Domains<'a> {
    let domain = |node: String| nodes.get(&node)?.labels.get(key).cloned();
    Domains { key, values: pods.filter_map(|pod| domain(running_on(pod)?)).collect() }
}

/// The pods that `term` of `owner` means.
fn selected<'a>(
    snapshot: &'a Snapshot,
    owner: &Object,
    term: &PodAffinityTerm,
) -> Vec<&'a std::sync::Arc<Object>> {
    let Ok(selector) = Selector::from_typed(term.label_selector.as_ref()) else {
        return Vec::new();
    };
    match namespaces(snapshot, owner, term) {
        None => snapshot.selected(PODS, None, &selector),
        Some(namespaces) => {
            let each = namespaces.iter();
            each.flat_map(|name| snapshot.selected(PODS, Some(name), &selector)).collect()
        }
    }
}

/// The namespaces that `term` of `owner` is about; `None` for all.
fn namespaces(
    snapshot: &Snapshot,
    owner: &Object,
    term: &PodAffinityTerm,
) -> Option<BTreeSet<String>> {
    let mut names: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    let by_label = term.namespace_selector.as_ref();
    if names.is_empty() && by_label.is_none() {
        names.insert(owner.metadata().namespace.clone());
    }
    let selector = Selector::from_typed(by_label).unwrap_or_else(|_| Selector::nothing());
    if selector.is_everything() {
        return None;
    }
    let selected = snapshot.selected(NAMESPACES, None, &selector);
    names.extend(selected.into_iter().map(|namespace| namespace.metadata().name.clone()));
    Some(names)
}

/// Whether `term` of `owner` means `other`.
fn selects(snapshot: &Snapshot, term: &PodAffinityTerm, owner: &Object, other: &Object) -> bool {
    let metadata = other.metadata();
    let selector = Selector::from_typed(term.label_selector.as_ref());
    selector.is_ok_and(|selector| selector.matches(&metadata.labels))
        && namespaces(snapshot, owner, term).is_none_or(|all| all.contains(&metadata.namespace))
}

/// Where the pods are that object to this one: label of a topology and its value.
fn unwelcome(nodes: &Nodes, object: &Object) -> BTreeSet<(String, String)> {
    let snapshot = nodes.snapshot();
    let terms = index::demands_on(&object.metadata().labels);
    let others = terms.flat_map(|term| snapshot.indexed(Index::PodAvoids, &term, PODS, None));
    let mut found = BTreeSet::new();
    for other in others {
        let (Ok(pod), Some(node)) = (other.view::<Pod>(), running_on(other)) else { continue };
        let Some(home) = nodes.get(&node) else { continue };
        for term in anti_affinity(&pod) {
            if let Some(value) = home.labels.get(&term.topology_key)
                && !found.contains(&(term.topology_key.clone(), value.clone()))
                && selects(snapshot, term, other, object)
            {
                found.insert((term.topology_key.clone(), value.clone()));
            }
        }
    }
    found
}

fn spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let all = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
    let required =
        |constraint: &&TopologySpreadConstraint| constraint.when_unsatisfiable == "DoNotSchedule";
    all.into_iter().flatten().filter(required)
}

impl<'a> Spread<'a> {
    fn of(
        nodes: &Nodes,
        object: &Object,
        pod: &Pod,
        constraint: &'a TopologySpreadConstraint,
    ) -> Self {
        let selector = Selector::from_typed(constraint.label_selector.as_ref())
            .unwrap_or_else(|_| Selector::nothing());
        let key = &constraint.topology_key;
        let allowed = nodes.iter().filter(|node| allows_node(pod, &node.labels, node.name()));
        let domains: BTreeMap<&str, &String> =
            allowed.filter_map(|node| Some((node.name(), node.labels.get(key)?))).collect();
        let mut counts: BTreeMap<String, i32> =
            domains.values().map(|domain| ((*domain).clone(), 0)).collect();
        let namespace = &object.metadata().namespace;
        for other in nodes.snapshot().selected(PODS, Some(namespace), &selector) {
            let node = running_on(other).filter(|_| !other.metadata().is_deleting());
            let domain = node.and_then(|node| domains.get(node.as_str()));
            if let Some(count) = domain.and_then(|domain| counts.get_mut(*domain)) {
                *count = count.saturating_add(1);
            }
        }
        let own = i32::from(selector.matches(&object.metadata().labels));
        Self { constraint, counts, own }
    }

    /// Why one more pod on the node would make the difference between domains too large.
    fn why_not(&self, place: &Place) -> Option<&'static str> {
        let Some(here) = place.labels.get(&self.constraint.topology_key) else {
            return Some(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        };
        let wanted =
            self.constraint.min_domains.map_or(0, |least| usize::try_from(least).unwrap_or(0));
        let least = self.counts.values().min().copied().filter(|_| self.counts.len() >= wanted);
        let count = self.counts.get(here).copied().unwrap_or(0);
        let skew = count.saturating_add(self.own).saturating_sub(least.unwrap_or(0));
        (skew > self.constraint.max_skew)
            .then_some("node(s) didn't match pod topology spread constraints")
    }
}
