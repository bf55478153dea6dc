//! The pods of a set: which are its own, in which place, and how they are.

use std::sync::Arc;

use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

use super::identity::{REVISION_LABEL, parent_and_ordinal};
use super::set::Set;
use crate::pods;

/// How long after a pod's `startTime` the node's first report on it comes at most.
const REPORT_DELAY: SignedDuration = SignedDuration::from_secs(2);

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
        pods::has_ended(&self.pod)
    }

    pub fn is_pending(&self) -> bool {
        pods::phase(&self.pod) == "Pending"
    }

    pub fn is_running_and_ready(&self) -> bool {
        pods::phase(&self.pod) == "Running" && pods::is_ready(&self.pod)
    }

    /// When the pod is or becomes available if it stays as it is; `None` when it is not ready.
    pub fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        let ready = pods::condition(&self.pod, "Ready").filter(|ready| ready.status == "True")?;
        let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        let wait = SignedDuration::from_secs(i64::from(min_ready_seconds));
        // Past the end of time the pod never becomes available.
        Some(since.checked_add(wait).unwrap_or(Timestamp::MAX))
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
    /// The node sets the condition Ready to False in its first report on the pod, and touches its
    /// `lastTransitionTime` only when it turns. A pod that is not Ready and whose condition is as
    /// old as that report was therefore never Ready. The report is as old as `Initialized`, which
    /// never turns in a pod without init containers, or at most [`REPORT_DELAY`] younger than
    /// `startTime`; a pod that was Ready for a moment within that time is not missed by anybody.
    pub fn was_ever_ready(&self) -> bool {
        let Some(ready) = pods::condition(&self.pod, "Ready") else { return false };
        let turned = ready.last_transition_time.as_ref().map(|time| time.0);
        let is_new = turned.zip(self.first_report()).is_none_or(|(turned, first)| turned <= first);
        ready.status == "True" || !is_new
    }

    /// The latest that the node's first report on the pod can have been.
    fn first_report(&self) -> Option<Timestamp> {
        let has_init = self.pod.spec.as_ref().is_some_and(|spec| spec.init_containers.is_some());
        let initialized = pods::condition(&self.pod, "Initialized").filter(|_| !has_init);
        let initialized = initialized.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0);
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let started = started.and_then(|time| time.0.checked_add(REPORT_DELAY).ok());
        initialized.max(started)
    }
}

/// The pods of a set in their places.
pub(super) struct Members {
    /// One place per ordinal wanted, ascending; `None` when there is no such pod.
    pub replicas: Vec<(i32, Option<Member>)>,
    /// Pods of ordinals that are not wanted, highest first.
    pub condemned: Vec<Member>,
}

impl Members {
    /// The pods that `set` owns and that fit it.
    pub fn of(snapshot: &Snapshot, set: &Set) -> Self {
        let own = snapshot.dependents(set.uid()).filter(|object| is_own(set, object));
        let mut condemned: Vec<_> = own.filter_map(Member::read).collect();
        let mut replicas: Vec<_> = set.ordinals().map(|ordinal| (ordinal, None)).collect();
        condemned.retain(|member| {
            if !set.has_ordinal(member.ordinal) {
                return true;
            }
            let place = usize::try_from(member.ordinal - set.start).unwrap_or_default();
            replicas[place].1 = Some(member.clone());
            false
        });
        condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
        Self { replicas, condemned }
    }

    /// All pods that there are, replicas first.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.replicas.iter().filter_map(|(_, member)| member.as_ref()).chain(&self.condemned)
    }
}

fn is_own(set: &Set, object: &Object) -> bool {
    *object.key().resource == *"pods"
        && object.metadata().controller().is_some_and(|owner| owner.uid == set.uid())
        && super::ownership::fits(set, object)
}
