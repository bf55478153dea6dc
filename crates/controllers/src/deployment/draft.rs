//! A plan in the making: what becomes of the sets, and of the deployment's conditions.

use std::sync::Arc;

use coracle_api::Timestamp;
use coracle_store::Snapshot;
use serde_json::Value;

use super::sets::{self, Set};
use super::spec::Deployment;
use crate::plan::{Because, Note, Plan, Step, Write};
use crate::workload::conditions;

pub(super) struct Draft<'a> {
    pub snapshot: &'a Snapshot,
    pub deployment: &'a Deployment,
    pub now: Timestamp,
    /// Oldest first.
    pub sets: Vec<Set>,
    /// Which of them is of the deployment's template.
    pub newest: Option<usize>,
    /// Old sets that go.
    pub deletions: Vec<Write>,
    /// The deployment's conditions.
    pub conditions: Vec<Value>,
    /// How often the hash of a template met another set.
    pub collision_count: Option<i32>,
}

impl<'a> Draft<'a> {
    pub fn new(snapshot: &'a Snapshot, deployment: &'a Deployment, now: Timestamp) -> Self {
        let (sets, newest) = sets::of(snapshot, deployment);
        let object = deployment.object().value();
        let collisions = object["status"]["collisionCount"].as_i64();
        Self {
            snapshot,
            deployment,
            now,
            sets,
            newest,
            deletions: Vec::new(),
            conditions: conditions::of(object),
            collision_count: collisions.and_then(|count| i32::try_from(count).ok()),
        }
    }

    /// The indices of all sets but the newest, oldest first.
    pub fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.newest).collect()
    }

    /// The sum of all sizes.
    pub fn total(&self) -> i64 {
        self.sets.iter().fold(0, |sum, set| sum.saturating_add(set.size()))
    }

    /// The sum of a count of all sets.
    pub fn sum(&self, field: &str) -> i64 {
        self.sets.iter().fold(0, |sum, set| sum.saturating_add(set.counted(field)))
    }

    /// Whether the plan changes a set.
    pub fn changes_sets(&self) -> bool {
        self.sets.iter().any(|set| !set.is_unchanged())
    }

    /// Gives a set another size; whether it had another.
    pub fn resize(&mut self, index: usize, size: i64) -> bool {
        let deployment = self.deployment;
        let Some(set) = self.sets.get_mut(index).filter(|set| set.size() != size) else {
            return false;
        };
        set.resize(size, deployment);
        true
    }

    /// The writes to all sets, and what is told of them.
    pub fn step(&self) -> Step {
        let mut step = Step::default();
        for set in self.sets.iter().filter(|set| !set.is_unchanged()) {
            match &set.stored {
                Some(_) => step.writes.push(Write::Update(set.next.clone())),
                None => {
                    let failed = self.cannot_create(set);
                    let note =
                        Note::warning(self.deployment.object(), "ReplicaSetCreateError", failed);
                    step.write_or(Write::Create(set.next.clone()), note);
                }
            }
            step.notes.extend(self.scaled(set));
        }
        step.writes.extend(self.deletions.iter().cloned());
        step
    }

    /// `Failed to create new replica set "R": `
    pub fn cannot_create(&self, set: &Set) -> String {
        format!("Failed to create new replica set {:?}: ", set.name())
    }

    fn scaled(&self, set: &Set) -> Option<Note> {
        let (from, to) = (set.stored_size(), set.size());
        let direction = if from < to { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", set.name());
        let object = self.deployment.object();
        (from != to).then(|| Note::normal(object, "ScalingReplicaSet", message))
    }

    /// What all steps rest on: where a set grows, on the sizes of all others too.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::of(self.step());
        plan.steps.retain(|step| !step.writes.is_empty());
        plan.rests_on = vec![Arc::clone(self.deployment.object())];
        if self.sets.iter().any(|set| set.size() > set.stored_size()) {
            plan.rests_on.extend(self.sets.iter().filter_map(|set| set.stored.clone()));
        }
        plan.because = self.waits_for();
        plan
    }

    /// What the roll-out waits for.
    fn waits_for(&self) -> Option<Because> {
        if self.deployment.is_paused {
            return Some(Because::only("it is paused: `kubectl rollout resume` goes on"));
        }
        let waiting = |set: &&Set| set.counted("availableReplicas") < set.size();
        let newest = self.newest.and_then(|index| self.sets.get(index)).filter(waiting);
        let Some(set) = newest.or_else(|| self.sets.iter().find(waiting)) else {
            return self.waits_for_old();
        };
        let (ready, size) = (set.counted("availableReplicas"), set.size());
        let sentence = format!("{ready} of {size} pods of {} are available", set.name());
        Some(match &set.stored {
            Some(object) => Because::of(object.key().clone(), sentence),
            None => Because::only(sentence),
        })
    }
}
