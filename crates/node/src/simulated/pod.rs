//! A simulated pod: its worker, and what answers it in the place of a machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Object;
use coracle_runtime::{Container, ContainerState, RuntimeEvent};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;

use super::life::{Ending, Life};
use super::recover::sandbox;
use crate::planner::{EventType, ImageFor, Note, Outcome, PullPolicy, Verdict, find_container};
use crate::worker::{
    Effect, End, Kept, Message, Moment, Operation, SandboxFailure, Signal, Start, Worker,
};

/// Exit codes of what is told to end, and of what is killed.
const TERMINATED: i32 = 143;
const KILLED: i32 = 137;

/// What is to be done for a simulated pod.
#[derive(Debug)]
pub(super) enum Deed {
    /// Tell it that, after a while.
    Later(SignedDuration, Fact),
    /// Write the status over this version.
    Write(Arc<Object>, Box<PodStatus>),
    /// Remove its object.
    Delete,
    /// Write an event.
    Note(Arc<Object>, Note),
    /// Its address is free.
    GiveBack,
}

/// What comes to be with time.
#[derive(Debug)]
pub(super) enum Fact {
    /// For the worker.
    Told(Box<Message>),
    /// The run with this id ends with that code, if it has not ended yet.
    Ends(String, i32),
}

impl Fact {
    pub fn told(message: Message) -> Self {
        Self::Told(Box::new(message))
    }
}

/// A simulated pod.
#[derive(Debug)]
pub(super) struct SimulatedPod {
    worker: Worker,
    /// Name of its node.
    pub node: Arc<str>,
    /// By their ids.
    running: BTreeMap<String, Container>,
    /// When it is asked without a message.
    pub wake: Option<Timestamp>,
    /// Where that is noted down.
    pub noted: Option<Slot>,
}

/// A place among what is due: the time since the beginning, and a number.
pub(super) type Slot = (Duration, u64);

impl SimulatedPod {
    pub fn new(worker: Worker, node: Arc<str>, running: Vec<Container>) -> Self {
        let running = running.into_iter().map(|it| (it.id.clone(), it)).collect();
        Self { worker, node, running, wake: None, noted: None }
    }

    /// Keeps no more than it must until the next turn.
    pub fn rest(&mut self) {
        self.worker.rest();
    }

    /// What ran under an earlier engine comes to its end as it would have.
    pub fn goes_on(&self, now: Timestamp) -> Vec<Deed> {
        let (pod, life) = (self.worker.pod(), Life::of(self.worker.pod()));
        let ends = |container: &Container| {
            let ContainerState::Running { started_at } = container.state else { return None };
            let (role, _) = find_container(pod, &container.name)?;
            let (runs, code) = life.ending(role, &container.id)?;
            let left = runs.saturating_sub(now.duration_since(started_at));
            let left = left.max(SignedDuration::ZERO);
            Some(Deed::Later(left, Fact::Ends(container.id.clone(), code)))
        };
        self.running.values().filter_map(ends).collect()
    }

    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Takes a fact in, or none when it is time to look again. `address` gives the pod one.
    pub fn turn(
        &mut self,
        fact: Option<Fact>,
        moment: Moment,
        address: impl Fn() -> Option<Ipv4Addr>,
    ) -> Vec<Deed> {
        let message = match fact {
            Some(Fact::Ends(id, code)) => match self.ends(&id, code, moment.clock) {
                Some(message) => Some(message),
                None => return Vec::new(),
            },
            Some(Fact::Told(message)) => Some(*message),
            None => None,
        };
        let turn = self.worker.turn(message, moment);
        self.wake = turn.wake;
        let mut deeds = Vec::new();
        for effect in turn.effects {
            self.carry_out(effect, moment.clock, &address, &mut deeds);
        }
        deeds
    }

    fn carry_out(
        &mut self,
        effect: Effect,
        now: Timestamp,
        address: &impl Fn() -> Option<Ipv4Addr>,
        deeds: &mut Vec<Deed>,
    ) {
        let life = Life::of(self.worker.pod());
        let at_once = |message| Deed::Later(SignedDuration::ZERO, Fact::told(message));
        match effect {
            Effect::Begin(Operation::WriteStatus(object, status)) => {
                deeds.push(Deed::Write(object, status));
            }
            Effect::Begin(Operation::DeletePod) => deeds.push(Deed::Delete),
            Effect::Begin(operation) => self.operate(operation, (&life, now), address, deeds),
            Effect::Pull { wanted, .. } => {
                let message = Message::Pulled { wanted, result: Ok((0, Duration::ZERO)) };
                deeds.push(Deed::Later(self.until_start(&life), Fact::told(message)));
            }
            Effect::Probe { container, kind, id, .. } => {
                let outcome = Outcome::Success;
                deeds.push(at_once(Message::Probed { container, kind, id, outcome }));
            }
            Effect::Hook { container, kind, id, .. } => {
                deeds.push(at_once(Message::Hooked { container, kind, id, result: Ok(()) }));
            }
            // What goes as it should is not told of: that would be five events a pod.
            Effect::Note(object, note) if note.event_type == EventType::Warning => {
                deeds.push(Deed::Note(object, note));
            }
            // Every template is believed at once.
            Effect::Note(..) | Effect::Lived(_) | Effect::Failed(_) => {}
        }
    }

