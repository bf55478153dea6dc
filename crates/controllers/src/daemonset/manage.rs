//! A pod where one belongs, and none elsewhere.

use coracle_api::{Timestamp, time};

use super::draft::Draft;
use super::labels::FAILURES;
use super::nodes::Place;
use crate::plan::Note;
use crate::workload::replica::Replica;

/// Seconds before the second pod in a row that failed on a node is replaced; each next one waits
/// twice as long.
const BACK_OFF: i64 = 1;
/// Seconds that a replacement waits at most.
const BACK_OFF_MAX: i64 = 15 * 60;
/// Seconds that a pod must live for the failures before it to be forgotten.
const FORGOTTEN_AFTER: i64 = 30 * 60;

impl Draft<'_> {
    /// Makes and deletes pods, node by node.
    pub fn manage(&mut self) {
        for place in self.places.clone() {
            self.manage_node(&place);
        }
        self.leave_vanished_nodes();
    }

    fn manage_node(&mut self, place: &Place) {
        let pods = self.on(&place.name);
        if pods.is_empty() {
            if place.should_run {
                self.create(&place.name, 0);
            }
        } else if place.may_stay {
            let running = self.replace_ended(place, pods);
            if self.set.surges() {
                self.prune_surge(&running);
            } else {
                running.iter().skip(1).for_each(|pod| self.delete(pod));
            }
        } else {
            pods.iter().for_each(|pod| self.delete(pod));
        }
    }

    /// Replaces pods that have ended; those that have not.
    fn replace_ended(&mut self, place: &Place, pods: Vec<Replica>) -> Vec<Replica> {
        let (running, ended): (Vec<_>, Vec<_>) =
            pods.into_iter().filter(|pod| !pod.is_deleting()).partition(Replica::is_active);
        let mut failures = None;
        for pod in &ended {
            let due = due(pod);
            if due.at > self.context.now {
                self.plan.look_again_at(due.at);
                continue;
            }
            self.tell_ended(pod, &place.name);
            self.delete(pod);
            failures = failures.max(Some(due.failures));
        }
        // What has ended goes at once: its successor need not wait to see that.
        if let Some(failures) = failures.filter(|_| running.is_empty() && place.should_run) {
            self.create(&place.name, failures);
        }
        running
    }

    fn tell_ended(&mut self, pod: &Replica, node: &str) {
        let object = &self.set.owner.object;
        let name = format!("{}/{}", self.set.owner.namespace(), pod.name());
        self.plan.notes.push(if pod.phase() == "Failed" {
            let message =
                format!("Found failed daemon pod {name} on node {node}, will try to kill it");
            Note::warning(object, "FailedDaemonPod", message)
        } else {
            let message =
                format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
            Note::normal(object, "SucceededDaemonPod", message)
        });
    }

    /// Of a node with several pods stay the oldest new one and the oldest old one, but rather one that
    /// serves the node than one that does not; the old one until the new one can do without it.
    fn prune_surge(&mut self, running: &[Replica]) {
        let (mut new, mut old): (Vec<_>, Vec<_>) =
            running.iter().partition(|pod| self.is_updated(pod));
        for pods in [&mut new, &mut old] {
            pods.sort_by_key(|pod| !self.is_available(pod));
        }
        for pod in new.iter().skip(1).chain(old.iter().skip(1)) {
            self.delete(pod);
        }
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!old.is_ready() || self.is_available(new))
        {
            self.delete(old);
        }
    }

    /// Pods that wait for a node that is not there any more.
    fn leave_vanished_nodes(&mut self) {
        let is_there = |node: &String| self.places.iter().any(|place| place.name == *node);
        let gone = self.members.iter().filter(|(node, _)| !is_there(node));
        let waiting: Vec<_> =
            gone.flat_map(|(_, pods)| pods).filter(|pod| pod.node().is_none()).cloned().collect();
        waiting.iter().for_each(|pod| self.delete(pod));
    }
}

/// When a pod that has ended is replaced, and how many failures its successor knows of.
struct Due {
    at: Timestamp,
    failures: u32,
}

fn due(pod: &Replica) -> Due {
    let created = pod.object.metadata().creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    if pod.phase() != "Failed" {
        return Due { at: created, failures: 0 };
    }
    let finished = pod.container_statuses().filter_map(|status| {
        let state = status.state.as_ref()?.terminated.as_ref()?;
        state.finished_at.as_ref().map(|time| time.0)
    });
    let ended = finished.max().unwrap_or(created);
    let before = pod.annotation(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0);
    let forgotten = time::after(created, FORGOTTEN_AFTER) < ended;
    let before: u32 = if forgotten { 0 } else { before };
    let wait = match before {
        0 => 0,
        n => BACK_OFF.saturating_mul(2_i64.saturating_pow(n.saturating_sub(1))).min(BACK_OFF_MAX),
    };
    Due { at: time::after(ended, wait), failures: before.saturating_add(1) }
}
