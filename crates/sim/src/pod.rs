//! A pod of a node: the engine's own worker, and what carries its operations out here.
//!
//! What is asked of the machine takes a while, and anything may happen meanwhile: the engine may be
//! killed before it is done, or when it is done and nobody has heard of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::resources::{CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use coracle_api::{Object, Status, Timestamp, Verb};
use coracle_controllers::{EventType, Note as ControlNote};
use coracle_driver::EventSource;
use coracle_node::hands::machine;
use coracle_node::planner::{self, HookKind, ImageFor, Note, Outcome, ProbeKind, Verdict};
use coracle_node::pods::container_resources;
use coracle_node::worker::{
    Allocate, Effect, End, Kept, Message, Moment, MountFailure, Operation, Signal, Start,
    StartFailure, Turn, Worker, WriteFailure,
};
use coracle_runtime::{Container, ContainerSpec, Containers, SandboxSpec};
use coracle_server::Body;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod as Spec, PodStatus};
use serde_json::{Value, json};

use crate::client::{self, Place};
use crate::hands::{Hands, node_name, room};
use crate::ready::ready;
use crate::runtime::{Behaviour, Mounts};

/// The ConfigMap that pods have as files.
pub(crate) const SETTINGS: &str = "settings";

/// Milliseconds after which the end of an operation is heard of at the latest.
const HEARD_WITHIN: u64 = 100;

/// What runs beside the worker.
#[derive(Debug)]
enum Beside {
    Pull { wanted: ImageFor, image: String },
    Probe { container: String, kind: ProbeKind, id: String },
    Hook { container: String, kind: HookKind, id: String },
}

/// A pod's worker and what is under way for it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub worker: Worker,
    inbox: VecDeque<Message>,
    beside: Vec<(Timestamp, Beside)>,
    under_way: Option<(Timestamp, Operation)>,
    /// What came of it, which is heard a little later: what follows from it may be heard before.
    ended: Option<(Timestamp, End)>,
    /// By the node's clock.
    wake: Option<Timestamp>,
    /// Its worker was not asked yet.
    fresh: bool,
    /// A planted bug has removed its object.
    removed: bool,
}

impl Pod {
    pub fn new(worker: Worker) -> Self {
        Self {
            worker,
            inbox: VecDeque::new(),
            beside: Vec::new(),
            under_way: None,
            ended: None,
            wake: None,
            fresh: true,
            removed: false,
        }
    }

    pub fn tell(&mut self, message: Message) {
        self.inbox.push_back(message);
    }

    /// Whether it has something to do; `clock` is the node's.
    pub fn is_runnable(&self, now: Timestamp, clock: Timestamp) -> bool {
        self.fresh
            || !self.inbox.is_empty()
            || self.wake.is_some_and(|at| at <= clock)
            || self.under_way.as_ref().is_some_and(|(at, _)| *at <= now)
            || self.ended.as_ref().is_some_and(|(at, _)| *at <= now)
            || self.beside.iter().any(|(at, _)| *at <= now)
    }

    /// When it has, by the world's clock; the node's is `ahead`.
    pub fn next_time(&self, ahead: jiff::SignedDuration) -> Option<Timestamp> {
        let wake = self.wake.map(|at| at.checked_sub(ahead).unwrap_or(at));
        let under_way = self.under_way.iter().map(|(at, _)| *at);
        let under_way = under_way.chain(self.ended.iter().map(|(at, _)| *at));
        wake.into_iter().chain(under_way).chain(self.beside.iter().map(|(at, _)| *at)).min()
    }

    fn name(&self) -> &str {
        &self.worker.id().name
    }

    /// One message, or none when it is time to look again.
    pub fn turn(&mut self, hands: &mut Hands<'_>) {
        if self.removes_object_first(hands) {
            return;
        }
        if let Some((_, operation)) = self.under_way.take_if(|(at, _)| *at <= hands.now) {
            let end = self.operate(operation, hands);
            self.ended = Some((hands.now + hands.random.within(HEARD_WITHIN), end));
            return;
        }
        let message = self.next_message(hands);
        self.fresh = false;
        let moment = Moment { clock: hands.clock, steady: since_start(hands.now) };
        // It may have rested since the last turn, however short ago that was.
        self.worker.rest();
        let Turn { effects, wake } = self.worker.turn(message, moment);
        self.wake = wake;
        for effect in effects {
            self.carry_out(effect, hands);
        }
    }

    fn next_message(&mut self, hands: &mut Hands<'_>) -> Option<Message> {
        if let Some((_, end)) = self.ended.take_if(|(at, _)| *at <= hands.now) {
            return Some(Message::Ended(end));
        }
        if let Some(message) = self.inbox.pop_front() {
            return Some(message);
        }
        let due = self.beside.iter().position(|(at, _)| *at <= hands.now)?;
        let (_, beside) = self.beside.remove(due);
        Some(self.beside_done(beside, hands))
    }

