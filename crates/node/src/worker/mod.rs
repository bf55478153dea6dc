//! A pod's worker: it is told what happens and says what is to be done. It does nothing itself.
//!
//! [`Worker::turn`] is a function of what the worker knows, of one message and of the time. Whoever
//! runs it (the node with real containers, the simulation with made-up ones) carries the effects
//! out and sends their ends back as messages. One operation is under way at a time; what may wait
//! for others' code (pulls, probes) runs beside it, so that nothing of the kind holds a pod up.

mod adopt;
mod ends;
mod images;
mod message;
mod moment;
mod refers;
mod resize;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coracle_api::Object;
use coracle_runtime::{Container, RuntimeEvent, Sandbox};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};

pub use adopt::Kept;
pub use message::{
    Allocate, Effect, End, ImageFailure, Message, MountFailure, Mounting, Operation,
    SandboxFailure, Signal, Start, StartFailure, WriteFailure,
};
pub use moment::Moment;
pub(crate) use refers::{refers_to, token_files};

use crate::planner::{
    AllSizes, ImageFor, Note, Observed, Outcome, ProbeKind, Record, Rejection, Role, Step,
    allocated_pod, find_container, plan, status, target_of,
};
use crate::pods::resources::pod_resources;
use crate::pods::{PodId, is_on_host};
use crate::templates::Template;

/// The pause after the API or the machine refused what must succeed.
const AGAIN: Duration = Duration::from_secs(1);

/// What a worker is asked to take on.
#[derive(Debug, Default)]
pub struct Found {
    /// What an earlier engine left of the pod.
    pub sandbox: Option<Sandbox>,
    /// The last words of containers that have ended in it, by the runtime's id.
    pub last_words: BTreeMap<String, String>,
    /// What an earlier engine remembered of its resize.
    pub record: Option<Record>,
    /// Why the node does not run it.
    pub rejection: Option<Rejection>,
    /// Something of another pod of this name is left.
    pub predecessor: bool,
    /// The node's address.
    pub host_ip: Option<Ipv4Addr>,
    /// Whether its kernel forbids writing in mounts below a read-only one.
    pub can_forbid_recursively: bool,
}

/// What is to be done now, and when to ask again at the latest.
#[derive(Debug, Default)]
pub struct Turn {
    /// In this order.
    pub effects: Vec<Effect>,
    /// Even if nothing happens before; `None` when only messages matter.
    pub wake: Option<Timestamp>,
}

impl Turn {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// A pod's worker.
#[derive(Debug)]
pub struct Worker {
    id: PodId,
    /// `None` for what is left of a pod that is gone.
    object: Option<Arc<Object>>,
    /// What the object says. Not there while the worker rests: it takes several times its bytes.
    pod: OnceLock<Arc<Pod>>,
    seen: Observed,
    netns: Option<PathBuf>,
    under_way: Option<UnderWay>,
    /// What was heard of a container or sandbox before the end of the operation that makes it.
    early: Vec<(RuntimeEvent, String)>,
    /// Volumes that are in place are to be looked after once more.
    stale: Option<Mounting>,
    /// When a token must be renewed.
    tokens_at: Option<Timestamp>,
    /// The last event of each place and reason, with what it was about.
    noted: BTreeMap<(String, &'static str), String>,
    /// Instances whose lives their templates were credited with, by the runtime's ids.
    lived: BTreeSet<String>,
    /// The status that was written last, and the revision that has it, when the API put it in other
    /// words.
    written: Option<(PodStatus, u64)>,
    /// A pod that ran before shows first what has become of it.
    looked: bool,
    /// Before then, nothing that was refused is asked again: of the API, of the machine.
    api_again: Option<Timestamp>,
    machine_again: Option<Timestamp>,
    /// The API object was deleted by us or by others: nothing more is written to it.
    finished: bool,
    last_turn: Timestamp,
    last_moment: Option<Moment>,
}

/// What must be known of the operation that is under way when it ends.
#[derive(Debug)]
enum UnderWay {
    Mount(Mounting),
    CreateSandbox { number: u32 },
    AttachNetwork,
    FindImage(ImageFor),
    Start { container: String },
    Signal { container: String, signal: Signal },
    RemoveSandbox,
    Unmount,
    Allocate(Box<(AllSizes, Record)>),
    Resize(Box<Record>),
    WriteStatus(Box<PodStatus>),
    DeletePod,
}

impl Worker {
    /// Takes a pod on, with whatever an earlier engine left of it.
    #[must_use]
    pub fn new(object: Arc<Object>, pod: Arc<Pod>, found: Found, now: Timestamp) -> Self {
        let known = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let mut worker = Self::bare(PodId::of(&pod), Some(object), pod, now);
        worker.seen.predecessor = found.predecessor;
        worker.seen.host_ip = found.host_ip;
        worker.seen.can_forbid_recursively = found.can_forbid_recursively;
        worker.seen.accepted_at = Some(now);
        worker.seen.rejection = found.rejection;
        // An earlier engine may have been killed before it had written anything of the pod.
        worker.seen.volumes_left = true;
        worker.looked = !known;
        if let Some(sandbox) = found.sandbox {
            worker.adopt(&sandbox, &found.last_words, now);
        }
        let pod = Arc::clone(worker.pod());
        worker.seen.recover(&pod, now);
        worker.seen.remember_readiness(&pod);
        worker.seen.resize_recovered(&pod, found.record, now);
        worker
    }

