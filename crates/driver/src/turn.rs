//! The loop, one turn at a time.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::resources::EVENTS;
use coracle_api::{Given, Key, Status, Timestamp};
use coracle_controllers::{ANY, Because, Config, Context, Controller, Memory, Note};
use coracle_server::Api;
use coracle_store::{Event, Snapshot, Watch};

use crate::errand::{Errand, Outcome};
use crate::events::{EventRecorder, EventSource};
use crate::journal::Journal;
use crate::panics;
use crate::queue::{Job, Queue};
use crate::reasons::Reasons;

/// Decisions of one controller that are carried out side by side.
const LANES: usize = 16;
/// Writes of one plan.
const WRITES_MAX: usize = 500;

/// Everything that waits to be decided, and what is remembered of what was.
pub struct Loop {
    rows: &'static [Controller],
    config: Config,
    queue: Queue,
    reasons: Reasons,
    events: EventRecorder,
    watch: Option<Watch>,
    /// Answers that a question is asked again with.
    given: HashMap<Job, Result<Given, Status>>,
    /// What decisions remember of objects, by controller.
    memories: HashMap<Key, HashMap<usize, Memory>>,
    /// What the first of our own mistakes said.
    panicked: Option<String>,
}

impl Loop {
    /// A loop over these controllers that has seen nothing yet.
    pub fn new(rows: &'static [Controller], config: Config, events: EventRecorder) -> Self {
        let queue = Queue::new(rows.iter().map(|row| if row.serial { 1 } else { LANES }));
        let (reasons, given, memories) = Default::default();
        let (watch, panicked) = (None, None);
        Self { rows, config, queue, reasons, events, watch, given, memories, panicked }
    }

    /// The reasons of all decisions.
    pub fn reasons(&self) -> Reasons {
        self.reasons.clone()
    }

    /// Keeps what is decided, and why, in `journal`.
    #[must_use]
    pub fn with_journal(mut self, journal: Journal) -> Self {
        self.reasons = Reasons::kept_in(journal);
        self
    }

    /// What the first decision that panicked said.
    pub fn panicked(&self) -> Option<&str> {
        self.panicked.as_deref()
    }

    /// Asks a controller about a key.
    pub fn enqueue(&mut self, controller: &str, key: Key) {
        let row = self.rows.iter().position(|row| row.name == controller);
        if let Some(controller) = row {
            self.queue.push(Job { controller, key });
        }
    }

    /// Takes note of everything written since the last call; the first time, and whenever the
    /// watch log has been cut off meanwhile, of everything there is.
    pub fn catch_up(&mut self, api: &Api) {
        while let Some(watch) = &mut self.watch {
            match watch.try_next() {
                Ok(Some(event)) => self.observe(&event, &api.snapshot(), api.source().now()),
                Ok(None) => return,
                Err(_) => self.watch = None,
            }
        }
        let snapshot = api.snapshot();
        self.memories.retain(|key, _| snapshot.get(key).is_some());
        self.watch = api.store().watch(snapshot.revision()).ok();
        for object in snapshot.objects() {
            let last = Arc::clone(object);
            let event = Event {
                revision: object.revision(),
                key: object.key().clone(),
                old: None,
                new: Some(last.clone()),
                last,
            };
            self.observe(&event, &snapshot, api.source().now());
        }
    }

    fn observe(&mut self, event: &Event, snapshot: &Snapshot, now: Timestamp) {
        if event.new.is_none() {
            self.reasons.forget(&event.key, now);
            self.memories.remove(&event.key);
        }
        for (controller, row) in self.rows.iter().enumerate() {
            let concerns = row
                .watches
                .iter()
                .filter(|(resource, _)| *resource == ANY || **resource == *event.key.resource);
            for (_, concerns) in concerns {
                match panics::caught(|| concerns(event, snapshot)) {
                    Ok(keys) => keys.into_iter().for_each(|key| {
                        self.queue.push(Job { controller, key });
                    }),
                    Err(message) => {
                        let (controller, key) = (row.name, &event.key);
                        tracing::error!(controller, %key, message, "{}", panics::SAID);
                        self.panicked.get_or_insert(message);
                    }
                }
            }
        }
    }

    /// Ready once something was written that had not been taken note of. Cancelling loses nothing.
    pub(crate) async fn written(&mut self, api: &Api) {
        let Some(watch) = &mut self.watch else { return };
        match watch.next().await {
            Ok(event) => self.observe(&event, &api.snapshot(), api.source().now()),
            Err(_) => self.watch = None,
        }
    }

    /// The next question at `now`; its key is not asked about again until [`Loop::finish`].
    pub fn take(&mut self, now: Timestamp) -> Option<Job> {
        self.queue.take(now)
    }

    /// The answer to a question, to be carried out.
    ///
    /// # Errors
    /// What the decision said as it panicked.
    pub fn decide(&self, job: &Job, snapshot: &Snapshot, now: Timestamp) -> Result<Errand, String> {
        let memories = self.memories.get(&job.key);
        let context = Context {
            given: self.given.get(job),
            memory: memories.and_then(|memories| memories.get(&job.controller)),
            ..Context::new(now, &self.config)
        };
        let decide = self.rows[job.controller].decide;
        let plan = panics::caught(|| decide(snapshot, &job.key, &context))?;
        Ok(Errand::new(job.clone(), plan.bounded(WRITES_MAX, now)))
    }

