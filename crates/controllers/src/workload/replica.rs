//! A pod as workloads look at it.

use std::sync::Arc;

use coracle_api::pods::{self, AnyPod};
use coracle_api::{Object, Timestamp, time};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::owner::Owner;
use crate::plan::Because;

/// A pod with its typed view.
#[derive(Clone)]
pub(crate) struct Replica {
    /// The object.
    pub object: Arc<Object>,
    /// What it says.
    pub pod: Arc<Pod>,
}

impl Replica {
    /// `None` when the object has no shape of a pod, which validation prevents.
    pub fn read(object: &Arc<Object>) -> Option<Self> {
        Some(Self { object: Arc::clone(object), pod: object.view().ok()? })
    }

    /// The pods that `owner` controls and selects, by name.
    pub fn of(snapshot: &Snapshot, owner: &Owner) -> Vec<Self> {
        let own = owner.controlled(snapshot, coracle_api::resources::PODS);
        own.filter(|object| owner.selects(object)).filter_map(Self::read).collect()
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        &self.object.metadata().name
    }

    /// `metadata.uid`
    pub fn uid(&self) -> &str {
        &self.object.metadata().uid
    }

    /// A label, empty when it has none of that key.
    pub fn label(&self, key: &str) -> &str {
        self.object.metadata().labels.get(key).map_or("", String::as_str)
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.object.metadata().annotations.get(key).map(String::as_str)
    }

    /// `status.phase`
    pub fn phase(&self) -> &str {
        self.pod.phase()
    }

    /// Whether a deletion has begun.
    pub fn is_deleting(&self) -> bool {
        pods::is_terminating(&self.pod)
    }

    /// Whether it neither has ended nor is being deleted.
    pub fn is_active(&self) -> bool {
        !self.pod.has_ended() && !self.is_deleting()
    }

    /// Whether it is being deleted and has not ended yet.
    pub fn is_ending(&self) -> bool {
        !self.pod.has_ended() && self.is_deleting()
    }

    /// Whether the condition Ready holds.
    pub fn is_ready(&self) -> bool {
        self.pod.is_ready()
    }

    /// The node that it is bound to.
    pub fn node(&self) -> Option<&str> {
        self.pod.node_name()
    }

    /// When it is or becomes available if it stays as it is; `None` when it is not ready.
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        available_at(&self.pod, min_ready_seconds)
    }

    /// Whether it has been ready for long enough.
    pub fn is_available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        let at = self.available_at(min_ready_seconds);
        at.is_some_and(|at| min_ready_seconds == 0 || at <= now)
    }

    /// The statuses of its containers, without those that run before them.
    pub fn container_statuses(&self) -> impl Iterator<Item = &ContainerStatus> {
        let status = self.pod.status.as_ref();
        status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten()
    }

    /// The statuses of its init containers, sidecars among them.
    pub fn init_statuses(&self) -> impl Iterator<Item = &ContainerStatus> {
        let status = self.pod.status.as_ref();
        status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten()
    }
}

/// When a pod is or becomes available if it stays as it is: ready for `min_ready_seconds`. `None`
/// when it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i64) -> Option<Timestamp> {
    let ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    // Past the end of time the pod never becomes available.
    Some(time::after(since, min_ready_seconds))
}

/// What the first of `pods` waits for that is ready, and not for long enough.
pub(crate) fn next_waiting(
    pods: &[Replica],
    min_ready_seconds: i64,
    now: Timestamp,
) -> Option<Because> {
    let waits = |pod: &&Replica| pod.is_ready() && !pod.is_available(min_ready_seconds, now);
    let pod = pods.iter().find(waits)?;
    let name = pod.name();
    let sentence = format!("{name} is ready, and has to be for {min_ready_seconds} s");
    Some(Because::of(pod.object.key().clone(), sentence))
}

/// When the next of `pods` has been ready for long enough.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Replica>,
    min_ready_seconds: i64,
    now: Timestamp,
) -> Option<Timestamp> {
    let due = pods.into_iter().filter_map(|pod| pod.available_at(min_ready_seconds));
    due.filter(|at| *at > now).min()
}