    /// Ends what is left of a pod that is gone.
    #[must_use]
    pub fn of_orphan(sandbox: &Sandbox, now: Timestamp) -> Self {
        let id = PodId {
            namespace: sandbox.namespace.clone(),
            name: sandbox.name.clone(),
            uid: sandbox.pod_uid.clone(),
        };
        let mut pod = Pod::default();
        pod.metadata.namespace = Some(id.namespace.clone());
        pod.metadata.name = Some(id.name.clone());
        pod.metadata.uid = Some(id.uid.clone());
        // Who deleted it while no engine ran has waited long enough.
        pod.metadata.deletion_grace_period_seconds = Some(0);
        let mut worker = Self::bare(id, None, Arc::new(pod), now);
        worker.adopt(sandbox, &BTreeMap::new(), now);
        // Nobody knows any more what they were made from.
        worker.stale = None;
        worker.seen.gone = true;
        worker.finished = true;
        worker
    }

    fn bare(id: PodId, object: Option<Arc<Object>>, pod: Arc<Pod>, now: Timestamp) -> Self {
        let object = object.map(|object| Arc::new(object.cold()));
        Self {
            id,
            object,
            pod: pod.into(),
            seen: Observed::default(),
            netns: None,
            under_way: None,
            early: Vec::new(),
            stale: None,
            tokens_at: None,
            noted: BTreeMap::new(),
            lived: BTreeSet::new(),
            written: None,
            looked: true,
            api_again: None,
            machine_again: None,
            finished: false,
            last_turn: now,
            last_moment: None,
        }
    }

    /// Whose worker it is.
    #[must_use]
    pub fn id(&self) -> &PodId {
        &self.id
    }

    /// The pod as the worker knows it.
    #[must_use]
    pub fn pod(&self) -> &Arc<Pod> {
        self.pod.get_or_init(|| {
            // Of a copy, so that the object does not keep it. It could be read when it was taken over.
            let view = self.object.as_ref().and_then(|object| object.cold().view().ok());
            view.unwrap_or_default()
        })
    }

    /// Keeps no more than it must until the next turn.
    pub fn rest(&mut self) {
        if self.object.is_some() {
            self.pod.take();
        }
    }

    /// What it knows beyond that.
    #[must_use]
    pub fn seen(&self) -> &Observed {
        &self.seen
    }

    /// The pod's network namespace, while it has one.
    #[must_use]
    pub fn netns(&self) -> Option<&PathBuf> {
        self.netns.as_ref()
    }

    /// Whether the API shows what was found of the pod at the start.
    #[must_use]
    pub fn has_looked(&self) -> bool {
        self.looked
    }

    /// Whether nothing is left of the pod, neither here nor in the API.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.finished && self.is_bare() && self.under_way.is_none()
    }

    fn is_bare(&self) -> bool {
        self.seen.sandbox.is_none() && !self.seen.has_volumes()
    }

