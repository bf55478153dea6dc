//! The loop, one turn at a time.

use std::sync::Arc;

use coracle_api::{Key, Status, Timestamp};
use coracle_controllers::{ANY, Because, Config, Context, Controller, Note, Plan, Refusal, Write};
use coracle_server::Api;
use coracle_store::{Event, Snapshot, Watch};

use crate::events::{EventRecorder, EventSource};
use crate::queue::{Job, Queue};
use crate::reasons::Reasons;
use crate::requests::{requests, requires};

/// What became of a plan.
#[derive(Debug)]
pub enum Outcome {
    /// Written, or there was nothing to write.
    Done,
    /// Somebody was faster, or something the decision rests on has changed: ask again.
    Outrun,
    /// Refused: by admission, or because the disk failed.
    Refused(Status),
}

/// Everything that waits to be decided, and what is remembered of what was.
pub struct Loop {
    rows: &'static [Controller],
    config: Config,
    queue: Queue,
    reasons: Reasons,
    events: EventRecorder,
    watch: Option<Watch>,
}

impl Loop {
    /// A loop over these controllers that has seen nothing yet.
    pub fn new(rows: &'static [Controller], config: Config, events: EventRecorder) -> Self {
        let queue = Queue::new(rows.len());
        Self { rows, config, queue, reasons: Reasons::default(), events, watch: None }
    }

    /// The reasons of all decisions.
    pub fn reasons(&self) -> Reasons {
        self.reasons.clone()
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
                Ok(Some(event)) => self.observe(&event, &api.snapshot()),
                Ok(None) => return,
                Err(_) => self.watch = None,
            }
        }
        let snapshot = api.snapshot();
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
            self.observe(&event, &snapshot);
        }
    }

    fn observe(&mut self, event: &Event, snapshot: &Snapshot) {
        if event.new.is_none() {
            self.reasons.forget(&event.key);
        }
        for (controller, row) in self.rows.iter().enumerate() {
            let concerns = row
                .watches
                .iter()
                .filter(|(resource, _)| *resource == ANY || **resource == *event.key.resource);
            for (_, concerns) in concerns {
                for key in concerns(event, snapshot) {
                    self.queue.push(Job { controller, key });
                }
            }
        }
    }

    /// Ready once something was written that had not been taken note of. Cancelling loses nothing.
    pub(crate) async fn written(&mut self, api: &Api) {
        let Some(watch) = &mut self.watch else { return };
        match watch.next().await {
            Ok(event) => self.observe(&event, &api.snapshot()),
            Err(_) => self.watch = None,
        }
    }

    /// The next question at `now`; its controller is not asked anything else until
    /// [`Loop::finish`].
    pub fn take(&mut self, now: Timestamp) -> Option<Job> {
        self.queue.take(now)
    }

    /// The answer to a question.
    pub fn decide(&self, job: &Job, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let context = Context { now, config: &self.config };
        (self.rows[job.controller].decide)(snapshot, &job.key, &context)
    }

    /// The name of the controller that a job is for.
    pub fn name(&self, job: &Job) -> &'static str {
        self.rows[job.controller].name
    }

    /// Takes note of what became of a plan.
    pub fn finish(&mut self, job: Job, plan: Plan, outcome: Outcome, now: Timestamp) {
        self.queue.finished(&job);
        let name = self.name(&job);
        let mut because = plan.because;
        match &outcome {
            Outcome::Done => {
                self.queue.succeeded(&job);
                for note in plan.notes {
                    self.events.record(EventSource::component(name), note, now);
                }
                if let Some(when) = plan.look_again {
                    self.queue.push_at(job.clone(), when);
                }
            }
            Outcome::Outrun => return self.queue.push_failed(job, now),
            Outcome::Refused(status) if is_in_vain(status) => {
                self.queue.succeeded(&job);
                because = Some(Because::only(status.message.clone()));
            }
            Outcome::Refused(status) => {
                tracing::info!(controller = name, key = %job.key, %status, "a plan was refused");
                because = Some(Because::only(status.message.clone()));
                if let Some(note) = refused_note(plan.refusals, &plan.writes, status) {
                    self.events.record(EventSource::component(name), note, now);
                }
                self.queue.push_failed(job.clone(), now);
            }
        }
        self.reasons.say(name, &job.key, because, now);
    }

    /// One question, asked and carried out. `false` when there is none at `now`.
    pub async fn step(&mut self, api: &Api, now: Timestamp) -> bool {
        self.catch_up(api);
        let Some(job) = self.take(now) else { return false };
        let plan = self.decide(&job, &api.snapshot(), now);
        let outcome = carry_out(api, self.name(&job), &plan).await;
        self.finish(job, plan, outcome, now);
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
    let plan = coracle_controllers::bootstrap(&api.snapshot(), config);
    match submit(api, "bootstrap", &plan, &plan.writes).await {
        Outcome::Done => Ok(()),
        Outcome::Outrun => Err(Status::internal("the cluster changed while it was begun")),
        Outcome::Refused(status) => Err(status),
    }
}

/// Submits a plan of the controller `name` as one transaction; when it is refused, what is true
/// without it.
pub async fn carry_out(api: &Api, name: &str, plan: &Plan) -> Outcome {
    let outcome = submit(api, name, plan, &plan.writes).await;
    if matches!(outcome, Outcome::Refused(_))
        && let Outcome::Refused(status) = submit(api, name, plan, &plan.even_so).await
    {
        tracing::warn!(controller = name, %status, "what holds without the plan was refused too");
    }
    outcome
}

async fn submit(api: &Api, name: &str, plan: &Plan, writes: &[Write]) -> Outcome {
    if writes.is_empty() {
        return Outcome::Done;
    }
    let requests = match requests(&api.kinds(), name, writes) {
        Ok(requests) => requests,
        Err(error) => return Outcome::Refused(Status::internal(error)),
    };
    let requires = requires(&plan.rests_on, writes, &requests);
    match api.transact(requests, requires).await {
        Ok(_) => Outcome::Done,
        // What the decision saw is no longer so.
        Err(status) if matches!(status.code, 404 | 409) => {
            tracing::debug!(controller = name, %status, "asked again");
            Outcome::Outrun
        }
        Err(status) => Outcome::Refused(status),
    }
}

/// Whether a refusal will never be another: the namespace goes, and takes with it whoever wanted
/// something new in it. Nothing is to be tried again, and nobody can be told.
fn is_in_vain(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// The notes of the write that `status` is about; of the first write that has one, when it does
/// not say.
fn refused_note(refusals: Vec<Refusal>, writes: &[Write], status: &Status) -> Option<Note> {
    let name = status.details.as_ref().map_or("", |details| details.name.as_str());
    let is_about = |refusal: &Refusal| {
        writes.get(refusal.write).is_some_and(|write| written_name(write) == name)
    };
    let at = refusals.iter().position(is_about).unwrap_or(0);
    let mut note = refusals.into_iter().nth(at)?.note;
    note.message.push_str(&status.message);
    Some(note)
}

fn written_name(write: &Write) -> &str {
    match write {
        Write::Create(value) | Write::Update(value) | Write::UpdateSubresource(_, value) => {
            value["metadata"]["name"].as_str().unwrap_or_default()
        }
        Write::CreateSubresource { key, .. } | Write::Delete { key, .. } => &key.name,
    }
}
