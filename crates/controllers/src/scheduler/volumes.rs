//! What a pod's claims say about its node.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::resources::{NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use coracle_api::{Index, Key, Object, pods};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, Pod, Volume};
use serde_json::json;

use super::nodes::{Nodes, Place, running_on};
use super::selectors::matches_node;
use crate::json;
use crate::plan::Write;
use crate::volumes::{self, SELECTED_NODE};

/// The claims of a pod.
#[derive(Default)]
pub(super) struct Volumes {
    /// The claims that one pod alone may use: namespace and name.
    single: Vec<(String, String)>,
    /// Where the volumes that are bound can be reached; `None` for one that is gone.
    bound: Vec<Option<NodeSelector>>,
    /// The claims that are bound.
    held: Vec<Arc<Object>>,
    /// Claims that wait for their first consumer.
    waiting: Vec<Waiting>,
}

struct Waiting {
    claim: Arc<Object>,
    /// Volumes made beforehand that would do.
    offers: Vec<Offer>,
    /// Whether a volume can be made where none would do.
    can_provision: bool,
    /// The node that the claim was told before.
    node: Option<String>,
}

struct Offer {
    volume: Arc<Object>,
    reach: Option<NodeSelector>,
}

impl Volumes {
    /// The pod's claims, or what is wrong with them whatever the node.
    pub fn of(snapshot: &Snapshot, pod: &Pod) -> Result<Self, String> {
        let mut volumes = Self::default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let spec = pod.spec.as_ref();
        for volume in spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten() {
            let Some(name) = pods::claim_name(pod, volume) else { continue };
            let claim = snapshot
                .find(PERSISTENT_VOLUME_CLAIMS, namespace, &name)
                .ok_or_else(|| missing(volume, &name))?;
            let foreign = volume.ephemeral.as_ref().and_then(|_| pods::foreign_claim(pod, claim));
            if let Some(why) = foreign {
                return Err(why);
            }
            if claim.metadata().is_deleting() {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let modes = claim.value()["spec"]["accessModes"].as_array().into_iter().flatten();
            if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
                volumes.single.push((namespace.to_owned(), name));
            }
            volumes.add(snapshot, claim)?;
        }
        Ok(volumes)
    }

    fn add(&mut self, snapshot: &Snapshot, claim: &Arc<Object>) -> Result<(), String> {
        if volumes::is_bound(claim) {
            let name = claim.str_at("/spec/volumeName").unwrap_or_default();
            let volume = snapshot.find(PERSISTENT_VOLUMES, "", name);
            self.bound.push(volume.map(|volume| reach(volume).unwrap_or_else(anywhere)));
            self.held.push(Arc::clone(claim));
            return Ok(());
        }
        let class = volumes::class_of(snapshot, claim);
        if !class.as_ref().is_some_and(|class| class.waits_for_consumer()) {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        let told = claim.metadata().annotations.get(SELECTED_NODE);
        let there = told.filter(|node| snapshot.find(NODES, "", node).is_some());
        // A claim that was told its node gets its volume there.
        let offers = if there.is_none() { volumes::offers(snapshot, claim) } else { Vec::new() };
        let offers = offers.into_iter();
        self.waiting.push(Waiting {
            offers: offers.map(|volume| Offer { reach: reach(&volume), volume }).collect(),
            can_provision: class.is_some_and(|class| class.can_provision()),
            node: there.cloned(),
            claim: Arc::clone(claim),
        });
        Ok(())
    }

    /// Why the pod's volumes cannot be had on the node, and whether it would help if pods went.
    /// `gone` are those that would.
    pub fn why_not(
        &self,
        place: &Place,
        nodes: &Nodes,
        gone: &BTreeSet<Key>,
    ) -> Option<(&'static str, bool)> {
        let is_used = |(namespace, name): &(String, String)| is_used(nodes, namespace, name, gone);
        if self.single.iter().any(is_used) {
            let why = "node has pod using PersistentVolumeClaim with the same name and \
                       ReadWriteOncePod access mode";
            return Some((why, true));
        }
        self.out_of_reach(place).map(|why| (why, false))
    }

    fn out_of_reach(&self, place: &Place) -> Option<&'static str> {
        let reachable = |reach: &NodeSelector| is_reachable(reach, place);
        if self.bound.iter().any(Option::is_none) {
            return Some(
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            );
        }
        if !self.bound.iter().flatten().all(reachable) {
            return Some("node(s) didn't match PersistentVolume's node affinity");
        }
        let can_have = |waiting: &Waiting| {
            let elsewhere = waiting.node.as_ref().is_some_and(|node| node != place.name());
            let offered = waiting.offers.iter().any(|o| o.reach.as_ref().is_none_or(reachable));
            !elsewhere && (offered || waiting.can_provision)
        };
        let all = self.waiting.iter().all(can_have);
        (!all).then_some("node(s) didn't find available persistent volumes to bind")
    }

    /// Whether nothing is to be waited for.
    pub fn are_bound(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The claims that a placement rests on: one that is deleted before its pod has a node is not
    /// protected, and the next claim of its name would never be told a node.
    pub fn held(&self) -> impl Iterator<Item = Arc<Object>> {
        self.held.iter().cloned()
    }

    /// The writes that tell the claims their node, or that keep a volume there for them.
    pub fn assign(&self, place: &Place) -> Vec<Write> {
        let mut taken = Vec::new();
        let mut writes = Vec::new();
        for waiting in &self.waiting {
            let free = |offer: &&Offer| {
                !taken.contains(offer.volume.key())
                    && offer.reach.as_ref().is_none_or(|reach| is_reachable(reach, place))
            };
            if let Some(offer) = waiting.offers.iter().find(free) {
                taken.push(offer.volume.key().clone());
                writes.extend(volumes::reserve(&offer.volume, &waiting.claim));
            } else if waiting.node.as_deref() != Some(place.name()) {
                let path = ["metadata", "annotations", SELECTED_NODE];
                let told = json::with(&waiting.claim, &path, json!(place.name()));
                writes.push(Write::Update(told));
            }
        }
        writes
    }
}

/// Whether a pod on any node, and none that would go, has the claim.
fn is_used(nodes: &Nodes, namespace: &str, name: &str, gone: &BTreeSet<Key>) -> bool {
    let mut users = nodes.snapshot().indexed(Index::PodClaim, name, PODS, Some(namespace));
    users.any(|pod| running_on(pod).is_some() && !gone.contains(pod.key()))
}

fn is_reachable(reach: &NodeSelector, place: &Place) -> bool {
    reach.node_selector_terms.is_empty() || matches_node(reach, &place.labels, place.name())
}

/// A selector that says nothing: here, that every node can reach the volume.
fn anywhere() -> NodeSelector {
    NodeSelector { node_selector_terms: Vec::new() }
}

fn reach(volume: &Object) -> Option<NodeSelector> {
    let volume = volume.view::<PersistentVolume>().ok()?;
    volume.spec.as_ref()?.node_affinity.as_ref()?.required.clone()
}

fn missing(volume: &Volume, claim: &str) -> String {
    match volume.ephemeral {
        Some(_) => format!(
            "waiting for ephemeral volume controller to create the persistentvolumeclaim {claim:?}"
        ),
        None => format!("persistentvolumeclaim {claim:?} not found"),
    }
}
