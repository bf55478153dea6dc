//! The pods of a set: which are its own, in which place, and how they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::PODS;
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

use super::identity::{REVISION_LABEL, parent_and_ordinal};
use super::ownership;
use super::set::Set;
use crate::workload::replica::available_at;

/// A pod of a set.
#[derive(Clone)]
pub(super) struct Member {
    pub object: Arc<Object>,
    pub pod: Arc<Pod>,
    pub ordinal: i32,
}

impl Member {
    fn read(object: &Arc<Object>) -> Option<Self> {
        let (_, ordinal) = parent_and_ordinal(&object.metadata().name)?;
        Some(Self { object: Arc::clone(object), pod: object.view().ok()?, ordinal })
    }

    pub fn name(&self) -> &str {
        &self.object.metadata().name
    }

    /// The name of the ControllerRevision that it was made from.
    pub fn revision(&self) -> &str {
        self.object.metadata().labels.get(REVISION_LABEL).map_or("", String::as_str)
    }

    pub fn is_terminating(&self) -> bool {
        pods::is_terminating(&self.pod)
    }

    pub fn has_ended(&self) -> bool {
        self.pod.has_ended()
    }

    pub fn is_pending(&self) -> bool {
        self.pod.phase() == "Pending"
    }

    /// Whether no node has it yet: nothing of it ever ran.
    pub fn is_unscheduled(&self) -> bool {
        let node = self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        self.is_pending() && node.is_none_or(str::is_empty)
    }

    pub fn is_running_and_ready(&self) -> bool {
        self.pod.phase() == "Running" && self.pod.is_ready()
    }

    /// When the pod is or becomes available if it stays as it is; `None` when it is not ready.
    pub fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        available_at(&self.pod, i64::from(min_ready_seconds))
    }

    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.available_at(min_ready_seconds).is_some_and(|at| min_ready_seconds == 0 || at <= now)
    }

    /// Whether the pod is not available, or soon will not be.
    pub fn is_unavailable(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.is_terminating() || !self.is_available(min_ready_seconds, now)
    }

    /// Whether this pod was Ready at any time, as far as its status tells.
    ///
    /// The node's first report on a pod says that it is not Ready since `startTime`, however late it
    /// is made; a pod that was Ready and is not any more, is not since a later second.
    pub fn was_ever_ready(&self) -> bool {
        let Some(ready) = pods::condition(&self.pod, "Ready") else { return false };
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let turned = ready.last_transition_time.as_ref();
        let later = turned.zip(started).is_some_and(|(turned, started)| turned.0 > started.0);
        ready.status == "True" || later
    }
}

/// The pods of a set in their places.
pub(super) struct Members {
    /// The pods of ordinals that are wanted, by ordinal. How many are wanted is a number that a
    /// user wrote: nothing is kept for those that there are not.
    pub replicas: BTreeMap<i32, Member>,
    /// Pods of ordinals that are not wanted, highest first.
    pub condemned: Vec<Member>,
}

impl Members {
    /// The pods that `set` owns and that fit it.
    pub fn of(snapshot: &Snapshot, set: &Set) -> Self {
        let own = set.owner.controlled(snapshot, PODS).filter(|pod| ownership::fits(set, pod));
        let (wanted, mut condemned): (Vec<_>, Vec<_>) =
            own.filter_map(Member::read).partition(|member| set.has_ordinal(member.ordinal));
        condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
        Self { replicas: wanted.into_iter().map(|it| (it.ordinal, it)).collect(), condemned }
    }

    /// All pods that there are, replicas first.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.replicas.values().chain(&self.condemned)
    }
}
