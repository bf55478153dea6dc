//! What the status of a deployment says, and the end of its plan.

use coracle_api::Object;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::newest::with_revision;
use super::sets::{REVISION, Set};
use super::spec::Deployment;
use crate::json;
use crate::plan::{Instead, Plan, Step, Write};
use crate::workload::status;

/// The counts of a deployment's status.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub replicas: i64,
    pub updated: i64,
    ready: i64,
    available: i64,
    unavailable: i64,
    terminating: Option<i64>,
    generation: i64,
}

impl Counts {
    fn of(draft: &Draft<'_>) -> Self {
        let newest = draft.newest.and_then(|index| draft.sets.get(index));
        let available = draft.sum("availableReplicas");
        let stored = draft.sets.iter().filter(|set| set.stored.is_some());
        let tells = |set: &Set| {
            let object = set.stored.as_ref()?;
            object.value()["status"]["terminatingReplicas"].as_i64()
        };
        let terminating =
            stored.map(tells).try_fold(0, |sum: i64, more| Some(sum.saturating_add(more?)));
        Self {
            replicas: draft.sum("replicas"),
            updated: newest.map_or(0, |set| set.counted("replicas")),
            ready: draft.sum("readyReplicas"),
            available,
            unavailable: draft.total().saturating_sub(available).max(0),
            terminating,
            generation: draft.deployment.owner.generation(),
        }
    }

    /// Whether every pod is of the newest template and available.
    pub fn is_complete(&self, deployment: &Deployment) -> bool {
        [self.updated, self.replicas, self.available].iter().all(|n| *n == deployment.replicas)
    }

    /// Whether something is better than the stored status says.
    pub fn is_further_than_stored(&self, deployment: &Deployment) -> bool {
        let old = |field: &str| deployment.counted(field);
        let old_pods = |replicas: i64, updated: i64| replicas.saturating_sub(updated);
        self.updated > old("updatedReplicas")
            || old_pods(self.replicas, self.updated)
                < old_pods(old("replicas"), old("updatedReplicas"))
            || self.ready > old("readyReplicas")
            || self.available > old("availableReplicas")
    }

    fn to_json(&self, conditions: Vec<Value>, collisions: Option<i32>) -> Value {
        let mut fields = Map::new();
        for (field, count) in [
            ("observedGeneration", self.generation),
            ("replicas", self.replicas),
            ("updatedReplicas", self.updated),
            ("readyReplicas", self.ready),
            ("availableReplicas", self.available),
            ("unavailableReplicas", self.unavailable),
        ] {
            status::count(&mut fields, field, count);
        }
        if let Some(terminating) = self.terminating {
            fields.insert("terminatingReplicas".into(), json!(terminating));
        }
        if let Some(collisions) = collisions {
            fields.insert("collisionCount".into(), json!(collisions));
        }
        status::list(&mut fields, "conditions", conditions);
        Value::Object(fields)
    }
}

impl Draft<'_> {
    /// Whether the stored status says that the roll-out is over.
    pub fn was_complete(&self) -> bool {
        let deployment = self.deployment;
        let counts = ["updatedReplicas", "replicas", "availableReplicas"];
        counts.iter().all(|field| deployment.counted(field) == deployment.replicas)
            && deployment.counted("observedGeneration") >= deployment.owner.generation()
    }

    /// Deletes the oldest sets that nothing is left of, beyond the limit.
    pub fn clean_up(&mut self) {
        let number = |set: &Set| set.number(REVISION).unwrap_or(0);
        let mut old: Vec<&Set> = self.old().into_iter().map(|index| &self.sets[index]).collect();
        old.retain(|set| !set.is_deleting());
        old.sort_by_key(|set| number(set));
        let surplus = old.len().saturating_sub(self.deployment.history_limit);
        let gone = old.iter().take(surplus).filter(|set| is_empty(set));
        let gone = gone.filter_map(|set| set.stored.as_ref());
        self.deletions = gone.map(|object| Write::delete(object)).collect();
    }

    /// The plan, with a status that says nothing new of the roll-out.
    pub fn plain(mut self) -> Plan {
        let counts = Counts::of(&self);
        self.tell_availability(counts.available);
        self.finish(&counts)
    }

    /// The plan, with a status that says how far the roll-out is.
    pub fn rolled(mut self) -> Plan {
        let counts = Counts::of(&self);
        self.tell_availability(counts.available);
        self.tell_progress(&counts);
        self.tell_failures();
        self.finish(&counts)
    }

    fn finish(mut self, counts: &Counts) -> Plan {
        let mut plan = self.plan();
        plan.look_again = self.deadline_passes();
        let newest = self.newest.and_then(|index| self.sets[index].annotation(REVISION));
        let status = counts.to_json(self.conditions.clone(), self.collision_count);
        let write = self.write(status, newest);
        let instead = self.refused().map(|(conditions, message_at)| {
            let status = counts.to_json(conditions, self.collision_count);
            Instead { write: self.write(status, None), message_at: Some(message_at) }
        });
        plan.step(Step { writes: write.into_iter().collect(), instead, ..Step::default() });
        plan
    }

    /// The write of the status and of the number of the newest set, when one of them is new.
    fn write(&self, status: Value, revision: Option<&str>) -> Option<Write> {
        let object: &Object = self.deployment.object();
        let is_numbered = revision.is_none()
            || object.metadata().annotations.get(REVISION).map(String::as_str) == revision;
        match status::write(object, status.clone()) {
            Some(write) if is_numbered => Some(write),
            None if is_numbered => None,
            _ => {
                let mut value = json::with(object, &["status"], status);
                with_revision(&mut value, revision);
                Some(Write::status(value))
            }
        }
    }
}

/// Whether nothing is left of a set, and its controller has seen that.
fn is_empty(set: &Set) -> bool {
    let generation = set.stored.as_ref().and_then(|object| object.metadata().generation);
    set.size() == 0
        && set.counted("replicas") == 0
        && generation.unwrap_or(0) <= set.counted("observedGeneration")
}
