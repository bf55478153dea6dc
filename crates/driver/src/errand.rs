//! A plan under way: all of it at once where that goes, else step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Given, Key, Object, Status, Timestamp};
use coracle_controllers::{Memory, Note, Plan, Refusal, Step, Write};
use coracle_server::Api;
use coracle_store::Expect;

use crate::queue::Job;
use crate::requests::{requests, requires};

/// What became of a plan.
#[derive(Debug)]
pub enum Outcome {
    /// Written, or there was nothing to write.
    Done,
    /// Somebody was faster, or something the decision rests on has changed: ask again.
    Outrun,
    /// A step was refused: by admission, or because the disk failed. The first refusal.
    Refused(Status),
    /// Our own code panicked, with this message.
    Panicked(String),
    /// What the outside said to the plan's question: ask again with it.
    Answered(Result<Given, Status>),
}

/// A plan, how far it has come, and what is to be told of that.
#[derive(Debug)]
pub struct Errand {
    /// Whose plan it is.
    pub job: Job,
    pub(crate) plan: Plan,
    /// What users are told of the steps so far.
    pub(crate) notes: Vec<Note>,
    /// The next step.
    next: usize,
    /// Whether the plan is carried out step by step.
    singly: bool,
    /// What the steps so far have written: the revision, or that it is gone.
    written: BTreeMap<Key, Expect>,
    refused: Option<Status>,
    /// Which steps are written.
    done: Vec<bool>,
}

/// What became of one transaction.
enum Attempt {
    Written(BTreeMap<Key, Expect>),
    Outrun,
    Refused(Status),
}

impl Errand {
    /// A plan that is first tried as one transaction: most go through, with one flush.
    pub fn new(job: Job, plan: Plan) -> Self {
        let (notes, written) = Default::default();
        let done = vec![false; plan.steps.len()];
        Self { job, plan, notes, next: 0, singly: false, written, refused: None, done }
    }

    /// A plan of which each step is a transaction from the beginning.
    #[must_use]
    pub fn singly(mut self) -> Self {
        self.singly = true;
        self
    }

    /// Whether there is nothing to carry out, and nothing to ask.
    pub fn is_idle(&self) -> bool {
        self.plan.writes_nothing() && self.plan.asks.is_none()
    }

    /// Whether it writes nothing and is to be decided again at once: for ever, that is.
    pub fn spins(&self, now: Timestamp) -> bool {
        self.is_idle() && self.plan.look_again.is_some_and(|at| at <= now)
    }

    /// What the next turn writes.
    pub fn next_writes(&self) -> impl Iterator<Item = &Write> {
        let end = if self.singly { self.next.saturating_add(1) } else { self.plan.steps.len() };
        let steps = self.plan.steps.iter().take(end).skip(self.next);
        steps.flat_map(|step| &step.writes)
    }

    /// Forgets what the next turn rests on: a bug for the simulation to find.
    pub fn forget_preconditions(&mut self) {
        self.plan.rests_on.clear();
        for write in self.plan.steps.iter_mut().flat_map(|step| &mut step.writes) {
            write.forget_version();
        }
    }

    /// What was written, in words.
    pub(crate) fn did(&self) -> Vec<String> {
        let steps = self.plan.steps.iter().zip(&self.done);
        let done = steps.filter(|(_, done)| **done).flat_map(|(step, _)| &step.writes);
        done.map(ToString::to_string).collect()
    }

    /// What is to be remembered of its object; `is_over` when it is not to be decided anew.
    pub(crate) fn remembered(&self, is_over: bool) -> Option<&Memory> {
        self.plan.remembered(&self.done, is_over)
    }

    /// Whether some of the plan's steps are written already.
    pub fn has_begun(&self) -> bool {
        !self.written.is_empty()
    }

    /// Carries all out, for the controller `name`.
    pub async fn carry_out(&mut self, api: &Api, name: &str) -> Outcome {
        loop {
            if let Some(outcome) = self.turn(api, name).await {
                return outcome;
            }
        }
    }