    /// Takes one message in, if there is one, and says what is to be done now.
    pub fn turn(&mut self, message: Option<Message>, moment: Moment) -> Turn {
        let (mut turn, now) = (Turn::default(), moment.clock);
        self.mind_the_clock(moment);
        if let Some(message) = message {
            self.take(message, now, &mut turn);
        }
        self.credit_templates(now, &mut turn);
        self.proceed(now, &mut turn);
        turn
    }

    /// A clock that was set makes nothing due, and nothing wait that is due. Tokens alone end by the
    /// clock, whoever sets it.
    fn mind_the_clock(&mut self, moment: Moment) {
        let by = self.last_moment.map_or(SignedDuration::ZERO, |last| moment.jump_since(last));
        if by != SignedDuration::ZERO {
            self.seen.clock_moved(by);
            for at in [&mut self.api_again, &mut self.machine_again].into_iter().flatten() {
                *at = at.checked_add(by).unwrap_or(moment.clock);
            }
            if by.is_negative() {
                let again = |at: &mut Timestamp| *at = at.checked_add(by).unwrap_or(moment.clock);
                self.tokens_at.iter_mut().for_each(again);
            }
        }
        self.last_turn = moment.clock;
        self.last_moment = Some(moment);
    }

    fn take(&mut self, message: Message, now: Timestamp, turn: &mut Turn) {
        match message {
            Message::Changed(object) => self.changed(object),
            Message::Gone => {
                self.seen.gone = true;
                self.finished = true;
            }
            Message::Predecessor(is_left) => self.seen.predecessor = is_left,
            Message::Runtime(event, words) => self.happened(event, words, now, turn),
            Message::Referred(resource, name) => {
                let is_meant = |pod: &Arc<Object>| refers_to(pod, &resource, name.as_deref());
                if self.object.as_ref().is_some_and(is_meant) {
                    // What failed for want of it is tried again.
                    self.seen.try_again(now);
                    self.stale = self.stale.max(Some(Mounting::Files));
                }
            }
            Message::Proved(template) => {
                if Template::of(self.pod(), template.container()) == template {
                    self.seen.trust(template.container());
                }
            }
            Message::Pulled { wanted, result } => self.pulled(&wanted, result, now, turn),
            Message::Probed { container, kind, id, outcome } => {
                self.probed(&container, kind, &id, &outcome, turn);
            }
            Message::Hooked { container, kind, id, result } => {
                let role = self.role(&container);
                let note = self.seen.hook_finished(&container, role, kind, &id, result);
                note.into_iter().for_each(|note| self.note(note, turn));
            }
            Message::Room => self.seen.resize_again(now),
            Message::Evicted(eviction) => self.seen.evicted(eviction),
            Message::Ended(end) => {
                self.ended(end, now, turn);
                for (event, words) in std::mem::take(&mut self.early) {
                    self.happened(event, words, now, turn);
                }
            }
        }
    }

    fn changed(&mut self, object: Arc<Object>) {
        let (before, was_controlled) = (Arc::clone(self.pod()), self.is_controlled());
        self.replace(object);
        let (old, new) = (&before.metadata, &self.pod().metadata);
        if old.labels != new.labels || old.annotations != new.annotations {
            self.stale = self.stale.max(Some(Mounting::Files));
        }
        if !was_controlled && self.is_controlled() {
            self.seen.doubt();
        }
    }

    /// Takes a version of the pod over, unless it is older than the known one or another pod's.
    fn replace(&mut self, object: Arc<Object>) {
        let known = self.object.as_ref().map_or(0, |object| object.revision());
        if object.revision() < known || object.metadata().uid != self.id.uid {
            return;
        }
        // A pod that cannot be read stays as it was.
        if let Ok(pod) = object.view::<Pod>() {
            let before = Arc::clone(self.pod());
            if before.metadata.generation != pod.metadata.generation {
                self.seen.resize_asked(&pod, &before);
            }
            // Held for as long as the pod is: without what others make of their version of it.
            (self.object, self.pod) = (Some(Arc::new(object.cold())), pod.into());
        }
    }

