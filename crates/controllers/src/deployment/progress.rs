//! Whether a roll-out goes forward: the condition `Progressing`, and those beside it.

use coracle_api::{Timestamp, time};
use serde_json::{Value, json};

use super::draft::Draft;
use super::status::Counts;
use crate::rfc3339;
use crate::workload::conditions::{self, Condition};

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

impl Draft<'_> {
    /// The condition's reason, empty when there is none.
    fn reason(&self) -> &str {
        let found = conditions::find(&self.conditions, PROGRESSING);
        found.and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
    }

    /// While it is paused, time does not count.
    pub fn tell_whether_paused(&mut self) {
        let reason = self.reason();
        if self.deployment.deadline.is_none() || reason == TIMED_OUT {
            return;
        }
        let was_paused = reason == PAUSED;
        if self.deployment.is_paused && !was_paused {
            self.put(&Condition::new(PROGRESSING, "Unknown", PAUSED, "Deployment is paused"));
        }
        if !self.deployment.is_paused && was_paused {
            let (reason, message) = ("DeploymentResumed", "Deployment is resumed");
            self.put(&Condition::new(PROGRESSING, "Unknown", reason, message));
        }
    }

    /// Puts a condition at the end, unless one with its status and reason is there.
    pub fn put(&mut self, new: &Condition) {
        let old = conditions::find(&self.conditions, new.of);
        let is_same =
            old.is_some_and(|old| old["status"] == new.status && old["reason"] == *new.reason);
        if !is_same {
            self.renew(new);
        }
    }

    /// As [`Draft::put`], when there is no condition of that type.
    pub fn put_if_absent(&mut self, new: &Condition) {
        if conditions::find(&self.conditions, new.of).is_none() {
            self.renew(new);
        }
    }

    /// Puts a condition at the end, as of now.
    fn renew(&mut self, new: &Condition) {
        let now = json!(rfc3339(self.now));
        let old = conditions::find(&self.conditions, new.of);
        let since = old.filter(|old| old["status"] == new.status);
        let since = since.map_or(&now, |old| &old["lastTransitionTime"]).clone();
        conditions::remove(&mut self.conditions, new.of);
        self.conditions.push(json!({
            "type": new.of, "status": new.status, "reason": new.reason, "message": new.message,
            "lastUpdateTime": now, "lastTransitionTime": since,
        }));
    }

    /// Whether enough pods are available.
    pub fn tell_availability(&mut self, available: i64) {
        let condition = if available >= self.deployment.least_available() {
            let message = "Deployment has minimum availability.";
            Condition::new("Available", "True", "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.";
            Condition::new("Available", "False", "MinimumReplicasUnavailable", message)
        };
        self.put(&condition);
    }

    /// Whether the roll-out has come further since the status was last written.
    pub fn tell_progress(&mut self, counts: &Counts) {
        let Some(deadline) = self.deployment.deadline else {
            return conditions::remove(&mut self.conditions, PROGRESSING);
        };
        if counts.replicas == counts.updated && self.reason() == AVAILABLE {
            return;
        }
        let name = self.newest.map_or_else(
            || format!("Deployment {:?}", self.deployment.owner.name()),
            |index| format!("ReplicaSet {:?}", self.sets[index].name()),
        );
        if counts.is_complete(self.deployment) {
            let message = format!("{name} has successfully progressed.");
            self.put(&Condition::new(PROGRESSING, "True", AVAILABLE, message));
        } else if counts.is_further_than_stored(self.deployment) {
            let message = format!("{name} is progressing.");
            self.renew(&Condition::new(PROGRESSING, "True", "ReplicaSetUpdated", message));
        } else if self.is_overdue(deadline) {
            let message = format!("{name} has timed out progressing.");
            self.put(&Condition::new(PROGRESSING, "False", TIMED_OUT, message));
        }
    }

    fn is_overdue(&self, deadline: i64) -> bool {
        let reason = self.reason();
        reason == TIMED_OUT
            || (reason != AVAILABLE
                && self.updated_at().is_some_and(|at| time::after(at, deadline) < self.now))
    }

    fn updated_at(&self) -> Option<Timestamp> {
        let condition = conditions::find(&self.conditions, PROGRESSING)?;
        condition["lastUpdateTime"].as_str()?.parse().ok()
    }

    /// When the deadline will have passed, if nothing happens.
    pub fn deadline_passes(&self) -> Option<Timestamp> {
        let deadline = self.deployment.deadline?;
        let reason = self.reason();
        if reason == TIMED_OUT || reason == AVAILABLE || self.deployment.is_paused {
            return None;
        }
        let due = time::after(self.updated_at()?, deadline.saturating_add(1));
        // One that goes or gets another size says nothing of a deadline that has passed.
        Some(due).filter(|due| *due > self.now)
    }

    /// What sets say of pods that could not be made: the newest first.
    pub fn tell_failures(&mut self) {
        let newest = self.newest.and_then(|index| self.sets.get(index));
        let all = newest.into_iter().chain(&self.sets);
        let found = all.filter_map(|set| set.stored.as_ref()).find_map(|object| {
            let own = conditions::of(object.value());
            conditions::find(&own, "ReplicaFailure").cloned()
        });
        let Some(found) = found else {
            return conditions::remove(&mut self.conditions, "ReplicaFailure");
        };
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        let status = if found["status"] == "True" { "True" } else { "False" };
        let condition = Condition::new("ReplicaFailure", status, text("reason"), text("message"));
        self.put(&condition);
    }

    /// The conditions as they are when the newest set could not be made, with the beginning of the
    /// message; and where its rest goes.
    pub fn refused(&mut self) -> Option<(Vec<Value>, String)> {
        let made = self.sets.iter().find(|set| set.stored.is_none())?;
        self.deployment.deadline?;
        let (kept, message) = (self.conditions.clone(), self.cannot_create(made));
        let condition = Condition::new(PROGRESSING, "False", "ReplicaSetCreateError", message);
        self.conditions = conditions::of(self.deployment.object().value());
        self.put(&condition);
        let refused = std::mem::replace(&mut self.conditions, kept);
        let at = refused.iter().position(|condition| condition["type"] == PROGRESSING)?;
        Some((refused, format!("/status/conditions/{at}/message")))
    }
}
