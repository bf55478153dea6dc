//! The status of an autoscaler, as it comes to be.

use std::sync::Arc;

use coracle_api::{Object, Timestamp};
use serde_json::Value;

use crate::plan::{EventType, Note, Plan, Step, Write};
use crate::workload::conditions::{self, Condition};
use crate::{Because, json, rfc3339};

/// A status that is not written yet, and what is said with it.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    object: &'a Arc<Object>,
    status: Value,
    conditions: Vec<Value>,
    notes: Vec<Note>,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    /// The status as it is.
    pub fn of(object: &'a Arc<Object>, now: Timestamp) -> Self {
        let status = object.value()["status"].clone();
        let conditions = conditions::of(object.value());
        Self { object, status, conditions, notes: Vec::new(), now }
    }

    pub fn put(&mut self, condition: &Condition) {
        conditions::put(&mut self.conditions, condition, self.now);
    }

    /// What users are told if the status is another then.
    pub fn say(&mut self, ty: EventType, reason: &'static str, message: String) {
        self.notes.push(match ty {
            EventType::Normal => Note::normal(self.object, reason, message),
            EventType::Warning => Note::warning(self.object, reason, message),
        });
    }

    pub fn current(&mut self, replicas: i64) {
        json::set(&mut self.status, &["currentReplicas"], replicas.into());
    }

    pub fn desired(&mut self, replicas: i64) {
        json::set(&mut self.status, &["desiredReplicas"], replicas.into());
    }

    pub fn metrics(&mut self, shown: Vec<Value>) {
        json::set(&mut self.status, &["currentMetrics"], shown.into());
    }

    pub fn rescaled(&mut self) {
        json::set(&mut self.status, &["lastScaleTime"], rfc3339(self.now).into());
    }

    /// Where the condition of a type stands.
    pub fn place(&self, of: &str) -> usize {
        let at = self.conditions.iter().position(|condition| condition["type"] == of);
        at.unwrap_or(self.conditions.len())
    }

    /// What writes it, if it is another than what is there.
    pub fn write(&self) -> Option<Write> {
        let mut status = self.status.clone();
        json::set(&mut status, &["conditions"], self.conditions.clone().into());
        // Go writes it always.
        if status["desiredReplicas"].is_null() {
            json::set(&mut status, &["desiredReplicas"], 0.into());
        }
        let is_new = self.object.value()["status"] != status;
        is_new.then(|| Write::status(json::with(self.object, &["status"], status)))
    }

    /// The status alone. What is said is what the write changes: at rest nothing is said again.
    pub fn rest(&self) -> Plan {
        let mut plan = Plan::default();
        if let Some(write) = self.write() {
            let mut step = Step::of(write);
            step.notes.clone_from(&self.notes);
            plan.step(step);
        }
        plan
    }

    /// As [`Draft::rest`], and why nothing more happens.
    pub fn finish(&self, because: Because) -> Plan {
        Plan { because: Some(because), ..self.rest() }
    }
}
