//! One decision under way: the pods that wait get their nodes one after the other, each on the state
//! that those before it leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::{Key, Object, Subresource, Timestamp, conditions};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::ask::Ask;
use super::filters;
use super::nodes::{Nodes, Place};
use super::preemption::{Candidate, Objections, REASON, candidate};
use super::refusals::{Nomination, Refusal};
use super::scene::Scene;
use super::scores::best;
use super::shape::Shape;
use super::volumes::Volumes;
use crate::json;
use crate::plan::{DeleteOptions, Note, Plan, Step, Write};
use crate::pod_conditions;

/// What is decided so far.
pub(super) struct Round<'a> {
    pub plan: Plan,
    /// The state that writes are made from.
    stored: &'a Snapshot,
    /// The state as it will be.
    nodes: Nodes,
    /// What is written already: an object is written once a plan.
    written: BTreeSet<Key>,
    /// What was said to pods since somebody last got a place: others like them are told the same.
    refused: BTreeMap<Arc<Shape>, Refusal>,
    now: Timestamp,
}

/// What is found for one pod.
enum Found {
    Node(String),
    Victims(Candidate, Refusal),
    Nothing(Refusal),
}

impl<'a> Round<'a> {
    pub fn of(stored: &'a Snapshot, now: Timestamp) -> Self {
        Self {
            plan: Plan::default(),
            stored,
            nodes: Nodes::of(stored),
            written: BTreeSet::new(),
            refused: BTreeMap::new(),
            now,
        }
    }

    /// Finds a node for one pod, or says why there is none.
    pub fn place(&mut self, object: &Arc<Object>, pod: &Arc<Pod>) {
        if self.written.contains(object.key()) {
            return;
        }
        let like = |refused: &BTreeMap<_, Refusal>| refused.get(&Shape::of(object, pod)?).cloned();
        let known = if self.refused.is_empty() { None } else { like(&self.refused) };
        if let Some(refusal) = known {
            return self.refuse(object, &refusal);
        }
        if self.nodes.is_empty() {
            return self.refuse(object, &Refusal::no_nodes());
        }
        let volumes = match Volumes::of(self.nodes.snapshot(), pod) {
            Ok(volumes) => volumes,
            Err(why) => return self.refuse(object, &before_nodes(&self.nodes, pod, &why)),
        };
        match find(&self.nodes, object, pod, &volumes) {
            Found::Node(node) => self.give(object, &node, &volumes),
            Found::Victims(candidate, refusal) => self.preempt(object, &candidate, &refusal),
            Found::Nothing(refusal) => {
                self.refuse(object, &refusal);
                self.refused.extend(Shape::of(object, pod).map(|shape| (shape, refusal)));
            }
        }
    }

    /// The pod gets the node; or its claims are told, and it gets it when they are bound.
    fn give(&mut self, object: &Arc<Object>, node: &str, volumes: &Volumes) {
        let claims = self.nodes.get(node).map(|place| volumes.assign(place)).unwrap_or_default();
        let waits = !claims.is_empty() || !volumes.are_bound();
        self.refused.clear();
        self.nodes.add(node, object);
        if waits {
            let own = claims.into_iter().filter(|write| self.is_first(write)).collect::<Vec<_>>();
            return self.plan.step(Step::together(own));
        }
        self.plan.rests_on.extend(volumes.held());
        let Key { namespace, name, .. } = object.key();
        let told = format!("Successfully assigned {namespace}/{name} to {node}");
        let told = Note::normal(object, "Scheduled", told);
        self.plan.step(Step::of(bind(object, node)).say(told));
    }

    /// Whether nothing was written yet to what `write` updates. The pods after this one see it so.
    fn is_first(&mut self, write: &Write) -> bool {
        let Write::Update(value) = write else { return true };
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default();
        let Some(old) = self.stored.by_uid(uid) else { return true };
        self.nodes.will_be(old, value.clone());
        self.written.insert(old.key().clone())
    }

    /// Others make room for the pod: all of it happens, or nothing does.
    fn preempt(&mut self, object: &Arc<Object>, candidate: &Candidate, refusal: &Refusal) {
        let mut step = Step::default();
        let node = &candidate.node;
        for victim in &candidate.victims {
            let stored = self.stored.get(victim.key()).filter(|pod| !pod.metadata().is_deleting());
            let Some(victim) = stored.filter(|pod| self.written.insert(pod.key().clone())) else {
                continue;
            };
            step.writes.extend(self.evict(victim));
            let uid = &object.metadata().uid;
            let told = format!("Preempted by pod {uid} on node {node}");
            step.notes.push(Note::normal(victim, "Preempted", told));
        }
        for other in self.nodes.nominated(node) {
            let stored = self.stored.get(other.key()).filter(|it| it.key() != object.key());
            let less = stored.filter(|other| other.priority() < object.priority());
            let Some(other) = less.filter(|it| !self.written.contains(it.key())) else { continue };
            self.written.insert(other.key().clone());
            self.nodes.keep_free(None, other);
            let free = json::with(other, &["status", "nominatedNodeName"], Value::Null);
            step.writes.push(Write::status(free));
        }
        self.refused.clear();
        self.nodes.keep_free(Some(node), object);
        let (writes, notes) = self.told(object, refusal);
        step.writes.extend(writes);
        step.notes.extend(notes);
        self.plan.step(step);
    }

