//! What the status of a job says, and the end of its plan: counts, conditions, and the finalizers of
//! the pods that are counted now.

use std::collections::BTreeSet;

use coracle_api::Timestamp;
use serde_json::{Map, Value, json};

use super::end::{self, End};
use super::pods::Draft;
use super::spec::{FINALIZER, Finished};
use crate::json;
use crate::plan::{Because, Note, Plan, Step, Write};
use crate::rfc3339;
use crate::workload::conditions::{self, Condition};
use crate::workload::replica::Replica;
use crate::workload::status;

const SUSPENDED: &str = "Suspended";

impl Draft<'_> {
    /// The plan: pods, then all that is counted in one step.
    pub fn finish(mut self) -> Plan {
        let started = self.started();
        let mut conditions = conditions::of(self.job.owner.object.value());
        self.tell_suspension(&mut conditions);
        let over = self.tell_end(&mut conditions);
        let status = self.status(conditions, started, over);
        let mut step = Step::default();
        // A job that is being deleted holds no pod back, counted or not.
        let all = self.job.owner.is_deleting();
        let held = self.pods.iter().filter(|pod| all && super::tally::is_held(pod));
        let released =
            if all { held.collect() } else { self.tally.released.iter().collect::<Vec<_>>() };
        step.writes.extend(
            released
                .into_iter()
                .map(|pod| Write::Update(json::without_finalizer(&pod.object, FINALIZER))),
        );
        step.writes.extend(status::write(&self.job.owner.object, status));
        step.notes = std::mem::take(&mut self.plan.notes);
        self.plan.step(step);
        self.plan.steps.append(&mut self.deletions);
        let due = end::deadline(self.job, started).filter(|_| !self.job.is_suspended);
        if let Some(due) = due.filter(|due| *due > self.now) {
            self.plan.look_again_at(due);
        }
        self.plan.because = self.waits_for();
        self.plan
    }

    fn waits_for(&self) -> Option<Because> {
        if self.job.is_suspended {
            return Some(Because::only("it is suspended: `spec.suspend` is true"));
        }
        let say = |pod: &Replica, state: &str| {
            Because::of(pod.object.key().clone(), format!("{} {state}", pod.name()))
        };
        let stuck = self.active.iter().find(|pod| !pod.is_ready());
        if let Some(pod) = stuck.or_else(|| self.active.first()) {
            return Some(say(pod, "has not ended"));
        }
        if let Some(pod) = self.pods.iter().find(|pod| pod.is_ending()) {
            return Some(say(pod, "was told to stop, and has not ended"));
        }
        if self.end.is_some() {
            return None;
        }
        if let Some(at) = self.tries_at {
            let last = self.pods.iter().filter(|pod| pod.phase() == "Failed");
            let last = last.max_by_key(|pod| super::tally::ended_at(pod))?;
            let state = format!("has failed: the next pod is made at {}", rfc3339(at));
            return Some(say(last, &state));
        }
        (self.job.parallelism == 0)
            .then(|| Because::only("it may run no pods: `spec.parallelism` is 0"))
    }

    /// When the job began to run: again from now when it is resumed, not at all while it is
    /// suspended.
    fn started(&self) -> Option<Timestamp> {
        let conditions = conditions::of(self.job.owner.object.value());
        let was_suspended = conditions::holds(&conditions, SUSPENDED);
        let stored = self.job.started();
        match (self.job.is_suspended, was_suspended) {
            (true, _) if self.end.is_none() => None,
            (false, true) => Some(self.now),
            _ => stored.or(Some(self.now)),
        }
    }

    fn tell_suspension(&mut self, conditions: &mut Vec<Value>) {
        if self.end.is_some() || self.job.owner.is_deleting() {
            return;
        }
        let was_suspended = conditions::holds(conditions, SUSPENDED);
        let object = self.job.owner.object.clone();
        if self.job.is_suspended && !was_suspended {
            let condition = Condition::new(SUSPENDED, "True", "JobSuspended", "Job suspended");
            conditions::put(conditions, &condition, self.now);
            self.tell(Note::normal(&object, SUSPENDED, "Job suspended"));
        }
        if !self.job.is_suspended && was_suspended {
            let condition = Condition::new(SUSPENDED, "False", "JobResumed", "Job resumed");
            conditions::put(conditions, &condition, self.now);
            self.tell(Note::normal(&object, "Resumed", "Job resumed"));
        }
    }

    /// Announces the end, and declares it when no pod is left that could still do something.
    fn tell_end(&mut self, conditions: &mut Vec<Value>) -> Option<Finished> {
        let End { how, reason, message } = self.end.clone()?;
        let announced = Condition::new(how.announcement(), "True", &*reason, &*message);
        conditions::add(conditions, &announced, self.now);
        if self.terminating() > 0 || !self.active.is_empty() || !self.has_counted_all() {
            return None;
        }
        let condition = Condition::new(how.condition(), "True", &*reason, &*message);
        conditions::add(conditions, &condition, self.now);
        let object = self.job.owner.object.clone();
        self.tell(match how {
            Finished::Complete => Note::normal(&object, "Completed", "Job completed"),
            Finished::Failed => Note::warning(&object, reason_word(&reason), message),
        });
        Some(how)
    }

    /// Whether no more pods have ended than one decision counts.
    fn has_counted_all(&self) -> bool {
        let mut held =
            self.pods.iter().filter(|pod| super::tally::is_held(pod) && !pod.is_active());
        let released: BTreeSet<&str> = self.tally.released.iter().map(Replica::uid).collect();
        held.all(|pod| released.contains(pod.uid()))
    }

    fn status(
        &self,
        mut conditions: Vec<Value>,
        started: Option<Timestamp>,
        over: Option<Finished>,
    ) -> Value {
        let mut fields = Map::new();
        for new in conditions.iter_mut().filter(|known| known["lastProbeTime"].is_null()) {
            new["lastProbeTime"] = json!(rfc3339(self.now));
        }
        if let Some(started) = started {
            fields.insert("startTime".into(), json!(rfc3339(started)));
        }
        if over == Some(Finished::Complete) {
            fields.insert("completionTime".into(), json!(rfc3339(self.now)));
        }
        let ready = self.active.iter().filter(|pod| pod.is_ready()).count();
        status::count(&mut fields, "active", status::len(self.active.len()));
        status::count(&mut fields, "succeeded", self.tally.succeeded);
        status::count(&mut fields, "failed", self.tally.failed);
        fields.insert("ready".into(), json!(ready));
        fields.insert("terminating".into(), json!(self.terminating()));
        fields.insert("uncountedTerminatedPods".into(), json!({}));
        if self.job.is_indexed && !self.tally.completed.is_empty() {
            fields.insert("completedIndexes".into(), json!(self.tally.completed.to_string()));
        }
        if self.job.limit_per_index.is_some() {
            fields.insert("failedIndexes".into(), json!(self.tally.failed_indexes.to_string()));
        }
        status::list(&mut fields, "conditions", conditions);
        Value::Object(fields)
    }
}

/// The reasons for which jobs fail, as events have them.
fn reason_word(reason: &str) -> &'static str {
    const WORDS: [&str; 5] = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    WORDS.into_iter().find(|word| *word == reason).unwrap_or("Failed")
}
