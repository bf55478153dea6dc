//! The nodes, and what runs on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Key, Object, index};
use coracle_store::{Expect, Snapshot, Write};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::{Value, json};

use super::request::{Amounts, amounts, numbers};
use super::selectors::Labels;
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

    /// The taints that keep pods away.
    pub fn repelling(&self) -> impl Iterator<Item = &Taint> {
        self.taints.iter().filter(|taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute"))
    }
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
    numbers(&snapshot.on_node(node))
}

/// All nodes, and the state as it will be: with every pod that was placed on its node.
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
        self.will_be(pod, json::with(pod, &["spec", "nodeName"], json!(node)));
        if let Some(place) = self.places.get_mut(node) {
            place.used = used(&self.snapshot, node);
        }
    }

    /// The node will be kept free for the pod; for `None`, none will.
    pub fn keep_free(&mut self, node: Option<&str>, pod: &Object) {
        self.will_be(pod, json::with(pod, &["status", "nominatedNodeName"], json!(node)));
    }

    /// The object will have this value.
    pub fn will_be(&mut self, object: &Object, value: Value) {
        let next = Object::with_resource(Arc::clone(&object.key().resource), value).ok();
        let write = next.map(|next| Write::put(next, Expect::Any));
        if let Some(Ok(next)) = write.map(|write| self.snapshot.with(&[write])) {
            self.snapshot = next;
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

    /// The waiting pods that the node is kept free for.
    pub fn nominated(&self, node: &str) -> Vec<Arc<Object>> {
        self.snapshot.indexed(Index::PodNominated, node, PODS, None).cloned().collect()
    }

    /// What the pods on the node ask for whose priority is below `priority`, by priority.
    pub fn below(&self, node: &str, priority: i32) -> Vec<(i32, Amounts)> {
        let all = self.snapshot.on_node_below(node, priority);
        all.iter().map(|(priority, amounts)| (*priority, numbers(amounts))).collect()
    }

    /// The pods of one priority on the node.
    pub fn of_rank(&self, node: &str, priority: i32) -> impl Iterator<Item = &Arc<Object>> {
        self.snapshot.indexed(Index::PodRank, &index::rank(node, priority), PODS, None)
    }

    /// Whether a pod on the node that is not `gone` has one of the ports.
    pub fn has_port(&self, node: &str, wanted: &index::HostPort, gone: &BTreeSet<Key>) -> bool {
        let term = index::host_port(node, wanted);
        let holders = self.snapshot.indexed(Index::PodHostPort, &term, PODS, None);
        let mut staying = holders.filter(|pod| !gone.contains(pod.key()));
        staying.any(|pod| index::host_ports(pod.value()).any(|has| has.clashes(wanted)))
    }
}

/// The node of a pod that has one and has not ended.
pub(super) fn running_on(object: &Object) -> Option<String> {
    let pod = object.view::<Pod>().ok()?;
    pod.node_name().filter(|_| !pod.has_ended()).map(str::to_owned)
}
