//! A plan in the making: which pods are made and deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::Timestamp;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::back_off;
use super::end::{self, End};
use super::policy::{Action, verdict};
use super::spec::{FINALIZER, INDEX, Job};
use super::tally::{self, FAILURES, IGNORED, Tally};
use crate::json;
use crate::plan::{Note, Plan, Step, Write};
use crate::workload::ranking::{self, Rule};
use crate::workload::replica::Replica;
use crate::workload::steps::{BURST, create_pod, delete_pod, release_and_delete};
use crate::workload::template::{self, Names, cut};

/// How much of a job's name the prefix of an indexed pod's keeps, dash and index included.
const PREFIX_MAX: usize = 58;

pub(super) struct Draft<'a> {
    pub job: &'a Job,
    pub pods: &'a [Replica],
    pub now: Timestamp,
    pub tally: Tally,
    /// Pods that run and are not deleted by the plan.
    pub active: Vec<Replica>,
    pub plan: Plan,
    pub end: Option<End>,
    /// When the next pod is made after failures.
    pub tries_at: Option<Timestamp>,
    /// What follows when all is counted.
    pub deletions: Vec<Step>,
    snapshot: &'a Snapshot,
    names: Names<'a>,
    /// Pods that the plan deletes.
    stopped: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    pub fn new(snapshot: &'a Snapshot, job: &'a Job, pods: &'a [Replica], now: Timestamp) -> Self {
        let rests_on = vec![Arc::clone(&job.owner.object)];
        Self {
            tally: Tally::of(job, pods),
            active: pods.iter().filter(|pod| pod.is_active()).cloned().collect(),
            plan: Plan { rests_on, ..Plan::default() },
            names: Names::new(snapshot, &job.owner),
            snapshot,
            end: None,
            tries_at: None,
            deletions: Vec::new(),
            stopped: BTreeSet::new(),
            job,
            pods,
            now,
        }
    }

    /// Why the job is over, if it is.
    pub fn end(&self) -> Option<End> {
        end::of(self.job, self.pods, &self.tally, self.now)
    }

    /// How many pods have been told to stop and have not ended.
    pub fn terminating(&self) -> usize {
        let ending = self.pods.iter().filter(|pod| pod.is_ending()).count();
        ending.saturating_add(self.stopped.len())
    }

    /// Deletes all pods: the job is over. When it failed, those that still ran count as failed.
    pub fn stop(&mut self, end: &End) {
        let has_failed = end.how == super::Finished::Failed;
        for pod in self.active.clone() {
            match has_failed && tally::is_held(&pod) {
                true => self.give_up(&pod),
                false => self.delete(&pod),
            }
        }
        self.end = Some(end.clone());
    }

    /// Counts a pod that runs as failed, in the step that lets go of it, and deletes it after that: a
    /// deletion that is refused makes no count untrue.
    fn give_up(&mut self, pod: &Replica) {
        if !self.tally.give_up(pod) {
            return;
        }
        self.stopped.insert(pod.uid().to_owned());
        self.active.retain(|other| other.uid() != pod.uid());
        let mut step = delete_pod(&self.job.owner.object, &pod.object);
        step.writes.iter_mut().for_each(Write::forget_version);
        self.deletions.push(step);
    }

    /// Brings the pods to their number.
    pub fn run(&mut self) {
        if self.job.is_suspended {
            self.active.clone().iter().for_each(|pod| self.delete(pod));
            return;
        }
        let wanted = self.wanted();
        self.delete_surplus(wanted);
        self.end = self.complete();
        if self.end.is_none() && self.job.owner.may_create(self.snapshot) {
            self.create_missing(wanted);
        }
    }

    /// How many pods should run.
    fn wanted(&self) -> usize {
        let wanted = match self.job.completions {
            None if self.tally.succeeded > 0 => return self.active.len(),
            None => self.job.parallelism,
            Some(all) => {
                let left = all.saturating_sub(self.tally.succeeded).max(0);
                left.min(self.job.parallelism)
            }
        };
        usize::try_from(wanted).unwrap_or(0)
    }

    fn complete(&self) -> Option<End> {
        let enough = match self.job.completions {
            None => self.tally.succeeded > 0,
            Some(all) => self.tally.succeeded >= all,
        };
        let message = "Reached expected number of succeeded pods";
        (self.active.is_empty() && enough).then(|| End::complete("CompletionsReached", message))
    }

    /// Those without an index of their own go first, then the least useful ones.
    fn delete_surplus(&mut self, wanted: usize) {
        let mut useless: Vec<Replica> = Vec::new();
        if self.job.is_indexed {
            let mut seen = BTreeSet::new();
            let has_place = |pod: &Replica| {
                let index = tally::index(self.job, pod);
                index.is_some_and(|index| {
                    !self.tally.completed.contains(index) && seen.insert(index)
                })
            };
            let (_, without): (Vec<_>, Vec<_>) =
                self.active.clone().into_iter().partition(has_place);
            useless = without;
        }
        useless.iter().for_each(|pod| self.delete(pod));
        let surplus = self.active.len().saturating_sub(wanted);
        let mut ranked = self.active.clone();
        ranking::sort(&mut ranked, &Rule::Plain);
        ranked.iter().take(surplus).for_each(|pod| self.delete(pod));
    }

    /// Deletes a pod, which is not counted.
    fn delete(&mut self, pod: &Replica) {
        if self.stopped.len() >= BURST {
            return;
        }
        self.stopped.insert(pod.uid().to_owned());
        self.active.retain(|other| other.uid() != pod.uid());
        self.plan.step(release_and_delete(&self.job.owner.object, &pod.object, FINALIZER));
    }

    fn create_missing(&mut self, wanted: usize) {
        let ending = if self.job.replaces_failed_only { self.terminating() } else { 0 };
        let missing = wanted.saturating_sub(self.active.len()).saturating_sub(ending);
        let missing = missing.min(BURST);
        if self.job.is_indexed {
            return self.create_indexes(missing);
        }
        if missing == 0 || self.waits_until(back_off::next_try(self.job, self.pods)) {
            return;
        }
        for _ in 0..missing {
            self.create(None);
        }
    }

    fn create_indexes(&mut self, missing: usize) {
        let whole = self.job.limit_per_index.is_none();
        if missing == 0 || (whole && self.waits_until(back_off::next_try(self.job, self.pods))) {
            return;
        }
        let mut made: usize = 0;
        let taken = self.taken();
        let mut index = self.free_from(0, &taken);
        while made < missing && self.job.completions.is_some_and(|all| index < all) {
            let waits =
                !whole && self.waits_until(back_off::next_try_of(self.job, self.pods, index));
            if !waits {
                self.create(Some(index));
                made = made.saturating_add(1);
            }
            index = self.free_from(index.saturating_add(1), &taken);
        }
    }

    /// Indexes that have a pod.
    fn taken(&self) -> BTreeSet<i64> {
        let stays =
            |pod: &&Replica| pod.is_active() || (self.job.replaces_failed_only && pod.is_ending());
        self.pods.iter().filter(stays).filter_map(|pod| tally::index(self.job, pod)).collect()
    }

    /// The first index from `from` on that is to be done and has no pod.
    fn free_from(&self, from: i64, taken: &BTreeSet<i64>) -> i64 {
        let mut index = from;
        loop {
            let next = self.tally.completed.next_free(index);
            let next = self.tally.failed_indexes.next_free(next);
            let next = if taken.contains(&next) { next.saturating_add(1) } else { next };
            if next == index {
                return index;
            }
            index = next;
        }
    }

    /// Whether it is too early; then the plan looks again at that time.
    fn waits_until(&mut self, at: Option<Timestamp>) -> bool {
        let Some(at) = at.filter(|at| *at > self.now) else { return false };
        self.tries_at = Some(self.tries_at.map_or(at, |earlier| earlier.min(at)));
        self.plan.look_again_at(at);
        true
    }

    fn create(&mut self, index: Option<i64>) {
        let owner = &self.job.owner;
        let prefix = match index {
            None => format!("{}-", owner.name()),
            Some(index) => {
                let end = format!("-{index}-");
                let kept = PREFIX_MAX.saturating_sub(end.len());
                format!("{}{end}", cut(owner.name(), kept))
            }
        };
        let name = self.names.next(&prefix);
        let made = &owner.object.value()["spec"]["template"];
        let mut pod = template::pod(owner, made, &prefix, &name);
        json::add_finalizer(&mut pod, FINALIZER);
        if let Some(index) = index {
            self.give_index(&mut pod, index);
        }
        self.plan.step(create_pod(&owner.object, pod));
    }

    fn give_index(&self, pod: &mut Value, index: i64) {
        let text = json!(index.to_string());
        for field in ["labels", "annotations"] {
            json::set(pod, &["metadata", field, INDEX], text.clone());
        }
        if pod["spec"]["hostname"].as_str().is_none_or(str::is_empty) {
            let hostname = format!("{}-{index}", self.job.owner.name());
            json::set(pod, &["spec", "hostname"], json!(hostname));
        }
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(tell_index);
        }
        if self.job.limit_per_index.is_some() {
            let (failures, ignored) = self.failures_of(index);
            json::set(pod, &["metadata", "annotations", FAILURES], json!(failures.to_string()));
            if ignored > 0 {
                json::set(pod, &["metadata", "annotations", IGNORED], json!(ignored.to_string()));
            }
        }
    }

    /// How often the index has failed, counted and not.
    fn failures_of(&self, index: i64) -> (i64, i64) {
        let Some(last) = back_off::last_failed(self.job, self.pods, index) else { return (0, 0) };
        let verdict = verdict(self.job, last);
        let ignored = verdict.is_some_and(|verdict| verdict.action == Action::Ignore);
        let (before, ignored_before) = (tally::failures_before(last), tally::ignored_before(last));
        let more = i64::from(ignored);
        (before.saturating_add(1).saturating_sub(more), ignored_before.saturating_add(more))
    }

    /// A note about the job.
    pub fn tell(&mut self, note: Note) {
        self.plan.notes.push(note);
    }
}

/// `JOB_COMPLETION_INDEX` in a container's environment.
fn tell_index(container: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let mut env = container["env"].as_array().cloned().unwrap_or_default();
    if env.iter().any(|one| one["name"] == NAME) {
        return;
    }
    let field = format!("metadata.labels['{INDEX}']");
    env.push(json!({"name": NAME, "valueFrom": {"fieldRef": {
        "apiVersion": "v1", "fieldPath": field,
    }}}));
    container["env"] = Value::Array(env);
}
