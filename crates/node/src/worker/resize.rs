//! A pod that is resized: asking the node's ledger, and writing control groups.

use std::sync::Arc;

use coracle_api::pod_resources::Amounts;
use coracle_api::pods::AnyPod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::message::{Allocate, Operation};
use super::{Turn, UnderWay, Worker};
use crate::ledger::{self, Asking};
use crate::planner::{AllSizes, Record, Verdict, allocated_pod, sizes, with_sizes};
use crate::pods::resources::{Qos, qos};

impl Worker {
    /// What the node's ledger must know of a pod that an earlier engine resized.
    #[must_use]
    pub fn promised(&self) -> Option<Amounts> {
        self.seen.resize.as_ref()?;
        Some(requests(&allocated_pod(self.pod(), &self.seen)))
    }

    /// Asks for what the pod's spec says.
    pub(super) fn allocate(&mut self, now: Timestamp, turn: &mut Turn) {
        let pod = Arc::clone(self.pod());
        let wanted = sizes(&pod);
        let pending = self.seen.resize.as_ref().and_then(|resize| resize.pending.as_ref());
        let since = pending.and_then(|_| {
            let status = pod.status.as_ref()?;
            let mut all = status.conditions.iter().flatten();
            let told = all.find(|it| it.type_ == coracle_api::pod_resources::RESIZE_PENDING)?;
            Some(told.last_transition_time.as_ref()?.0)
        });
        let asking = Asking {
            uid: self.id.uid.clone(),
            wanted: requests(&with_sizes(&pod, &wanted)),
            has: requests(&allocated_pod(&pod, &self.seen)),
            priority: pod.priority(),
            is_guaranteed: qos(&pod) == Qos::Guaranteed,
            since: since.unwrap_or(now),
        };
        let record = self.seen.record_if(&pod, &wanted);
        let under_way = UnderWay::Allocate(Box::new((wanted, record.clone())));
        self.begin(under_way, Operation::Allocate(Box::new(Allocate { asking, record })), turn);
    }

    pub(super) fn allocated(
        &mut self,
        asked: (AllSizes, Record),
        verdict: Verdict,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let pod = Arc::clone(self.pod());
        let note = self.seen.resize_answered(&pod, asked, verdict, now);
        note.into_iter().for_each(|note| self.note(note, turn));
    }

    pub(super) fn resized(
        &mut self,
        record: Record,
        result: Result<(), String>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let pod = Arc::clone(self.pod());
        let note = self.seen.resize_acted(&pod, record, result, now);
        note.into_iter().for_each(|note| self.note(note, turn));
    }

    /// Forgets a resize that has come to be, and says so.
    pub(super) fn settle_resize(&mut self, turn: &mut Turn) {
        let pod = Arc::clone(self.pod());
        let note = self.seen.resize_settled(&pod);
        note.into_iter().for_each(|note| self.note(note, turn));
    }
}

/// What a pod asks for of what may be resized.
fn requests(pod: &Pod) -> Amounts {
    // Of what was read from JSON.
    let value = serde_json::to_value(pod).unwrap_or_default();
    ledger::requests(&value)
}