    /// Something may happen to a container, or to the sandbox, before it is heard that it was made.
    fn happened(&mut self, event: RuntimeEvent, words: String, now: Timestamp, turn: &mut Turn) {
        let is_early = match (&event, &self.under_way) {
            (RuntimeEvent::ContainerExited { container, .. }, Some(UnderWay::Start { .. })) => {
                !self.knows(container)
            }
            (RuntimeEvent::SandboxLost { .. }, Some(UnderWay::CreateSandbox { .. })) => true,
            _ => false,
        };
        match event {
            event if is_early => self.early.push((event, words)),
            RuntimeEvent::ContainerExited { container, .. } => {
                self.exited(&container, words, now, turn);
            }
            RuntimeEvent::SandboxLost { .. } => self.seen.sandbox_died(now),
        }
    }

    fn knows(&self, container: &Container) -> bool {
        let seen = self.seen.containers.get(&container.name);
        let mut runs = seen.into_iter().flat_map(|seen| seen.current.iter().chain(&seen.previous));
        runs.any(|run| run.id == container.id)
    }

    fn exited(&mut self, container: &Container, words: String, now: Timestamp, turn: &mut Turn) {
        let Some(exit) = adopt::exit_of(container, words, now) else { return };
        let name = &container.name;
        let current = self.seen.containers.get(name).and_then(|seen| seen.current.as_ref());
        let runs = current.filter(|it| it.id == container.id && it.is_running());
        // A run that was to end says nothing of its template.
        let unasked = runs.is_some_and(|it| it.stopping.is_none()) && !self.is_ending();
        self.seen.exited(name, Some(&container.id), exit);
        if unasked {
            self.judge_template(name, turn);
        }
    }

    /// A container has ended by itself: its template has failed, unless it did its work.
    fn judge_template(&self, name: &str, turn: &mut Turn) {
        let current = self.seen.containers.get(name).and_then(|seen| seen.current.as_ref());
        let Some((instance, exit)) = current.and_then(|it| Some((it, it.exit.as_ref()?))) else {
            return;
        };
        if exit.code != 0 || instance.lives_on_at().is_none() {
            turn.effects.push(Effect::Failed(Template::of(self.pod(), name)));
        }
    }

    /// Whether a controller made the pod, or took it over.
    fn is_controlled(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.metadata().controller().is_some())
    }

    fn is_ending(&self) -> bool {
        self.seen.gone || self.pod().metadata.deletion_timestamp.is_some()
    }

    fn probed(&mut self, name: &str, kind: ProbeKind, id: &str, it: &Outcome, turn: &mut Turn) {
        let pod = Arc::clone(self.pod());
        let Some((role, container)) = find_container(&pod, name) else { return };
        if let Some(note) = self.seen.probe_finished(&container, role, kind, id, it) {
            self.note(note, turn);
        }
    }

    /// Containers without a readiness probe that have lived long enough speak for their templates.
    fn credit_templates(&mut self, now: Timestamp, turn: &mut Turn) {
        let pod = Arc::clone(self.pod());
        let mut running = BTreeSet::new();
        for (name, _, instance) in self.seen.running() {
            let waits_for_none = find_container(&pod, name)
                .is_some_and(|(role, it)| role.serves() && it.readiness_probe.is_none());
            if !waits_for_none {
                continue;
            }
            running.insert(instance.id.clone());
            if instance.lives_on_at().is_some_and(|at| at <= now)
                && !self.lived.contains(&instance.id)
            {
                self.lived.insert(instance.id.clone());
                turn.effects.push(Effect::Lived(Template::of(&pod, name)));
            }
        }
        self.lived.retain(|id| running.contains(id));
    }