    /// The pod goes, with all the grace that it has.
    fn evict(&mut self, pod: &Arc<Object>) -> Vec<Write> {
        let going =
            json::with(pod, &["metadata", "deletionTimestamp"], json!(crate::rfc3339(self.now)));
        self.nodes.will_be(pod, going);
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        pod_conditions::disrupt(pod, (REASON, message), DeleteOptions::default(), self.now)
    }

    /// Says in the pod's status and in an event why it waits, once per reason.
    fn refuse(&mut self, object: &Arc<Object>, refusal: &Refusal) {
        let (writes, notes) = self.told(object, refusal);
        if refusal.nomination == Nomination::Ends && is_nominated(object) {
            self.nodes.keep_free(None, object);
        }
        let mut step = Step::together(writes);
        step.notes.extend(notes);
        self.plan.step(step);
    }

    fn told(&self, pod: &Arc<Object>, refusal: &Refusal) -> (Option<Write>, Option<Note>) {
        let said = conditions::find(pod.value(), "PodScheduled");
        let is_news = said.is_none_or(|said| said["message"] != *refusal.message);
        let node = match &refusal.nomination {
            Nomination::Stays => pod.value()["status"]["nominatedNodeName"].clone(),
            Nomination::Is(node) => json!(node),
            Nomination::Ends => Value::Null,
        };
        let kept = &pod.value()["status"]["nominatedNodeName"];
        if !is_news && *kept == node {
            return (None, None);
        }
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": null,
            "reason": "Unschedulable",
            "message": refusal.message,
        });
        let mut value = pod_conditions::with(pod, condition, self.now);
        json::set(&mut value, &["status", "nominatedNodeName"], node);
        let told = Note::warning(pod, "FailedScheduling", refusal.message.clone());
        (Some(Write::status(value)), is_news.then_some(told))
    }
}

fn is_nominated(pod: &Object) -> bool {
    pod.str_at("/status/nominatedNodeName").is_some_and(|node| !node.is_empty())
}

fn before_nodes(nodes: &Nodes, pod: &Pod, why: &str) -> Refusal {
    let policy = pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    Refusal::before_nodes(nodes, policy == Some("Never"), why)
}

/// The best node for a pod, or who must go for it, or why there is none.
fn find(nodes: &Nodes, object: &Arc<Object>, pod: &Pod, volumes: &Volumes) -> Found {
    let ask = Ask::of(nodes, object, pod, volumes);
    let named = match filters::named(&ask) {
        Ok(named) => named,
        Err(why) => return Found::Nothing(before_nodes(nodes, pod, &why)),
    };
    let mut objections = Objections::new();
    let mut fitting: Vec<&Place> = Vec::new();
    for place in nodes.iter() {
        let is_named = named.as_ref().is_none_or(|names| names.contains(place.name()));
        let objection = match is_named {
            true => {
                let crowded = Scene::crowded(nodes, place, &ask);
                filters::why_not(nodes, &ask, crowded.as_ref(), &Scene::of(place, &ask))
            }
            false => Some(filters::not_named()),
        };
        match objection {
            None => fitting.push(place),
            Some(objection) => drop(objections.insert(place.name(), objection)),
        }
    }
    let kept = ask.nominated();
    let kept = fitting.iter().find(|place| Some(place.name()) == kept).copied();
    if let Some(place) = kept.or_else(|| best(nodes, &ask, &fitting)) {
        return Found::Node(place.name().to_owned());
    }
    match candidate(nodes, &ask, &objections) {
        Ok(candidate) => {
            let refusal = Refusal::preempting(nodes, &objections, &candidate);
            Found::Victims(candidate, refusal)
        }
        Err(futile) => Found::Nothing(Refusal::futile(nodes, &objections, futile)),
    }
}

fn bind(pod: &Object, node: &str) -> Write {
    let metadata = pod.metadata();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    Write::CreateSubresource { key: pod.key().clone(), subresource: Subresource::Binding, body }
}