    fn beside_done(&self, beside: Beside, hands: &mut Hands<'_>) -> Message {
        let uid = &self.worker.id().uid;
        match beside {
            Beside::Pull { wanted, image } => {
                let missing = Behaviour::of(&image) == Behaviour::Missing;
                let mut runtime = hands.machine.lock();
                let fails = missing || runtime.chaos && runtime.random.one_in(15);
                let result = match fails {
                    true => Err("failed to pull and unpack image: not found".to_owned()),
                    false => Ok((1, Duration::from_secs(1))),
                };
                if !fails {
                    runtime.images.insert(image);
                }
                Message::Pulled { wanted, result }
            }
            Beside::Hook { container, kind, id } => {
                let mut runtime = hands.machine.lock();
                let fails = runtime.chaos && runtime.random.one_in(8);
                let result = match runtime.runs(uid, &id) && !fails {
                    true => Ok(()),
                    false => Err("Exec lifecycle hook failed".to_owned()),
                };
                Message::Hooked { container, kind, id, result }
            }
            Beside::Probe { container, kind, id } => {
                let mut runtime = hands.machine.lock();
                let mute = runtime.sandboxes.get(uid).is_some_and(|sandbox| sandbox.mute);
                let outcome = match runtime.is_ready(uid, &id) {
                    _ if mute => Outcome::Unknown("deadline exceeded".to_owned()),
                    true => Outcome::Success,
                    false => Outcome::Failure("not ready".to_owned()),
                };
                Message::Probed { container, kind, id, outcome }
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, hands: &mut Hands<'_>) {
        match effect {
            Effect::Begin(operation) => {
                let (most, said) = described(&operation);
                hands.said.push(format!("{} {said}", self.name()));
                self.under_way = Some((hands.now + hands.random.within(most), operation));
            }
            Effect::Pull { wanted, image } => {
                let at = hands.now + hands.random.within(2000);
                self.beside.push((at, Beside::Pull { wanted, image }));
            }
            Effect::Probe { container, kind, id, .. } => {
                let at = hands.now + hands.random.within(300);
                self.beside.push((at, Beside::Probe { container, kind, id }));
            }
            Effect::Hook { container, kind, id, .. } => {
                let said = format!("{} runs {kind:?} of {container}", self.name());
                hands.said.push(said);
                // Some before the end take longer than any grace.
                let hangs = kind == HookKind::PreStop && hands.random.one_in(6);
                let most = if hangs { 60_000 } else { 1500 };
                let at = hands.now + hands.random.within(most);
                self.beside.push((at, Beside::Hook { container, kind, id }));
            }
            Effect::Note(object, note) => note_down(object, &note, hands),
            Effect::Lived(template) => {
                if hands.templates.lived(template.clone()) {
                    let pods = template.pods(&hands.api.snapshot()).into_iter();
                    let proved = pods.map(|uid| (uid, Message::Proved(template.clone())));
                    hands.letters.extend(proved);
                }
            }
            Effect::Failed(template) => hands.templates.failed(&template),
        }
    }

    /// The engine ends now: what was asked of the machine may still be done.
    pub fn interrupted(&mut self, hands: &mut Hands<'_>) {
        match self.under_way.take() {
            None | Some((_, Operation::WriteStatus(..) | Operation::DeletePod)) => {}
            Some((_, operation)) if hands.random.one_in(2) => drop(self.operate(operation, hands)),
            Some(_) => {}
        }
    }

    fn operate(&self, operation: Operation, hands: &mut Hands<'_>) -> End {
        let uid = self.worker.id().uid.as_str();
        let handle = hands.machine.clone();
        match operation {
            Operation::Mount(_) => End::Mounted(self.mount(hands)),
            Operation::CreateSandbox { number, group } => {
                let id = self.worker.id().clone();
                let ip = handle.lock().address();
                let app = self.worker.pod().metadata.labels.as_ref().and_then(|it| it.get("app"));
                let app = app.map(|app| ("app".to_owned(), app.clone()));
                let node = ("node".to_owned(), hands.node.to_string());
                let spec = SandboxSpec {
                    pod_uid: id.uid,
                    namespace: id.namespace,
                    name: id.name,
                    labels: [node].into_iter().chain(app).collect(),
                    annotations: Kept::of_sandbox(number, ip),
                    resources: group,
                    ..SandboxSpec::default()
                };
                End::SandboxCreated(ready(machine::create(&handle, &spec)))
            }
            Operation::AttachNetwork { netns, ip } => {
                End::Attached(machine::attach(&handle, uid, netns, ip))
            }
            Operation::Allocate(allocate) => allocated(*allocate, hands),
            Operation::Resize(changes) => {
                let done = ready(machine::resize(&handle, uid, &changes));
                if done.is_ok() {
                    handle.lock().records.insert(uid.to_owned(), changes.record);
                }
                End::Resized(done)
            }
            Operation::FindImage { image, .. } => {
                End::ImageFound(Ok(handle.lock().images.contains(&image)))
            }
            Operation::Start(start) => {
                let trusted = hands.templates.has_proved(&start.template);
                End::Started(self.start(&start, hands), trusted)
            }
            Operation::Signal { id, signal, .. } => {
                let number = if signal == Signal::Kill { 9 } else { 15 };
                End::Signalled(ready(machine::signal(&handle, uid, &id, number)))
            }
            Operation::RemoveSandbox => {
                let detached = machine::detach(&handle, uid);
                End::SandboxRemoved(ready(machine::remove(&handle, uid)).and(detached))
            }
            Operation::Unmount => {
                let mut runtime = handle.lock();
                runtime.mounts.remove(uid);
                runtime.records.remove(uid);
                End::Unmounted(Ok(()))
            }
            Operation::WriteStatus(object, status) => {
                End::StatusWritten(self.write(&object, &status, hands))
            }
            Operation::DeletePod => End::Deleted(self.delete(hands)),
        }
    }

    fn start(&self, start: &Start, hands: &mut Hands<'_>) -> Result<Container, StartFailure> {
        let container = planner::find_container(&start.pod, &start.container);
        let resources = container.as_ref().map(|(_, it)| container_resources(it));
        let image = container.and_then(|(_, it)| it.image.clone()).unwrap_or_default();
        let (uid, handle) = (&self.worker.id().uid, hands.machine.clone());
        if !handle.lock().images.contains(&image) {
            let (reason, message) = ("CreateContainerError", format!("image {image} not found"));
            return Err(StartFailure::Refused { reason, message });
        }
        if let Some(last) = &start.last {
            // One that is left is a line in the log of the real engine.
            ready(handle.remove_container(uid, last)).unwrap_or_default();
        }
        let spec = ContainerSpec {
            id: format!("c{:016x}", hands.random.number()),
            name: start.container.clone(),
            process_namespace_of: start.target.clone(),
            attempt: start.attempt,
            args: vec![image.clone()],
            resources: resources.unwrap_or_default(),
            annotations: Kept::of_container((start.backoff_seconds, start.era), &image, &image),
            ..ContainerSpec::default()
        };
        ready(machine::start(&handle, uid, &spec, hands.clock))
    }

    fn mount(&self, hands: &mut Hands<'_>) -> Result<Option<Timestamp>, MountFailure> {
        let failed = |message| MountFailure { message, expected: false };
        let mut runtime = hands.machine.lock();
        if runtime.chaos && runtime.random.one_in(30) {
            return Err(failed("input/output error".to_owned()));
        }
        let snapshot = hands.api.snapshot();
        let claims = claims(self.worker.pod(), &snapshot).map_err(failed)?;
        let namespace = &self.worker.id().namespace;
        let settings = snapshot.find(CONFIG_MAPS, namespace, SETTINGS);
        let settings = settings.map(|map| map.value()["data"].to_string());
        runtime
            .mounts
            .insert(self.worker.id().uid.clone(), Mounts { node: hands.node, claims, settings });
        Ok(None)
    }

    fn place(&self, subresource: &'static str) -> Place<'_> {
        let id = self.worker.id();
        Place { resource: PODS, namespace: &id.namespace, name: &id.name, subresource }
    }

    fn write(
        &self,
        pod: &Object,
        status: &PodStatus,
        hands: &mut Hands<'_>,
    ) -> Result<Arc<Object>, WriteFailure> {
        let written = self.try_write(pod, status, hands);
        let shown = written.as_ref().map_or_else(|error| error.message.as_str(), |_| "written");
        let phase = status.phase.as_deref().unwrap_or_default();
        hands.said.push(format!("{} status {phase}: {shown}", self.name()));
        written.map_err(|refused| {
            if !matches!(refused.code, 404 | 409) {
                return WriteFailure::Refused;
            }
            let newest = hands.api.snapshot().get(pod.key()).cloned();
            WriteFailure::Outrun(newest.filter(|it| it.metadata().uid == self.worker.id().uid))
        })
    }

    fn try_write(
        &self,
        pod: &Object,
        status: &PodStatus,
        hands: &Hands<'_>,
    ) -> Result<Arc<Object>, Status> {
        if hands.refused {
            return Err(Status::internal("refused by chance"));
        }
        let mut body = pod.value().clone();
        let new = serde_json::to_value(status).map_err(Status::internal)?;
        match (body.get_mut("status").and_then(Value::as_object_mut), new) {
            (Some(old), Value::Object(new)) => old.extend(new),
            (_, new) => body["status"] = new,
        }
        let (place, name) = (self.place("status"), node_name(hands.node));
        let written = client::call(hands.api, &name, Verb::Update, &place, Body::Object(body))?;
        written.ok_or_else(|| Status::internal("a write without an object"))
    }

    /// Whether the object is gone, or another pod's by now.
    fn delete(&self, hands: &mut Hands<'_>) -> bool {
        let uid = &self.worker.id().uid;
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let outcome = match hands.refused {
            true => Err(Status::internal("refused by chance")),
            false => {
                let (place, name) = (self.place(""), node_name(hands.node));
                client::call(hands.api, &name, Verb::Delete, &place, Body::Object(options))
            }
        };
        let shown = outcome.as_ref().map_or_else(|error| error.message.as_str(), |_| "deleted");
        hands.said.push(format!("{} {shown}", self.name()));
        outcome.is_ok() || shown_as_gone(hands, self)
    }

    /// A planted bug: the object goes before the containers have ended.
    fn removes_object_first(&mut self, hands: &mut Hands<'_>) -> bool {
        let is_deleted = self.worker.pod().metadata.deletion_timestamp.is_some();
        if !hands.object_first || !is_deleted || self.removed {
            return false;
        }
        self.removed = self.delete(hands);
        true
    }
}

fn shown_as_gone(hands: &Hands<'_>, pod: &Pod) -> bool {
    let id = pod.worker.id();
    let found = hands.api.snapshot();
    let found = found.find(PODS, &id.namespace, &id.name);
    found.is_none_or(|object| object.metadata().uid != id.uid)
}

/// The claims of the pod, which must be bound to it.
fn claims(pod: &Spec, snapshot: &Snapshot) -> Result<Vec<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|it| it.persistent_volume_claim.as_ref());
    claims
        .map(|source| {
            let name = &source.claim_name;
            let claim = snapshot.find(PERSISTENT_VOLUME_CLAIMS, namespace, name);
            let claim = claim.ok_or_else(|| format!("claim {name} not found"))?;
            let volume = claim.str_at("/spec/volumeName").unwrap_or_default();
            let volume = snapshot.find(PERSISTENT_VOLUMES, "", volume);
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

/// As the engine's node does it.
fn allocated(allocate: Allocate, hands: &mut Hands<'_>) -> End {
    let Allocate { asking, record } = allocate;
    let (uid, room) = (asking.uid.clone(), room(hands.api, hands.node));
    let verdict = match hands.promises_all {
        true => Verdict::Granted,
        false => hands.ledger.ask(asking, &room),
    };
    if verdict == Verdict::Granted {
        let mut runtime = hands.machine.lock();
        if runtime.chaos && runtime.random.one_in(20) {
            // The disk was full.
            return End::Broken;
        }
        runtime.promise(&uid, record, (hands.node, &room));
    }
    let lucky = hands.ledger.retry(&room).into_iter();
    hands.letters.extend(lucky.map(|uid| (uid, Message::Room)));
    End::Allocated(verdict)
}

fn note_down(object: Arc<Object>, note: &Note, hands: &Hands<'_>) {
    let event_type = match note.event_type {
        planner::EventType::Normal => EventType::Normal,
        planner::EventType::Warning => EventType::Warning,
    };
    let (reason, message) = (note.reason, note.message.clone());
    let control = ControlNote { regarding: object, event_type, reason, message };
    let source = EventSource::on_host("kubelet", &node_name(hands.node));
    hands.events.record_at(source, control, &note.field_path, hands.clock);
}

fn since_start(now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// How many milliseconds it may take, and what it is.
fn described(operation: &Operation) -> (u64, String) {
    match operation {
        Operation::Mount(mounting) => (500, format!("mounts: {mounting:?}")),
        Operation::CreateSandbox { number, .. } => (500, format!("makes sandbox {number}")),
        Operation::Allocate(it) => (50, format!("asks for {:?}", it.asking.wanted)),
        Operation::Resize(changes) => (100, format!("resizes {:?}", changes.changes)),
        Operation::AttachNetwork { ip, .. } => (100, format!("attaches {ip}")),
        Operation::FindImage { wanted, .. } => (1, format!("wants an image for {wanted:?}")),
        Operation::Start(start) => (1500, format!("starts {}", start.attempt)),
        Operation::Signal { id, signal, .. } => (20, format!("{signal:?} {id}")),
        Operation::RemoveSandbox => (500, "removes its sandbox".to_owned()),
        Operation::Unmount => (200, "unmounts".to_owned()),
        Operation::WriteStatus(..) => (5, "writes its status".to_owned()),
        Operation::DeletePod => (5, "deletes itself".to_owned()),
    }
}
