//! What a set's status says: counts of its pods as they are, and its revisions.

use coracle_api::{Timestamp, conditions};
use serde_json::{Map, Value, json};

use super::members::{Member, Members};
use super::progress;
use super::revisions::Revisions;
use super::set::{Set, Strategy};
use crate::json;
use crate::plan::Write;

/// The counts of a set's status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Status {
    replicas: i64,
    ready: i64,
    available: i64,
    current: i64,
    updated: i64,
    current_revision: String,
    update_revision: String,
    collisions: i32,
    generation: i64,
    /// Of a set that is recreated.
    conditions: Option<Vec<Value>>,
}

impl Status {
    /// Counts the pods.
    pub fn count(set: &Set, members: &Members, revisions: &Revisions, now: Timestamp) -> Self {
        let count = |is_counted: &dyn Fn(&Member) -> bool| {
            members.all().fold(0, |n, member| n + i64::from(is_counted(member)))
        };
        let of = |member: &Member, revision: &str| {
            !member.is_terminating() && member.revision() == revision
        };
        Self {
            replicas: count(&|_| true),
            ready: count(&Member::is_running_and_ready),
            available: count(&|member| {
                member.is_running_and_ready() && member.is_available(set.min_ready_seconds, now)
            }),
            current: count(&|member| of(member, &revisions.current.name)),
            updated: count(&|member| of(member, &revisions.update.name)),
            current_revision: revisions.current.name.clone(),
            update_revision: revisions.update.name.clone(),
            collisions: revisions.collision_count,
            generation: set.object().metadata().generation.unwrap_or_default(),
            conditions: progress::conditions(set, members, revisions, now),
        }
    }

    /// Takes a pod out that this plan deletes for the sake of its revision.
    pub fn forget(&mut self, member: &Member) {
        self.current -= i64::from(member.revision() == self.current_revision);
    }

    /// Pods of the current revision, as the next decision will count them.
    pub fn current_without(&self, member: &Member) -> i64 {
        self.current - i64::from(member.revision() == self.current_revision)
    }

    /// When every pod is updated and ready, the roll-out is over.
    fn complete(&mut self, set: &Set) {
        let wanted = i64::from(set.replicas);
        let is_over = [self.updated, self.ready, self.replicas].iter().all(|n| *n == wanted);
        if set.strategy != Strategy::OnDelete && is_over {
            self.current_revision.clone_from(&self.update_revision);
            self.current = self.updated;
        }
    }

    /// The write of this status, when the stored one says something else.
    pub fn write(mut self, set: &Set) -> Option<Write> {
        if !set.is_deleting() {
            self.complete(set);
        }
        let status = self.to_json();
        let stored = &set.object().value()["status"];
        let says = |field: &str| stored.get(field).filter(|value| !is_zero(value));
        let fields = ["replicas", "readyReplicas", "availableReplicas", "currentReplicas"];
        let more = ["updatedReplicas", "currentRevision", "updateRevision", "collisionCount"];
        let is_new = |field: &str| says(field) != status.get(field).filter(|v| !is_zero(v));
        let observed = stored["observedGeneration"].as_i64().unwrap_or(0);
        let told = self.conditions.as_deref();
        let tells = told.is_some_and(|told| told != conditions::all(set.object().value()));
        let counts = || fields.iter().chain(&more).any(|field| is_new(field));
        let changed = observed < self.generation || tells || counts();
        changed.then(|| Write::status(json::with(set.object(), &["status"], status)))
    }

    /// As upstream's types serialize it: some counts are always there, others only when not 0.
    fn to_json(&self) -> Value {
        let mut status = Map::new();
        status.insert("observedGeneration".into(), json!(self.generation));
        status.insert("replicas".into(), json!(self.replicas));
        status.insert("availableReplicas".into(), json!(self.available));
        for (field, count) in [
            ("readyReplicas", self.ready),
            ("currentReplicas", self.current),
            ("updatedReplicas", self.updated),
        ] {
            if count != 0 {
                status.insert(field.into(), json!(count));
            }
        }
        status.insert("currentRevision".into(), json!(self.current_revision));
        status.insert("updateRevision".into(), json!(self.update_revision));
        status.insert("collisionCount".into(), json!(self.collisions));
        if let Some(conditions) = self.conditions.as_ref().filter(|all| !all.is_empty()) {
            status.insert("conditions".into(), json!(conditions));
        }
        Value::Object(status)
    }
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || value.as_str() == Some("")
}