    /// What is to be done next.
    fn proceed(&mut self, now: Timestamp, turn: &mut Turn) {
        if self.shows_what_was_found(now, turn) {
            return;
        }
        if self.seen.resize.is_some() {
            self.settle_resize(turn);
        }
        if self.tokens_at.is_some_and(|at| at <= now) {
            self.tokens_at = None;
            self.stale = self.stale.max(Some(Mounting::Files));
        }
        if self.under_way.is_none() {
            self.look_after_volumes(now, turn);
        }
        let mut over = false;
        for step in plan(self.pod(), &self.seen, now) {
            match step {
                Step::LookAgain(at) => turn.wake_at(at),
                Step::Note(note) => self.note_once(note, turn),
                Step::Probe { container, kind } => self.probe(&container, kind, now, turn),
                Step::RunHook { container, id, kind, deadline } => {
                    self.seen.hook_started(&container, kind, deadline);
                    let ip = self.ip();
                    turn.effects.push(Effect::Hook { container, kind, id, ip });
                }
                Step::AwaitTurn { container, deadline } => {
                    self.seen.awaits_turn(&container, deadline);
                }
                Step::DeletePod { .. } => over = true,
                step if self.under_way.is_none() => match self.machine_again {
                    Some(at) if at > now => turn.wake_at(at),
                    _ => {
                        self.show_fall_before(&step, now, turn);
                        if self.under_way.is_none() {
                            self.act(step, now, turn);
                        }
                    }
                },
                // Asked again when what is under way has ended.
                _ => {}
            }
        }
        if self.under_way.is_none() {
            self.tell(over, now, turn);
        }
        turn.wake = self.tokens_at.into_iter().chain(turn.wake).min();
    }

    /// Puts volumes in place once more, if they are in place and something of them is stale. What
    /// failed stays so until its next try.
    fn look_after_volumes(&mut self, now: Timestamp, turn: &mut Turn) {
        let Some(mounting) = self.stale else { return };
        // Otherwise they will be put in place as everything is then.
        let matters = self.seen.volumes_ready && (self.seen.sandbox.is_some() || !self.is_ending());
        let failure = self.seen.volumes_failure.as_ref();
        match failure.map(|failure| failure.at).filter(|at| matters && *at > now) {
            Some(at) => turn.wake_at(at),
            None => {
                self.stale = None;
                if matters {
                    self.begin(UnderWay::Mount(mounting), Operation::Mount(mounting), turn);
                }
            }
        }
    }

    fn begin(&mut self, under_way: UnderWay, operation: Operation, turn: &mut Turn) {
        self.under_way = Some(under_way);
        turn.effects.push(Effect::Begin(operation));
    }

    /// Begins what the planner wants done.
    fn act(&mut self, step: Step, now: Timestamp, turn: &mut Turn) {
        let (under_way, operation) = match step {
            Step::MountVolumes => {
                (UnderWay::Mount(Mounting::First), Operation::Mount(Mounting::First))
            }
            Step::CreateSandbox { number } => {
                let group = pod_resources(&allocated_pod(self.pod(), &self.seen));
                (UnderWay::CreateSandbox { number }, Operation::CreateSandbox { number, group })
            }
            Step::AttachNetwork => {
                let ip = self.seen.sandbox.as_ref().and_then(|sandbox| sandbox.ip);
                let (Some(ip), Some(netns)) = (ip, self.netns.clone()) else {
                    // Without an address nothing else can be done with it.
                    return self.begin(UnderWay::RemoveSandbox, Operation::RemoveSandbox, turn);
                };
                (UnderWay::AttachNetwork, Operation::AttachNetwork { netns, ip })
            }
            Step::EnsureImage(wanted) => return self.find(wanted, turn),
            Step::StartContainer { container, attempt, backoff_seconds, .. } => {
                return self.start(container, attempt, backoff_seconds, now, turn);
            }
            Step::StopContainer { container, id, deadline } => {
                let signal = Signal::Stop(deadline);
                let under_way = UnderWay::Signal { container: container.clone(), signal };
                (under_way, Operation::Signal { container, id, signal })
            }
            Step::KillContainer { container, id } => {
                let signal = Signal::Kill;
                let under_way = UnderWay::Signal { container: container.clone(), signal };
                (under_way, Operation::Signal { container, id, signal })
            }
            Step::Allocate => return self.allocate(now, turn),
            Step::Resize(changes) => {
                self.seen.resize_begun(&Arc::clone(self.pod()));
                let record = Box::new(changes.record.clone());
                (UnderWay::Resize(record), Operation::Resize(changes))
            }
            Step::StartOver => return self.start_over(now, turn),
            Step::RemoveSandbox => (UnderWay::RemoveSandbox, Operation::RemoveSandbox),
            Step::UnmountVolumes => (UnderWay::Unmount, Operation::Unmount),
            Step::Probe { .. }
            | Step::RunHook { .. }
            | Step::AwaitTurn { .. }
            | Step::DeletePod { .. }
            | Step::Note(_)
            | Step::LookAgain(_) => return,
        };
        self.begin(under_way, operation, turn);
    }

