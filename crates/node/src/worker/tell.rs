//! What the API is told of a pod, and when.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::{Operation, Turn, UnderWay, Worker};
use crate::planner::{Step, status};

impl Worker {
    /// A pod that ran before shows at once what has become of it: its containers may have ended
    /// with the machine. Whether that still has to be written.
    pub(super) fn shows_what_was_found(&mut self, now: Timestamp, turn: &mut Turn) -> bool {
        if !self.looked && self.under_way.is_none() {
            self.tell(false, now, turn);
            // An API that refuses holds nobody up.
            self.looked = self.under_way.is_none();
        }
        !self.looked
    }

    /// A pod that the API shows as Ready is shown as it is before a container is started anew: that
    /// can take as long as its shim is silent.
    pub(super) fn show_fall_before(&mut self, step: &Step, now: Timestamp, turn: &mut Turn) {
        let is_start = matches!(step, Step::StartContainer { .. });
        let is_shown_ready = |status: &PodStatus| {
            let mut conditions = status.conditions.iter().flatten();
            conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        if is_start && !self.is_ending() && self.shown().is_some_and(is_shown_ready) {
            self.tell(false, now, turn);
        }
    }

    /// What the API shows: what was written last counts, even if the API has put it in other words.
    fn shown(&self) -> Option<&PodStatus> {
        let revision = self.object.as_ref()?.revision();
        let last = self.written.as_ref().filter(|(_, written)| *written == revision);
        last.map(|(status, _)| status).or(self.pod().status.as_ref())
    }

    /// Tells the API what it does not show yet: the status, then that the pod is `over`.
    pub(super) fn tell(&mut self, over: bool, now: Timestamp, turn: &mut Turn) {
        let Some(object) = self.object.clone().filter(|_| !self.finished && !self.seen.gone) else {
            return;
        };
        let status = status(self.pod(), &self.seen, now);
        let is_shown = self.shown() == Some(&status);
        if is_shown && !over {
            return;
        }
        if let Some(at) = self.api_again.filter(|at| *at > now) {
            return turn.wake_at(at);
        }
        match is_shown {
            true => self.begin(UnderWay::DeletePod, Operation::DeletePod, turn),
            false => {
                let status = Box::new(status);
                let operation = Operation::WriteStatus(object, status.clone());
                self.begin(UnderWay::WriteStatus(status), operation, turn);
            }
        }
    }
}
