//! The nodes, and what runs on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, PODS};
use coracle_api::sums::Group;
use coracle_api::{Index, Object, index};
use coracle_store::{Expect, Snapshot, Write};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::json;

use super::request::{Amounts, Request, amounts, numbers};
use super::selectors::{Labels, tolerates};
use crate::json;

/// A node, and what is taken of it.
pub(super) struct Place {
    pub node: Arc<Node>,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub allocatable: Amounts,
    /// What its pods ask for together, and how many `pods` they are.
    pub used: Amounts,
}

impl Place {
    fn of(snapshot: &Snapshot, object: &Object) -> Option<Self> {
        let node = object.view::<Node>().ok()?;
        let spec = node.spec.as_ref();
        let mut taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if !is_ready(object) {
            // The node controller will say so; it may not have come to it yet.
            taints.push(taint("node.kubernetes.io/not-ready", "NoSchedule"));
        }
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        Some(Self {
            labels: object.metadata().labels.clone(),
            allocatable: amounts(allocatable),
            used: used(snapshot, &object.metadata().name),
            taints,
            node,
        })
    }

    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn is_unschedulable(&self) -> bool {
        self.node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
    }

    /// How good the node is for the pod, of those that can take it: without taints that would
    /// rather not have it, with few of its like, with much room.
    pub fn score(&self, pod: &Pod, request: &Request, alike: usize) -> (i64, i64, i64) {
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
        let unwanted = self.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule" && !tolerates(tolerations.unwrap_or_default(), taint)
        });
        let room = ["cpu", "memory"].iter().map(|name| self.room(name, request)).sum();
        (-count(unwanted.count()), -count(alike), room)
    }

    /// Thousandths of a resource that would be left free.
    fn room(&self, name: &str, request: &Request) -> i64 {
        let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
        let all = of(&self.allocatable).max(1);
        let free = all.saturating_sub(of(&self.used)).saturating_sub(of(&request.amounts));
        i64::try_from(i128::from(free) * 1000 / i128::from(all)).unwrap_or(0)
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Whether the node's condition Ready holds.
pub(super) fn is_ready(node: &Object) -> bool {
    conditions::is_true(node.value(), "Ready")
}

/// A taint without a value.
pub(super) fn taint(key: &str, effect: &str) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() }
}

/// What the pods on a node ask for together.
fn used(snapshot: &Snapshot, node: &str) -> Amounts {
    numbers(&snapshot.sum(&Group::Node(node.to_owned())))
}

/// All nodes, and the state in which every pod that was placed is on its node.
pub(super) struct Nodes {
    places: BTreeMap<String, Place>,
    snapshot: Snapshot,
}

impl Nodes {
    pub fn of(snapshot: &Snapshot) -> Self {
        let places = snapshot.list(NODES, None).filter_map(|node| Place::of(snapshot, node));
        let places = places.map(|place| (place.name().to_owned(), place)).collect();
        Self { places, snapshot: snapshot.clone() }
    }

    /// The state to ask about pods.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The pod will be on the node.
    pub fn add(&mut self, node: &str, pod: &Object) {
        let value = json::with(pod, &["spec", "nodeName"], json!(node));
        let placed = Object::with_resource(PODS, value).ok();
        let write = placed.map(|placed| Write::put(placed, Expect::Any));
        if let Some(Ok(next)) = write.map(|write| self.snapshot.with(&[write])) {
            self.snapshot = next;
        }
        if let Some(place) = self.places.get_mut(node) {
            place.used = used(&self.snapshot, node);
        }
    }

    pub fn get(&self, node: &str) -> Option<&Place> {
        self.places.get(node)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many pods of each node have the controller of `pod`.
    pub fn alike(&self, pod: &Object) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let Some(owner) = pod.metadata().controller() else { return counts };
        for other in self.snapshot.dependents(&owner.uid).filter(|it| *it.key().resource == *PODS) {
            if let Some(node) = running_on(other) {
                *counts.entry(node).or_default() += 1;
            }
        }
        counts
    }

    /// Whether a pod on the node has one of the ports.
    pub fn has_port(&self, node: &str, wanted: &index::HostPort) -> bool {
        let term = index::host_port(node, wanted);
        let mut holders = self.snapshot.indexed(Index::PodHostPort, &term, PODS, None);
        holders.any(|pod| index::host_ports(pod.value()).any(|has| has.clashes(wanted)))
    }
}

/// The node of a pod that has one and has not ended.
pub(super) fn running_on(object: &Object) -> Option<String> {
    let pod = object.view::<Pod>().ok()?;
    pod.node_name().filter(|_| !pod.has_ended()).map(str::to_owned)
}
