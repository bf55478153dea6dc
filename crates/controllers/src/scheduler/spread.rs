//! Topology spread constraints: how many pods of a kind the domains of nodes have.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::resources::{
    PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS,
};
use coracle_api::selector::Requirement;
use coracle_api::{Object, Selector};
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};

use super::nodes::{Nodes, Place, running_on};
use super::selectors::{allows_node, tolerates};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// How pods are spread that say nothing, when a Service or their owner selects them: label, skew.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), ("topology.kubernetes.io/zone", 5)];

/// One constraint, read once.
pub(super) struct Constraint<'a> {
    key: &'a str,
    max_skew: i64,
    min_domains: usize,
    selector: Selector,
    honors_affinity: bool,
    honors_taints: bool,
    /// One for a pod that the constraint counts.
    own: i64,
}

/// What a pod's constraints are that must, or should, hold.
pub(super) struct Spread<'a> {
    object: &'a Object,
    pod: &'a Pod,
    pub constraints: Vec<Constraint<'a>>,
    /// Whether nodes without the label of one constraint count for none.
    needs_all: bool,
}

/// By constraint, how many pods each domain has.
pub(super) type Counts = Vec<BTreeMap<String, i64>>;

impl<'a> Spread<'a> {
    /// The constraints that must hold.
    pub fn required(object: &'a Object, pod: &'a Pod) -> Self {
        let constraints = constraints(object, pod, "DoNotSchedule");
        Self { object, pod, constraints, needs_all: true }
    }

    /// The constraints that should hold.
    pub fn preferred(nodes: &Nodes, object: &'a Object, pod: &'a Pod) -> Self {
        let said = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
        let needs_all = said.is_some_and(|said| !said.is_empty());
        let constraints = match needs_all {
            true => constraints(object, pod, "ScheduleAnyway"),
            false => defaults(nodes, object),
        };
        Self { object, pod, constraints, needs_all }
    }

    /// How many pods there are, in domains that the pod can be in.
    pub fn counts(&self, nodes: &Nodes) -> Counts {
        let namespace = &self.object.metadata().namespace;
        let count = |constraint: &Constraint<'a>| {
            let places = nodes.iter().filter(|place| self.counts_in(constraint, place));
            let domains: BTreeMap<&str, &String> = places
                .filter_map(|place| Some((place.name(), place.labels.get(constraint.key)?)))
                .collect();
            let mut counts: BTreeMap<String, i64> =
                domains.values().map(|domain| ((*domain).clone(), 0)).collect();
            for other in nodes.snapshot().selected(PODS, Some(namespace), &constraint.selector) {
                let node = running_on(other).filter(|_| !other.metadata().is_deleting());
                let domain = node.and_then(|node| domains.get(node.as_str()));
                if let Some(count) = domain.and_then(|domain| counts.get_mut(*domain)) {
                    *count = count.saturating_add(1);
                }
            }
            counts
        };
        self.constraints.iter().map(count).collect()
    }

    /// `other` comes to the node of `place` (1), or goes (-1).
    pub fn change(&self, counts: &mut Counts, place: &Place, other: &Object, by: i64) {
        let metadata = other.metadata();
        let is_near = metadata.namespace == self.object.metadata().namespace;
        if !is_near || metadata.is_deleting() {
            return;
        }
        for (constraint, counts) in self.constraints.iter().zip(counts) {
            let counted =
                constraint.selector.matches(&metadata.labels) && self.counts_in(constraint, place);
            let domain = place.labels.get(constraint.key).filter(|_| counted);
            if let Some(count) = domain.and_then(|domain| counts.get_mut(domain)) {
                *count = count.saturating_add(by);
            }
        }
    }

    /// Why one more pod on the node would make the difference between domains too large, and whether
    /// it would help if pods went.
    pub fn why_not(&self, counts: &Counts, place: &Place) -> Option<(&'static str, bool)> {
        for (constraint, counts) in self.constraints.iter().zip(counts) {
            let Some(here) = place.labels.get(constraint.key) else {
                let why =
                    "node(s) didn't match pod topology spread constraints (missing required label)";
                return Some((why, false));
            };
            let enough = counts.len() >= constraint.min_domains;
            let least = counts.values().min().copied().filter(|_| enough).unwrap_or(0);
            let count = counts.get(here).copied().unwrap_or(0);
            let skew = count.saturating_add(constraint.own).saturating_sub(least);
            if skew > constraint.max_skew {
                return Some(("node(s) didn't match pod topology spread constraints", true));
            }
        }
        None
    }

    /// Whether pods on the node are counted.
    fn counts_in(&self, constraint: &Constraint<'a>, place: &Place) -> bool {
        let allowed = || allows_node(self.pod, &place.labels, place.name());
        let tolerations = self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
        let borne = || {
            let mut taints = place.repelling();
            taints.all(|taint| tolerates(tolerations.unwrap_or_default(), taint))
        };
        (!self.needs_all || self.has_all(place))
            && (!constraint.honors_affinity || allowed())
            && (!constraint.honors_taints || borne())
    }

    fn has_all(&self, place: &Place) -> bool {
        self.constraints.iter().all(|constraint| place.labels.contains_key(constraint.key))
    }

    /// Of each of `places`, how crowded it is with what should be spread; `None` where that cannot
    /// be said. As upstream's score before it is made one of 0 to 100.
    pub fn crowds(&self, nodes: &Nodes, places: &[&Place]) -> Vec<Option<i64>> {
        let counts = self.counts(nodes);
        let here = self.counts_by_node(nodes);
        let counted: Vec<_> =
            places.iter().filter(|place| !self.needs_all || self.has_all(place)).collect();
        let sizes = self.constraints.iter().map(|constraint| {
            let domains = counted.iter().map(|place| place.labels.get(constraint.key));
            match constraint.key {
                HOSTNAME => counted.len(),
                _ => domains.collect::<BTreeSet<_>>().len(),
            }
        });
        // The more domains there are, the more one pod in one of them weighs.
        let weights: Vec<f64> = sizes.map(|size| (size as f64 + 2.0).ln()).collect();
        let crowd = |place: &&Place| {
            if self.needs_all && !self.has_all(place) {
                return None;
            }
            let mut crowd = 0.0;
            for (at, constraint) in self.constraints.iter().enumerate() {
                let Some(value) = place.labels.get(constraint.key) else { continue };
                let count = match constraint.key {
                    HOSTNAME => here[at].get(place.name()),
                    _ => counts[at].get(value),
                };
                let slack = constraint.max_skew.saturating_sub(1);
                crowd += count.copied().unwrap_or(0) as f64 * weights[at] + slack as f64;
            }
            Some(crowd.round() as i64)
        };
        places.iter().map(crowd).collect()
    }

    /// By constraint that is about single nodes, how many pods each node has.
    fn counts_by_node(&self, nodes: &Nodes) -> Vec<BTreeMap<String, i64>> {
        let namespace = &self.object.metadata().namespace;
        let count = |constraint: &Constraint<'a>| {
            let mut counts = BTreeMap::new();
            if constraint.key == HOSTNAME {
                let selected =
                    nodes.snapshot().selected(PODS, Some(namespace), &constraint.selector);
                let staying = selected.into_iter().filter(|pod| !pod.metadata().is_deleting());
                for node in staying.filter_map(|pod| running_on(pod)) {
                    let count: &mut i64 = counts.entry(node).or_default();
                    *count = count.saturating_add(1);
                }
            }
            counts
        };
        self.constraints.iter().map(count).collect()
    }
}

