//! The nodes, and what runs on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Object;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::request::{Amounts, HostPort, Request, add, amounts};
use super::selectors::{Labels, tolerates};
use crate::pods;

/// A node, and what is taken of it.
pub(super) struct Place {
    pub node: Arc<Node>,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub allocatable: Amounts,
    pub used: Amounts,
    pub ports: Vec<HostPort>,
    pub pods: Vec<Arc<Pod>>,
}

impl Place {
    fn of(object: &Object) -> Option<Self> {
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
            used: Amounts::new(),
            ports: Vec::new(),
            pods: Vec::new(),
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

    fn add(&mut self, pod: &Arc<Pod>) {
        let request = Request::of(pod);
        add(&mut self.used, &request.amounts);
        self.ports.extend(request.ports);
        self.pods.push(Arc::clone(pod));
    }

    /// How good the node is for the pod, of those that can take it: without taints that would
    /// rather not have it, with few of its like, with much room.
    pub fn score(&self, pod: &Pod, request: &Request) -> (i64, i64, i64) {
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
        let unwanted = self.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule" && !tolerates(tolerations.unwrap_or_default(), taint)
        });
        let owner = controller_uid(pod);
        let alike = |other: &&Arc<Pod>| owner.is_some() && controller_uid(other) == owner;
        let alike = self.pods.iter().filter(alike).count();
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

fn controller_uid(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// Whether the node's condition Ready holds.
pub(super) fn is_ready(node: &Object) -> bool {
    let conditions = node.value()["status"]["conditions"].as_array();
    let mut ready = conditions.into_iter().flatten().filter(|c| c["type"] == "Ready");
    ready.any(|condition| condition["status"] == "True")
}

/// A taint without a value.
pub(super) fn taint(key: &str, effect: &str) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() }
}

/// All nodes, with the pods that are on them or will be.
pub(super) struct Nodes {
    places: BTreeMap<String, Place>,
}

impl Nodes {
    pub fn of(snapshot: &Snapshot) -> Self {
        let places = snapshot.list("nodes", None).filter_map(|node| Place::of(node));
        let mut nodes =
            Self { places: places.map(|place| (place.name().to_owned(), place)).collect() };
        for object in snapshot.list("pods", None) {
            if let Ok(pod) = object.view::<Pod>()
                && let Some(name) = pods::node_name(&pod)
                && !pods::has_ended(&pod)
            {
                nodes.add(name, &pod);
            }
        }
        nodes
    }

    /// The pod is or will be on the node.
    pub fn add(&mut self, node: &str, pod: &Arc<Pod>) {
        if let Some(place) = self.places.get_mut(node) {
            place.add(pod);
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
}