    /// What is pulled is what takes its time: a pod that waits for it can be deleted.
    fn until_start(&self, life: &Life) -> SignedDuration {
        if self.running.is_empty() { life.start } else { SignedDuration::ZERO }
    }

    fn operate(
        &mut self,
        operation: Operation,
        (life, now): (&Life, Timestamp),
        address: &impl Fn() -> Option<Ipv4Addr>,
        deeds: &mut Vec<Deed>,
    ) {
        let mut follows = None;
        let end = match operation {
            Operation::Mount(_) => End::Mounted(Ok(None)),
            Operation::CreateSandbox { number, .. } => {
                let none = || SandboxFailure::Refused("no address is free".to_owned());
                let ip = address().ok_or_else(none);
                End::SandboxCreated(ip.map(|ip| sandbox(self.worker.id(), number, ip, now)))
            }
            Operation::Allocate(_) => End::Allocated(Verdict::Granted),
            Operation::Resize(_) => End::Resized(Ok(())),
            Operation::AttachNetwork { .. } => End::Attached(Ok(())),
            Operation::FindImage { wanted, .. } => {
                let is_here = self.until_start(life).is_zero() || self.is_never_pulled(&wanted);
                End::ImageFound(Ok(is_here))
            }
            Operation::Start(start) => {
                let (container, ending) = self.start(&start, life, now);
                let ends =
                    |(after, code)| Deed::Later(after, Fact::Ends(container.id.clone(), code));
                follows = ending.map(ends);
                End::Started(Ok(container), true)
            }
            Operation::Signal { id, signal, .. } => {
                let (after, code) = match signal {
                    Signal::Stop(_) => (life.stop, TERMINATED),
                    Signal::Kill => (SignedDuration::ZERO, KILLED),
                };
                follows = Some(Deed::Later(after, Fact::Ends(id, code)));
                End::Signalled(true)
            }
            Operation::RemoveSandbox => {
                self.running.clear();
                follows = Some(Deed::GiveBack);
                End::SandboxRemoved(Ok(()))
            }
            Operation::Unmount => End::Unmounted(Ok(())),
            // They are deeds.
            Operation::WriteStatus(..) | Operation::DeletePod => End::Broken,
        };
        deeds.push(Deed::Later(SignedDuration::ZERO, Fact::told(Message::Ended(end))));
        deeds.extend(follows);
    }

    fn is_never_pulled(&self, wanted: &ImageFor) -> bool {
        wanted.of(self.worker.pod()).is_some_and(|(_, policy)| policy == PullPolicy::Never)
    }

    fn start(&mut self, start: &Start, life: &Life, now: Timestamp) -> (Container, Option<Ending>) {
        let id = format!("{}-{}-{}", self.worker.id().uid, start.container, start.attempt);
        let found = find_container(&start.pod, &start.container);
        let ending = found.as_ref().and_then(|(role, _)| life.ending(*role, &id));
        let image = found.and_then(|(_, it)| it.image.clone()).unwrap_or_default();
        let container = Container {
            id: id.clone(),
            name: start.container.clone(),
            attempt: start.attempt,
            pid: 0,
            state: ContainerState::Running { started_at: now },
            log_path: PathBuf::new(),
            labels: [].into(),
            annotations: Kept::of_container((start.backoff_seconds, start.era), &image, &image),
        };
        self.running.insert(id, container.clone());
        (container, ending)
    }

    fn ends(&mut self, id: &str, code: i32, now: Timestamp) -> Option<Message> {
        let container = self.running.remove(id)?;
        let ContainerState::Running { started_at } = container.state else { return None };
        let signal = (code > 128).then(|| code.saturating_sub(128));
        let state = ContainerState::Exited {
            exit_code: code,
            signal,
            oom_killed: false,
            started_at,
            finished_at: now,
        };
        let pod_uid = self.worker.id().uid.clone();
        let container = Container { state, ..container };
        let event = RuntimeEvent::ContainerExited { pod_uid, container };
        Some(Message::Runtime(event, String::new()))
    }
}
