//! A pod's worker: it carries out what the real planner says, one step a turn, so that anything
//! may happen between two steps.
//!
//! It follows the engine's worker: what takes time is under way until it is due; pulls and probes
//! run beside; the status is written when nothing is left to do but wait.

use std::collections::VecDeque;
use std::sync::Arc;

use coracle_api::{Object, Status, Timestamp, Verb};
use coracle_controllers::{EventType, Note as ControlNote};
use coracle_driver::EventSource;
use coracle_node::planner::{
    self, Exit, Instance, Note, Observed, Outcome, ProbeKind, Step, plan, status,
};
use coracle_server::Body;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use crate::client::{self, Place};
use crate::node::Hands;
use crate::runtime::{Behaviour, Container, Happened, Sandbox, Start, later};

/// The pause after the API refused a write that must succeed, in seconds.
const AGAIN_SECONDS: i64 = 1;

/// What happens to a pod.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Changed(Arc<Object>),
    Gone,
    /// Whether something of another pod of this name is left.
    Predecessor(bool),
    Runtime(Happened),
    Pulled {
        container: String,
        attempt: u32,
        found: bool,
    },
    Probed {
        container: String,
        kind: ProbeKind,
        id: String,
        ready: bool,
    },
}

/// What is under way.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Mount,
    Sandbox(u32),
    Start { container: String, attempt: u32, backoff_seconds: u32 },
    Remove,
    Unmount,
}

/// A pod's worker.
pub(crate) struct Worker {
    node: usize,
    /// `None` for what is left of a pod that is gone.
    object: Option<Arc<Object>>,
    pod: Arc<Pod>,
    seen: Observed,
    inbox: VecDeque<Message>,
    /// Pulls and probes that run.
    beside: Vec<(Timestamp, Message)>,
    under_way: Option<(Timestamp, Operation)>,
    claims: Vec<String>,
    wake: Option<Timestamp>,
    dirty: bool,
    finished: bool,
}

impl Worker {
    pub fn new(
        node: usize,
        object: &Arc<Object>,
        sandbox: Option<&Sandbox>,
        now: Timestamp,
    ) -> Option<Self> {
        let pod: Arc<Pod> = object.view().ok()?;
        let mut worker = Self::bare(node, Some(Arc::clone(object)), pod);
        worker.seen.accepted_at = Some(now);
        if let Some(sandbox) = sandbox {
            worker.adopt(sandbox);
        }
        worker.seen.recover(&worker.pod, now);
        worker.seen.remember_readiness(&worker.pod);
        if sandbox.is_some() {
            worker.seen.volumes_mounted();
        }
        Some(worker)
    }

    /// For what still runs of a pod that is gone.
    pub fn of_orphan(sandbox: &Sandbox) -> Self {
        let mut worker = Self::bare(sandbox.node, None, Arc::clone(&sandbox.pod));
        worker.adopt(sandbox);
        worker.seen.volumes_mounted();
        worker.seen.gone = true;
        worker.finished = true;
        worker
    }

    fn bare(node: usize, object: Option<Arc<Object>>, pod: Arc<Pod>) -> Self {
        Self {
            node,
            object,
            pod,
            seen: Observed::default(),
            inbox: VecDeque::new(),
            beside: Vec::new(),
            under_way: None,
            claims: Vec::new(),
            wake: None,
            dirty: true,
            finished: false,
        }
    }

    fn adopt(&mut self, sandbox: &Sandbox) {
        self.seen.sandbox_created(sandbox.number, Some(sandbox.ip));
        for (name, container) in &sandbox.containers {
            self.seen.started(name, instance(container, sandbox.number));
        }
        self.claims.clone_from(&sandbox.claims);
        if !sandbox.alive {
            let at = sandbox.containers.values().filter_map(|it| it.exit.as_ref()).map(|it| it.at);
            self.seen.sandbox_died(at.max().unwrap_or(Timestamp::UNIX_EPOCH));
        }
    }

    pub fn tell(&mut self, message: Message) {
        self.inbox.push_back(message);
    }

    pub fn is_runnable(&self, now: Timestamp) -> bool {
        match &self.under_way {
            Some((due, _)) => *due <= now,
            None => {
                self.dirty
                    || !self.inbox.is_empty()
                    || self.wake.is_some_and(|at| at <= now)
                    || self.beside.iter().any(|(at, _)| *at <= now)
            }
        }
    }

    pub fn next_time(&self) -> Option<Timestamp> {
        match &self.under_way {
            Some((due, _)) => Some(*due),
            None => self.wake.into_iter().chain(self.beside.iter().map(|(at, _)| *at)).min(),
        }
    }

