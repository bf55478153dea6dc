//! A plan in the making: the set, its nodes and pods.

use std::sync::Arc;

use coracle_api::int_or_string::IntOrString;
use coracle_api::resources::PODS;
use coracle_api::{Key, Object};
use coracle_store::Snapshot;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::labels::{GENERATION, GENERATION_LABEL, HASH_LABEL};
use super::members::{self, Members};
use super::nodes::{self, Place};

use crate::Context;
use crate::plan::{Because, Plan};
use crate::workload::owner::Owner;
use crate::workload::replica::{Replica, next_available};
use crate::workload::revisions::{self, Newest};
use crate::workload::steps::{create_pod, delete_pod};
use crate::workload::template::Names;

/// Pods that one plan makes, and deletes, at most.
const BURST: usize = 250;

/// A DaemonSet, read once a decision.
pub(super) struct Set {
    pub owner: Owner,
    /// A pod as the template says.
    pub template: Pod,
    pub min_ready_seconds: i64,
    /// Whether pods come to a new template by themselves.
    pub rolls: bool,
    max_surge: IntOrString,
    max_unavailable: IntOrString,
}

impl Set {
    pub fn read(object: &Arc<Object>) -> Option<Self> {
        let view = object.view::<DaemonSet>().ok()?;
        let spec = &view.spec;
        let strategy = &object.value()["spec"]["updateStrategy"];
        let share = |field: &str, otherwise| {
            let value = IntOrString::from_json(&strategy["rollingUpdate"][field]);
            value.unwrap_or(IntOrString::Int(otherwise))
        };
        Some(Self {
            owner: Owner::of(object),
            template: Pod { spec: spec.template.spec.clone(), ..Pod::default() },
            min_ready_seconds: i64::from(spec.min_ready_seconds.unwrap_or(0)),
            rolls: strategy["type"] != "OnDelete",
            max_surge: share("maxSurge", 0),
            max_unavailable: share("maxUnavailable", 1),
        })
    }

    /// Whether a node may have an old and a new pod at once.
    pub fn surges(&self) -> bool {
        !matches!(&self.max_surge, IntOrString::Int(0)) && self.max_surge.percent() != Some(0)
    }

    /// How many nodes of `desired` may have a pod more, and how many none that is available.
    pub fn limits(&self, desired: usize) -> (usize, usize) {
        let total = i32::try_from(desired).unwrap_or(i32::MAX);
        let of = |share: &IntOrString| {
            usize::try_from(share.scaled(total, true).unwrap_or(0)).unwrap_or(0)
        };
        let (surge, unavailable) = (of(&self.max_surge), of(&self.max_unavailable));
        (surge, if surge == 0 { unavailable.max(1) } else { unavailable })
    }
}

pub(super) struct Draft<'a> {
    pub set: &'a Set,
    pub context: &'a Context<'a>,
    pub places: Vec<Place>,
    pub members: Members,
    pub newest: Newest,
    pub stored: Vec<Arc<Object>>,
    pub names: Names<'a>,
    pub plan: Plan,
    may_create: bool,
    created: usize,
    deleted: usize,
}

impl<'a> Draft<'a> {
    pub fn new(snapshot: &'a Snapshot, set: &'a Set, context: &'a Context<'a>) -> Self {
        let stored = revisions::stored(snapshot, &set.owner);
        let newest = revisions::newest(snapshot, &set.owner, &stored, HASH_LABEL);
        let rests_on = vec![Arc::clone(&set.owner.object)];
        Self {
            places: nodes::places(snapshot, &set.template),
            members: members::by_node(Replica::of(snapshot, &set.owner)),
            names: Names::new(snapshot, &set.owner),
            plan: Plan { rests_on, ..Plan::default() },
            set,
            context,
            newest,
            stored,
            may_create: set.owner.may_create(snapshot),
            created: 0,
            deleted: 0,
        }
    }

    /// The pods of a node.
    pub fn on(&self, node: &str) -> Vec<Replica> {
        self.members.get(node).cloned().unwrap_or_default()
    }

    /// Whether a pod is of the newest template.
    pub fn is_updated(&self, pod: &Replica) -> bool {
        let metadata = self.set.owner.object.metadata();
        let generation = metadata.annotations.get(GENERATION);
        pod.label(HASH_LABEL) == self.newest.hash
            || generation.is_some_and(|it| pod.label(GENERATION_LABEL) == it)
    }

    /// Whether a pod has been ready for long enough.
    pub fn is_available(&self, pod: &Replica) -> bool {
        pod.is_available(self.set.min_ready_seconds, self.context.now)
    }

    /// Makes a pod on a node.
    pub fn create(&mut self, node: &str, failures: u32) {
        if self.created < BURST && self.may_create {
            self.created = self.created.saturating_add(1);
            let pod: Value = self.new_pod(node, failures);
            self.plan.step(create_pod(&self.set.owner.object, pod));
        }
    }

    /// Deletes a pod.
    pub fn delete(&mut self, pod: &Replica) {
        if self.deleted < BURST && !pod.is_deleting() {
            self.deleted = self.deleted.saturating_add(1);
            self.plan.step(delete_pod(&self.set.owner.object, &pod.object));
        }
    }

    /// The plan: the revision, pods, old revisions, the status.
    pub fn finish(mut self) -> Plan {
        let status = self.status();
        let mut plan = std::mem::take(&mut self.plan);
        let pods = std::mem::take(&mut plan.steps);
        plan.write_each(self.newest.writes.iter().cloned());
        plan.steps.extend(pods);
        plan.write_each(self.expired());
        plan.write_each(status);
        let all = self.members.values().flatten();
        if let Some(when) = next_available(all, self.set.min_ready_seconds, self.context.now) {
            plan.look_again_at(when);
        }
        plan.because = self.waits_for();
        plan
    }

    fn expired(&self) -> Vec<crate::Write> {
        revisions::expired(&self.set.owner, &self.stored, |revision| {
            let metadata = revision.metadata();
            let hash = metadata.labels.get(HASH_LABEL).map_or("", String::as_str);
            let mut pods = self.members.values().flatten();
            metadata.name == self.newest.name || pods.any(|pod| pod.label(HASH_LABEL) == hash)
        })
    }

    fn waits_for(&self) -> Option<Because> {
        let on = |place: &Place| self.members.get(&place.name).and_then(|pods| pods.first());
        let wanted: Vec<_> = self.places.iter().filter(|place| place.should_run).collect();
        let pods: Vec<_> = wanted.iter().filter_map(|place| on(place)).collect();
        let say = |pod: &Replica, state: &str| {
            let key = Key::new(PODS, self.set.owner.namespace(), pod.name());
            Because::of(key, format!("{} {state}", pod.name()))
        };
        if let Some(pod) = pods.iter().find(|pod| !pod.is_ready()) {
            return Some(say(pod, "is not ready"));
        }
        if let Some(pod) = pods.iter().find(|pod| !self.is_available(pod)) {
            let seconds = self.set.min_ready_seconds;
            return Some(say(pod, &format!("is ready, and has to be for {seconds} s")));
        }
        if let Some(place) = wanted.iter().find(|place| on(place).is_none()) {
            return Some(Because::only(format!("node {} has no pod yet", place.name)));
        }
        let old = pods.iter().find(|pod| self.set.rolls && !self.is_updated(pod))?;
        Some(say(old, "is of an older template, and still to be replaced"))
    }
}