    /// All containers run once more, as soon as the API shows why.
    fn start_over(&mut self, now: Timestamp, turn: &mut Turn) {
        self.tell(false, now, turn);
        if self.under_way.is_none() {
            let pod = Arc::clone(self.pod());
            self.seen.starts_over(&pod, now);
            turn.wake_at(now);
        }
    }

    fn find(&mut self, wanted: ImageFor, turn: &mut Turn) {
        let image = wanted.of(self.pod()).map(|(image, _)| image).unwrap_or_default();
        let under_way = UnderWay::FindImage(wanted.clone());
        self.begin(under_way, Operation::FindImage { wanted, image }, turn);
    }

    fn start(
        &mut self,
        container: String,
        attempt: u32,
        backoff_seconds: u32,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let target = match target_of(self.pod(), &container) {
            None => None,
            Some(target) => {
                let running = self.seen.running().find(|(name, ..)| *name == target);
                let Some((_, _, instance)) = running else {
                    let message = format!("unable to find target container {target:?}");
                    let reason = "CreateContainerConfigError";
                    let failure = StartFailure::Refused { reason, message };
                    return self.not_started(&container, failure, now, turn);
                };
                Some(instance.id.clone())
            }
        };
        let mut pod = allocated_pod(self.pod(), &self.seen).into_owned();
        pod.status = Some(status(self.pod(), &self.seen, self.last_turn));
        let seen = self.seen.containers.get(&container);
        let here = |id: &crate::planner::Instance| id.sandbox == self.seen.sandbox_number;
        let last = seen.and_then(|seen| seen.current.as_ref()).filter(|it| here(it));
        let start = Start {
            attempt,
            backoff_seconds,
            era: self.seen.era,
            last: last.map(|instance| instance.id.clone()),
            former: seen.and_then(|seen| seen.previous.as_ref()).map(|it| it.attempt),
            template: Template::of(&pod, &container),
            target,
            container: container.clone(),
            pod,
        };
        self.begin(UnderWay::Start { container }, Operation::Start(Box::new(start)), turn);
    }

    fn probe(&mut self, name: &str, kind: ProbeKind, now: Timestamp, turn: &mut Turn) {
        let instance = self.seen.containers.get(name).and_then(|seen| seen.current.as_ref());
        let Some(id) = instance.map(|instance| instance.id.clone()) else { return };
        self.seen.probe_started(name, kind, now);
        let ip = self.ip();
        turn.effects.push(Effect::Probe { container: name.to_owned(), kind, id, ip });
    }

    fn ip(&self) -> Option<Ipv4Addr> {
        self.seen.sandbox.as_ref().and_then(|sandbox| sandbox.ip)
    }

    fn role(&self, container: &str) -> Role {
        find_container(self.pod(), container).map_or(Role::App, |(role, _)| role)
    }

    fn is_on_host(&self) -> bool {
        is_on_host(self.pod())
    }

    fn note(&self, note: Note, turn: &mut Turn) {
        if let Some(object) = &self.object {
            turn.effects.push(Effect::Note(Arc::clone(object), note));
        }
    }

    fn note_of(&self, container: &str, note: Note, turn: &mut Turn) {
        self.note(note.of(container, self.role(container)), turn);
    }

    /// Writes an event unless the planner has said the same of the same attempt before.
    fn note_once(&mut self, note: Note, turn: &mut Turn) {
        let attempts: Vec<_> = self
            .seen
            .containers
            .values()
            .map(|seen| {
                let attempt = seen.current.as_ref().map(|it| it.attempt);
                (attempt, seen.image.failure.as_ref().map(|it| it.failed_at))
            })
            .collect();
        let volumes = self.seen.volume_images.values().filter_map(|it| it.failure.as_ref());
        let volumes: Vec<_> = volumes.map(|failure| failure.failed_at).collect();
        let mark = format!("{} {attempts:?} {volumes:?}", note.message);
        let key = (note.field_path.clone(), note.reason);
        if self.noted.insert(key, mark.clone()) != Some(mark) {
            self.note(note, turn);
        }
    }
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}