    pub fn is_done(&self) -> bool {
        let is_bare = self.seen.sandbox.is_none() && !self.seen.volumes_ready;
        let rests = !self.dirty && self.wake.is_none() && self.inbox.is_empty();
        self.finished && is_bare && rests && self.under_way.is_none()
    }

    /// The engine ends now: what was asked of the runtime may still be done.
    pub fn interrupted(&mut self, hands: &mut Hands<'_>) {
        if let Some((_, operation)) = self.under_way.take()
            && hands.random.one_in(2)
        {
            self.complete(operation, hands);
        }
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// One thing: an operation that is done, or the next step.
    pub fn turn(&mut self, node: &str, hands: &mut Hands<'_>) {
        if let Some((_, operation)) = self.under_way.take() {
            self.dirty = true;
            return self.complete(operation, hands);
        }
        self.read_inbox(hands);
        self.wake = None;
        self.dirty = true;
        let is_deleted = self.pod.metadata.deletion_timestamp.is_some();
        if hands.object_first && is_deleted && !self.finished {
            let uid = self.uid().to_owned();
            return self.delete(node, &uid, hands);
        }
        for step in plan(&self.pod, &self.seen, hands.now) {
            match step {
                Step::LookAgain(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
                Step::Note(note) => self.note(node, &note, hands),
                Step::DeletePod { uid } => {
                    if self.finished {
                        continue;
                    }
                    let written = self.publish(node, hands);
                    if written == Some(false) {
                        self.delete(node, &uid, hands);
                    }
                    return;
                }
                step => {
                    hands.said.push(format!("{} {}", self.name(), described(&step)));
                    return self.begin(step, hands);
                }
            }
        }
        self.dirty = self.publish(node, hands) == Some(true);
    }

    fn read_inbox(&mut self, hands: &Hands<'_>) {
        let (due, beside) = self.beside.drain(..).partition(|(at, _)| *at <= hands.now);
        self.beside = beside;
        let due: Vec<(Timestamp, Message)> = due;
        self.inbox.extend(due.into_iter().map(|(_, message)| message));
        while let Some(message) = self.inbox.pop_front() {
            self.take(message, hands);
        }
    }

    fn take(&mut self, message: Message, hands: &Hands<'_>) {
        match message {
            Message::Changed(object) => self.replace(object),
            Message::Gone => {
                self.seen.gone = true;
                self.finished = true;
            }
            Message::Predecessor(is_left) => self.seen.predecessor = is_left,
            Message::Runtime(Happened::Exited { container, id, exit, .. }) => {
                self.seen.exited(&container, Some(&id), exit);
            }
            Message::Runtime(Happened::SandboxLost { .. }) => self.seen.sandbox_died(hands.now),
            Message::Pulled { container, attempt, found: true } => {
                self.seen.image_ready(&container, attempt);
            }
            Message::Pulled { container, .. } => {
                let message = "failed to pull and unpack image: not found".to_owned();
                self.seen.image_failed(&container, "ErrImagePull", message, hands.now);
            }
            Message::Probed { container, kind, id, ready } => {
                let outcome = match ready {
                    true => Outcome::Success,
                    false => Outcome::Failure("not ready".to_owned()),
                };
                let pod = Arc::clone(&self.pod);
                let spec = pod.spec.iter().flat_map(|spec| &spec.containers);
                if let Some(spec) = spec.into_iter().find(|it| it.name == container) {
                    self.seen.probe_finished(spec, kind, &id, &outcome);
                }
            }
        }
    }

    fn replace(&mut self, object: Arc<Object>) {
        if self.object.as_ref().is_some_and(|old| old.revision() > object.revision()) {
            return;
        }
        if let Ok(pod) = object.view() {
            self.pod = pod;
            self.object = Some(object);
        }
    }

    /// Begins a step.
    fn begin(&mut self, step: Step, hands: &mut Hands<'_>) {
        let now = hands.now;
        match step {
            Step::MountVolumes => self.occupy(Operation::Mount, 500, hands),
            Step::CreateSandbox { number } => self.occupy(Operation::Sandbox(number), 500, hands),
            Step::StartContainer { container, attempt, backoff_seconds, .. } => {
                let start = Operation::Start { container, attempt, backoff_seconds };
                self.occupy(start, 1500, hands);
            }
            Step::RemoveSandbox => self.occupy(Operation::Remove, 500, hands),
            Step::UnmountVolumes => self.occupy(Operation::Unmount, 200, hands),
            Step::EnsureImage { container, attempt } => {
                let missing = Behaviour::of(&self.image(&container)) == Behaviour::Missing;
                let fails = missing || hands.chaos && hands.random.one_in(15);
                self.seen.pull_started(&container);
                let pulled = Message::Pulled { container, attempt, found: !fails };
                self.beside.push((now + hands.random.within(2000), pulled));
            }
            Step::Probe { container, kind } => {
                let Some(id) = self.current(&container) else { return };
                let ready = hands.runtime.is_ready(self.uid(), &container, now);
                self.seen.probe_started(&container, kind, now);
                let probed = Message::Probed { container, kind, id, ready };
                self.beside.push((now + hands.random.within(300), probed));
            }
            Step::StopContainer { container, id, deadline } => {
                let uid = self.uid().to_owned();
                hands.runtime.stop(&uid, &container, &id, now, hands.random, hands.chaos);
                self.seen.stopping(&container, deadline);
            }
            Step::KillContainer { container, id } => {
                let uid = self.uid().to_owned();
                hands.runtime.kill(&uid, &container, &id, now);
                self.seen.killed(&container, now);
            }
            Step::DeletePod { .. } | Step::Note(_) | Step::LookAgain(_) => {}
        }
    }

    fn occupy(&mut self, operation: Operation, milliseconds: u64, hands: &mut Hands<'_>) {
        self.under_way = Some((hands.now + hands.random.within(milliseconds), operation));
    }

    fn image(&self, container: &str) -> String {
        let spec = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        let spec = spec.into_iter().find(|it| it.name == container);
        spec.and_then(|it| it.image.clone()).unwrap_or_default()
    }

    fn current(&self, container: &str) -> Option<String> {
        Some(self.seen.containers.get(container)?.current.as_ref()?.id.clone())
    }

    /// An operation has been carried out.
    fn complete(&mut self, operation: Operation, hands: &mut Hands<'_>) {
        let now = hands.now;
        let uid = self.uid().to_owned();
        match operation {
            Operation::Mount => match self.mount(&hands.api.snapshot()) {
                _ if hands.chaos && hands.random.one_in(30) => {
                    self.seen.volumes_failed("input/output error".to_owned(), now);
                }
                Ok(claims) => {
                    self.claims = claims;
                    self.seen.volumes_mounted();
                }
                Err(message) => self.seen.volumes_failed(message, now),
            },
            Operation::Sandbox(_) if hands.chaos && hands.random.one_in(30) => {
                self.seen.sandbox_failed("no address".to_owned(), now);
            }
            Operation::Sandbox(number) => {
                let claims = self.claims.clone();
                let ip = hands.runtime.create_sandbox(&self.pod, self.node, number, claims);
                self.seen.sandbox_created(number, Some(ip));
            }
            Operation::Start { container, attempt, backoff_seconds } => {
                let image = self.image(&container);
                let (name, image) = (container.as_str(), image.as_str());
                let start = Start { uid: &uid, container: name, image, attempt, backoff_seconds };
                match hands.runtime.start(&start, now, hands.random, hands.chaos) {
                    Some(started) => {
                        let instance = instance(&started, self.seen.sandbox_number);
                        self.seen.started(&container, instance);
                    }
                    None => self.seen.sandbox_died(now),
                }
            }
            Operation::Remove => {
                hands.runtime.remove_sandbox(&uid);
                self.seen.sandbox_removed(now);
            }
            Operation::Unmount => {
                self.claims.clear();
                self.seen.volumes_ready = false;
                self.seen.volumes_failure = None;
            }
        }
    }

    /// The claims of the pod, which must be bound to it.
    fn mount(&self, snapshot: &Snapshot) -> Result<Vec<String>, String> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let claims = volumes.filter_map(|it| it.persistent_volume_claim.as_ref());
        claims
            .map(|source| {
                let name = &source.claim_name;
                let claim = snapshot.find("persistentvolumeclaims", self.namespace(), name);
                let claim = claim.ok_or_else(|| format!("claim {name} not found"))?;
                let volume = claim.str_at("/spec/volumeName").unwrap_or_default();
                let volume = snapshot.find("persistentvolumes", "", volume);
                let owner = volume.and_then(|it| it.str_at("/spec/claimRef/uid"));
                match claim.str_at("/status/phase") {
                    Some("Bound") if owner == Some(&claim.metadata().uid) => {
                        Ok(claim.metadata().uid.clone())
                    }
                    _ => Err(format!("claim {name} is not bound")),
                }
            })
            .collect()
    }

    /// Writes the status when it is not what the API shows: whether it did. `None` when it must be
    /// tried again.
    fn publish(&mut self, node: &str, hands: &mut Hands<'_>) -> Option<bool> {
        let object = self.object.clone().filter(|_| !self.finished && !self.seen.gone);
        let Some(object) = object else { return Some(false) };
        let status = status(&self.pod, &self.seen, hands.now);
        if self.pod.status.as_ref() == Some(&status) {
            return Some(false);
        }
        let phase = status.phase.clone().unwrap_or_default();
        let outcome = self.write(node, &object, &status, hands);
        let shown = outcome.as_ref().map_or_else(|error| error.message.as_str(), |_| "written");
        hands.said.push(format!("{} status {phase}: {shown}", self.name()));
        match outcome {
            Ok(Some(object)) => self.replace(object),
            Ok(None) => {}
            Err(error) if matches!(error.code, 404 | 409) => self.refresh(&hands.api.snapshot()),
            Err(_) => {
                self.try_again(hands.now);
                return None;
            }
        }
        Some(true)
    }

    fn write(
        &self,
        node: &str,
        pod: &Object,
        status: &PodStatus,
        hands: &Hands<'_>,
    ) -> Result<Option<Arc<Object>>, Status> {
        if hands.refused {
            return Err(Status::internal("refused by chance"));
        }
        let mut body = pod.value().clone();
        let new = serde_json::to_value(status).map_err(Status::internal)?;
        match (body.get_mut("status").and_then(Value::as_object_mut), new) {
            (Some(old), Value::Object(new)) => old.extend(new),
            (_, new) => body["status"] = new,
        }
        let place = self.place("status");
        client::call(hands.api, node, Verb::Update, &place, Body::Object(body))
    }

    fn place(&self, subresource: &'static str) -> Place<'_> {
        let (namespace, name) = (self.namespace(), self.name());
        Place { resource: "pods", namespace, name, subresource }
    }

    fn delete(&mut self, node: &str, uid: &str, hands: &mut Hands<'_>) {
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let outcome = match hands.refused {
            true => Err(Status::internal("refused by chance")),
            false => {
                let (place, body) = (self.place(""), Body::Object(options));
                client::call(hands.api, node, Verb::Delete, &place, body)
            }
        };
        let shown = outcome.as_ref().map_or_else(|error| error.message.as_str(), |_| "deleted");
        hands.said.push(format!("{} {shown}", self.name()));
        match outcome {
            Err(error) if !matches!(error.code, 404 | 409) => self.try_again(hands.now),
            _ => self.finished = true,
        }
    }

    fn try_again(&mut self, now: Timestamp) {
        let at = later(now, AGAIN_SECONDS);
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        self.dirty = false;
    }

    fn refresh(&mut self, snapshot: &Snapshot) {
        let uid = self.uid().to_owned();
        match snapshot.find("pods", self.namespace(), self.name()) {
            Some(object) if object.metadata().uid == uid => self.replace(Arc::clone(object)),
            _ => self.seen.gone = true,
        }
    }

    fn note(&self, node: &str, note: &Note, hands: &Hands<'_>) {
        let Some(object) = &self.object else { return };
        let event_type = match note.event_type {
            planner::EventType::Normal => EventType::Normal,
            planner::EventType::Warning => EventType::Warning,
        };
        let (reason, message) = (note.reason, note.message.clone());
        let regarding = Arc::clone(object);
        let control = ControlNote { regarding, event_type, reason, message };
        let source = EventSource::on_host("kubelet", node);
        hands.events.record_at(source, control, &note.field_path, hands.now);
    }
}

fn instance(container: &Container, sandbox: u32) -> Instance {
    Instance {
        id: container.id.clone(),
        attempt: container.attempt,
        sandbox,
        image: container.image.clone(),
        image_id: container.image.clone(),
        backoff_seconds: container.backoff_seconds,
        started_at: container.started_at,
        exit: container.exit.clone().map(|exit| Exit { ..exit }),
        stopping: None,
    }
}

fn described(step: &Step) -> String {
    match step {
        Step::MountVolumes => "mounts".to_owned(),
        Step::CreateSandbox { number } => format!("makes sandbox {number}"),
        Step::EnsureImage { attempt, .. } => format!("pulls for start {attempt}"),
        Step::StartContainer { attempt, .. } => format!("starts {attempt}"),
        Step::Probe { .. } => "probes".to_owned(),
        Step::StopContainer { id, .. } => format!("stops {id}"),
        Step::KillContainer { id, .. } => format!("kills {id}"),
        Step::RemoveSandbox => "removes its sandbox".to_owned(),
        Step::UnmountVolumes => "unmounts".to_owned(),
        Step::DeletePod { .. } => "deletes itself".to_owned(),
        Step::Note(note) => note.message.clone(),
        Step::LookAgain(at) => format!("waits until {at}"),
    }
}