    /// The next transaction of the controller `name`; what became of the plan, once that is known.
    pub async fn turn(&mut self, api: &Api, name: &str) -> Option<Outcome> {
        if let Some(call) = self.plan.asks.take() {
            return Some(Outcome::Answered(api.ask(&call).await));
        }
        if !self.singly && self.plan.steps.len() > 1 {
            return self.all_at_once(api, name).await;
        }
        let Some(step) = self.plan.steps.get(self.next) else { return Some(self.outcome()) };
        self.next = self.next.saturating_add(1);
        if step.needs_earlier && self.refused.is_some() {
            return self.is_over().then(|| self.outcome());
        }
        let refusal = self.refused.as_ref().map(|status| status.message.as_str());
        match self.attempt(api, name, &step.writes_after(refusal)).await {
            Attempt::Written(written) => {
                self.notes.extend(step.notes.iter().cloned());
                self.written.extend(written);
                self.done[self.next - 1] = true;
            }
            Attempt::Outrun => return Some(Outcome::Outrun),
            Attempt::Refused(status) => {
                tracing::info!(controller = name, key = %self.job.key, %status, "a step was refused");
                self.notes.extend(refused_note(step, &status));
                self.refused.get_or_insert(status);
            }
        }
        self.is_over().then(|| self.outcome())
    }

    async fn all_at_once(&mut self, api: &Api, name: &str) -> Option<Outcome> {
        self.singly = true;
        let writes: Vec<Write> = self.plan.writes().cloned().collect();
        match self.attempt(api, name, &writes).await {
            Attempt::Written(_) => {
                self.notes.extend(self.plan.steps.iter().flat_map(|step| &step.notes).cloned());
                self.done.fill(true);
                Some(Outcome::Done)
            }
            Attempt::Outrun => Some(Outcome::Outrun),
            Attempt::Refused(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        self.next >= self.plan.steps.len()
    }

    fn outcome(&mut self) -> Outcome {
        self.refused.take().map_or(Outcome::Done, Outcome::Refused)
    }

    async fn attempt(&self, api: &Api, name: &str, writes: &[Write]) -> Attempt {
        if writes.is_empty() {
            return Attempt::Written(BTreeMap::new());
        }
        let requests = match requests(&api.kinds(), name, writes) {
            Ok(requests) => requests,
            Err(error) => return Attempt::Refused(Status::internal(error)),
        };
        let requires = requires(self.rests_on(), writes, &requests);
        match api.transact_seen(requests, requires).await {
            Ok((_, written)) => Attempt::Written(written),
            // What the decision saw is no longer so.
            Err(status) if matches!(status.code, 404 | 409) => {
                tracing::debug!(controller = name, %status, "asked again");
                Attempt::Outrun
            }
            Err(status) => Attempt::Refused(status),
        }
    }

    /// What the plan rests on, as its own steps have left it.
    fn rests_on(&self) -> Vec<(Key, Expect)> {
        let expected = |object: &Arc<Object>| {
            let seen = Expect::Revision(object.revision());
            let key = object.key().clone();
            let expect = self.written.get(&key).copied().unwrap_or(seen);
            (key, expect)
        };
        self.plan.rests_on.iter().map(expected).collect()
    }
}

/// The note of the write that `status` is about; of the first write that has one, when it does
/// not say.
fn refused_note(step: &Step, status: &Status) -> Option<Note> {
    let name = status.details.as_ref().map_or("", |details| details.name.as_str());
    let is_about = |refusal: &&Refusal| {
        step.writes.get(refusal.write).is_some_and(|write| written_name(write) == name)
    };
    let refusal = step.refusals.iter().find(is_about).or_else(|| step.refusals.first())?;
    let mut note = refusal.note.clone();
    note.message.push_str(&status.message);
    Some(note)
}

fn written_name(write: &Write) -> &str {
    match write {
        Write::Create(value) | Write::Update(value) | Write::UpdateSubresource(_, value) => {
            value["metadata"]["name"].as_str().unwrap_or_default()
        }
        Write::CreateSubresource { key, .. }
        | Write::UpdateSubresourceOf { key, .. }
        | Write::Delete { key, .. } => &key.name,
    }
}