    /// The name of the controller that a job is for.
    pub fn name(&self, job: &Job) -> &'static str {
        self.rows[job.controller].name
    }

    /// Takes note of what became of a plan.
    pub fn finish(
        &mut self,
        errand: Errand,
        outcome: Outcome,
        snapshot: &Snapshot,
        now: Timestamp,
    ) {
        let (did, spins) = (errand.did(), errand.spins(now));
        let is_over = matches!(outcome, Outcome::Done | Outcome::Refused(_));
        let memory = errand.remembered(is_over).cloned();
        let Errand { job, plan, notes, .. } = errand;
        self.queue.finished(&job);
        self.given.remove(&job);
        let name = self.name(&job);
        let told = if matches!(outcome, Outcome::Outrun) { Vec::new() } else { plan.notes };
        if let Some(memory) = memory {
            self.memories.entry(job.key.clone()).or_default().insert(job.controller, memory);
        }
        for note in notes.into_iter().chain(told) {
            self.events.record(EventSource::component(name), note, now);
        }
        let because = match outcome {
            // A time that has come already, and nothing written: that would go round for ever.
            Outcome::Done if spins => {
                self.queue.push_failed(job.clone(), now);
                plan.because
            }
            Outcome::Done => {
                self.queue.succeeded(&job);
                if let Some(when) = plan.look_again {
                    self.queue.push_at(job.clone(), when);
                }
                plan.because
            }
            Outcome::Outrun => return self.queue.push_failed(job, now),
            Outcome::Answered(given) => {
                self.given.insert(job.clone(), given);
                return self.queue.push(job);
            }
            Outcome::Refused(status) => {
                if is_in_vain(&status) {
                    self.queue.succeeded(&job);
                } else {
                    self.queue.push_failed(job.clone(), now);
                }
                Some(Because::only(status.message))
            }
            Outcome::Panicked(message) => return self.put_aside(&job, &message, snapshot, now),
        };
        self.reasons.say(name, &job.key, did, because, now);
    }

    /// Our own code panicked over a question: it is asked again after a while, all others go on.
    pub fn put_aside(&mut self, job: &Job, message: &str, snapshot: &Snapshot, now: Timestamp) {
        self.queue.finished(job);
        self.queue.push_failed(job.clone(), now);
        let name = self.name(job);
        tracing::error!(controller = name, key = %job.key, message, "{}", panics::SAID);
        let said = format!("{}: {message}", panics::SAID);
        // An event about an event would be the next to fail.
        if let Some(object) = snapshot.get(&job.key).filter(|_| *job.key.resource != *EVENTS) {
            let note = Note::warning(object, "InternalError", said.clone());
            self.events.record(EventSource::component(name), note, now);
        }
        self.reasons.say(name, &job.key, Vec::new(), Some(Because::only(said.clone())), now);
        self.panicked.get_or_insert(said);
    }

    /// One question, asked and carried out. `false` when there is none at `now`.
    pub async fn step(&mut self, api: &Api, now: Timestamp) -> bool {
        self.catch_up(api);
        let Some(job) = self.take(now) else { return false };
        match self.decide(&job, &api.snapshot(), now) {
            Ok(mut errand) => {
                let outcome = errand.carry_out(api, self.name(&job)).await;
                self.finish(errand, outcome, &api.snapshot(), now);
            }
            Err(message) => self.put_aside(&job, &message, &api.snapshot(), now),
        }
        true
    }

    /// When there is something to do even if nothing is written.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.queue.next_timer()
    }

    /// Whether nothing is to be asked before [`Loop::next_timer`], as far as is known.
    pub fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }
}

/// Makes what every cluster has and this one lacks, and puts the addresses of the API and the DNS
/// right: to be done at every start, before the loop runs.
///
/// # Errors
/// What the API says of one of the objects.
pub async fn bootstrap(api: &Api, config: &Config) -> Result<(), Status> {
    let snapshot = api.snapshot();
    let mut plan = coracle_controllers::bootstrap(&snapshot, config);
    plan.steps.extend(coracle_controllers::register_at_start(&snapshot, &api.kinds()).steps);
    let nobody = Job { controller: 0, key: Key::new("", "", "") };
    match Errand::new(nobody, plan).carry_out(api, "bootstrap").await {
        Outcome::Done => Ok(()),
        Outcome::Outrun => Err(Status::internal("the cluster changed while it was begun")),
        Outcome::Refused(status) => Err(status),
        Outcome::Panicked(message) => Err(Status::internal(message)),
        Outcome::Answered(_) => Err(Status::internal("what a cluster begins with asks nothing")),
    }
}

/// Whether a refusal will never be another: the namespace goes, and takes with it whoever wanted
/// something new in it. Nothing is to be tried again, and nobody can be told.
fn is_in_vain(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