fn constraints<'a>(object: &Object, pod: &'a Pod, action: &str) -> Vec<Constraint<'a>> {
    let all = pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_ref());
    let meant = all.into_iter().flatten().filter(|one| one.when_unsatisfiable == action);
    meant.map(|one| constraint(object, one)).collect()
}

fn constraint<'a>(object: &Object, said: &'a TopologySpreadConstraint) -> Constraint<'a> {
    let labels = &object.metadata().labels;
    let selector = Selector::from_typed(said.label_selector.as_ref());
    let mut selector = selector.unwrap_or_else(|_| Selector::nothing());
    let keys = said.match_label_keys.iter().flatten();
    let same: Vec<_> = keys.filter_map(|key| labels.get_key_value(key)).collect();
    if !same.is_empty() {
        let mut requirements = Selector::from_labels(same).requirements().to_vec();
        requirements.extend(selector.requirements().iter().cloned());
        selector = Selector::new(requirements);
    }
    let least = said.min_domains.and_then(|least| usize::try_from(least).ok());
    Constraint {
        key: &said.topology_key,
        max_skew: i64::from(said.max_skew),
        min_domains: least.unwrap_or(1),
        own: i64::from(selector.matches(labels)),
        selector,
        honors_affinity: said.node_affinity_policy.as_deref() != Some("Ignore"),
        honors_taints: said.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// How a pod is spread that says nothing of it.
fn defaults(nodes: &Nodes, object: &Object) -> Vec<Constraint<'static>> {
    let metadata = object.metadata();
    let services = nodes.snapshot().selecting(SERVICES, &metadata.namespace, &metadata.labels);
    let owner = metadata.controller().and_then(|owner| nodes.snapshot().by_uid(&owner.uid));
    let spreads = [REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS];
    let owner = owner.filter(|owner| spreads.iter().any(|one| *owner.key().resource == **one));
    let selecting = services.into_iter().chain(owner);
    let requirements: Vec<Requirement> =
        selecting.flat_map(|one| one.selector().requirements().to_vec()).collect();
    if requirements.is_empty() {
        return Vec::new();
    }
    let selector = Selector::new(requirements);
    let constraint = |(key, max_skew)| Constraint {
        key,
        max_skew,
        min_domains: 1,
        selector: selector.clone(),
        honors_affinity: true,
        honors_taints: false,
        own: 1,
    };
    DEFAULTS.into_iter().map(constraint).collect()
}
