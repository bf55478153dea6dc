//! The simulated machine: containers that do what their image's name says, and links of pods.
//!
//! An image is `app:BEHAVIOUR-NUMBER`; the number only tells templates apart. What is here outlives
//! the engine, as shims do, and dies with the machine. The engine sees it through the two seams,
//! in [`crate::machine`]; the checks look at it directly.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use coracle_api::usage::{Amount, Measured};
use coracle_api::{Timestamp, Usage};
use coracle_node::ledger::Room;
use coracle_node::planner::{Record, Sizes};
use coracle_runtime::{
    Container as State, ContainerSpec, ContainerState, EventSender, Resources, RuntimeEvent,
    Sandbox as Listed, SandboxSpec, SandboxState,
};
use jiff::SignedDuration;

use crate::random::Random;

/// Over how many seconds usage is measured: what began later is not measured yet.
const WINDOW_SECONDS: i64 = 15;
/// After how many seconds the kernel tells of an end that a shim keeps to itself.
const SILENCE_SECONDS: i64 = 2;

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Becomes ready after a while and ends when it is told to.
    Good,
    /// As `Good`, but it does not hear SIGTERM.
    Hangs,
    /// Never becomes ready.
    Never,
    /// Ends soon after it began.
    Crashes,
    /// Ends within a second.
    Dies,
    /// There is no such image.
    Missing,
    /// Does its work and ends.
    Works,
    /// Ends soon, without success.
    Fails,
    /// Ends soon with [`ODD_CODE`].
    Odd,
    /// Works or fails.
    Flaky,
}

/// The code with which an `Odd` container ends.
pub(crate) const ODD_CODE: i32 = 42;
/// The code with which a container that works ends when it is told to.
const TERMINATED: i32 = 143;

impl Behaviour {
    /// Those that a roll-out gets over.
    pub const SOUND: [Self; 2] = [Self::Good, Self::Hangs];
    /// Those that somebody must fix.
    pub const BROKEN: [Self; 4] = [Self::Never, Self::Crashes, Self::Dies, Self::Missing];
    /// Those that end, as jobs' do.
    pub const TASKS: [Self; 5] = [Self::Works, Self::Works, Self::Fails, Self::Odd, Self::Flaky];

    pub fn of(image: &str) -> Self {
        let all = Self::SOUND.into_iter().chain(Self::BROKEN).chain(Self::TASKS);
        all.into_iter().find(|it| image.contains(it.word())).unwrap_or(Self::Good)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Hangs => "hangs",
            Self::Never => "never",
            Self::Crashes => "crashes",
            Self::Dies => "dies",
            Self::Missing => "missing",
            Self::Works => "works",
            Self::Fails => "fails",
            Self::Odd => "odd",
            Self::Flaky => "flaky",
        }
    }

    /// Whether it ends without being told to, as it should.
    pub fn ends_itself(self) -> bool {
        Self::TASKS.contains(&self)
    }

    pub fn is_broken(self) -> bool {
        Self::BROKEN.contains(&self)
    }
}

/// Whether an object mentions an image that never works.
pub(crate) fn mentions_broken_image(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    Behaviour::BROKEN.iter().any(|it| text.contains(&format!("app:{}-", it.word())))
}

/// A pod's namespaces and what runs in them.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub spec: SandboxSpec,
    pub node: usize,
    pub alive: bool,
    /// Its shim is there and does not answer; nor does it tell what ends.
    pub mute: bool,
    created_at: Timestamp,
    /// In the order in which they were started.
    pub containers: Vec<Container>,
}

impl Sandbox {
    pub fn is_running(&self) -> bool {
        self.containers.iter().any(Container::is_running)
    }

    /// The label `app` of its pod.
    fn app(&self) -> &str {
        self.spec.labels.get("app").map_or("", String::as_str)
    }

    /// Whether its application does its work by now.
    fn serves(&self, now: Timestamp) -> bool {
        let mut running = self.containers.iter().filter(|it| it.is_running());
        running.any(|it| it.ready_at.is_some_and(|at| at <= now))
    }

    pub fn listed(&self) -> Listed {
        Listed {
            pod_uid: self.spec.pod_uid.clone(),
            namespace: self.spec.namespace.clone(),
            name: self.spec.name.clone(),
            state: if self.alive { SandboxState::Ready } else { SandboxState::Lost },
            shim_pid: 1,
            network_namespace: format!("/run/{}", self.spec.pod_uid).into(),
            created_at: self.created_at,
            containers: self.containers.iter().map(|it| it.state.clone()).collect(),
            labels: self.spec.labels.clone(),
            annotations: self.spec.annotations.clone(),
        }
    }
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub state: State,
    pub image: String,
    pub resources: Resources,
    ready_at: Option<Timestamp>,
    began: Timestamp,
    /// When the engine was told that it ended: late, if its shim was silent.
    told: Option<Timestamp>,
    /// When it will end, and how.
    ends: Option<(Timestamp, i32)>,
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state.state, ContainerState::Running { .. })
    }
}

/// What is mounted for a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    pub node: usize,
    /// UIDs of its claims.
    pub claims: Vec<String>,
    /// Content of its ConfigMap.
    pub settings: Option<String>,
}

/// What the containers of a pod use, by name.
type Used = Measured<BTreeMap<String, Amount>>;

/// All that the machine has.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub sandboxes: BTreeMap<String, Sandbox>,
    /// Pods that are on the network, with their addresses.
    pub links: BTreeMap<String, Ipv4Addr>,
    /// By pod.
    pub mounts: BTreeMap<String, Mounts>,
    /// What pods were promised, as the node's disk has it.
    pub records: BTreeMap<String, Record>,
    /// By the label `app` of pods, how much work all of them have together: thousandths of a core.
    pub loads: BTreeMap<String, u64>,
    /// Whether nobody answers for the webhook.
    pub hook_is_gone: bool,
    /// A node was promised twice.
    pub overbooked: Option<String>,
    /// That were pulled and not removed since.
    pub images: BTreeSet<String>,
    pub subscribers: Vec<EventSender>,
    /// What was told while nobody listened is lost.
    pub said: Vec<String>,
    pub now: Timestamp,
    /// By how much each node's clock is ahead.
    pub clocks: BTreeMap<usize, SignedDuration>,
    pub chaos: bool,
    pub random: Random,
    addresses: u32,
}

impl Runtime {
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            sandboxes: BTreeMap::new(),
            links: BTreeMap::new(),
            mounts: BTreeMap::new(),
            records: BTreeMap::new(),
            loads: BTreeMap::new(),
            hook_is_gone: false,
            overbooked: None,
            images: BTreeSet::new(),
            subscribers: Vec::new(),
            said: Vec::new(),
            now,
            clocks: BTreeMap::new(),
            chaos: true,
            random: Random::new(seed),
            addresses: 0,
        }
    }

    /// The time on a node.
    pub fn clock(&self, node: usize) -> Timestamp {
        self.now + self.clocks.get(&node).copied().unwrap_or_default()
    }

    pub fn address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 0)) + self.addresses)
    }

    pub fn create(&mut self, spec: &SandboxSpec) -> Listed {
        let node = spec.labels.get("node").and_then(|it| it.parse().ok()).unwrap_or(0);
        let created_at = self.clock(node);
        let (spec, containers) = (spec.clone(), Vec::new());
        let uid = spec.pod_uid.clone();
        let sandbox = Sandbox { spec, node, alive: true, mute: false, created_at, containers };
        self.sandboxes.entry(uid).or_insert(sandbox).listed()
    }

    /// Starts a container in a sandbox that lives.
    pub fn start(&mut self, uid: &str, spec: &ContainerSpec, image: &str) -> Option<State> {
        let node = self.sandboxes.get(uid)?.node;
        let (now, started_at) = (self.now, self.clock(node));
        let behaviour = Behaviour::of(image);
        let ends = match behaviour {
            Behaviour::Crashes => Some((now + self.random.within(3000), 1)),
            Behaviour::Dies => Some((now + self.random.within(900), 1)),
            Behaviour::Works => Some((now + self.random.within(6000), 0)),
            Behaviour::Fails => Some((now + self.random.within(3000), 1)),
            Behaviour::Odd => Some((now + self.random.within(3000), ODD_CODE)),
            Behaviour::Flaky => {
                let fails = self.random.one_in(3);
                Some((now + self.random.within(4000), i32::from(fails)))
            }
            _ if self.chaos && self.random.one_in(12) => {
                Some((now + self.random.within(30_000), 1))
            }
            _ => None,
        };
        let ready = Behaviour::SOUND.contains(&behaviour);
        let ready_at = ready.then(|| now + self.random.within(4000));
        let state = State {
            id: spec.id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            pid: 1,
            state: ContainerState::Running { started_at },
            log_path: spec.log_path.clone(),
            labels: spec.labels.clone(),
            annotations: spec.annotations.clone(),
        };
        let container = Container {
            state: state.clone(),
            image: image.to_owned(),
            resources: spec.resources,
            ready_at,
            began: now,
            told: None,
            ends,
        };
        self.sandboxes.get_mut(uid)?.containers.push(container);
        Some(state)
    }

    /// Sets other limits for what runs.
    pub fn resize(&mut self, uid: &str, id: Option<&str>, to: &Resources) {
        let group = match id {
            None => self.sandboxes.get_mut(uid).map(|sandbox| &mut sandbox.spec.resources),
            Some(id) => self.running(uid, id).map(|container| &mut container.resources),
        };
        if let Some(group) = group {
            group.cpu_shares = to.cpu_shares.or(group.cpu_shares);
        }
    }

    /// A pod was promised more or less: what all that were resized on its node and that the API still
    /// has were promised is never more than the node has, in thousandths of a core.
    pub fn promise(&mut self, uid: &str, record: Record, (node, room): (usize, &Room)) {
        let before = self.records.get(uid).map_or(0, promised);
        let grew = promised(&record) > before;
        self.records.insert(uid.to_owned(), record);
        let here = self.records.iter().filter(|(uid, _)| {
            room.pods.contains_key(*uid)
                && self.sandboxes.get(*uid).is_some_and(|sandbox| sandbox.node == node)
        });
        let all = room.allocatable.get("cpu").map_or(0, |cpu| cpu.milli_value());
        let sum: i64 = here.map(|(_, record)| promised(record)).sum();
        if grew && sum > all {
            self.overbooked = Some(format!("node {node} has {all} and was promised {sum}"));
        }
    }

    /// A signal: SIGTERM ends what hears it, SIGKILL everything.
    pub fn signal(&mut self, uid: &str, id: &str, signal: i32) {
        let deaf = self.chaos && self.random.one_in(10);
        let wait = self.random.within(3000);
        let now = self.now;
        let Some(container) = self.running(uid, id) else { return };
        if signal == 9 {
            container.ends = Some((now, 137));
            return;
        }
        if deaf || Behaviour::of(&container.image) == Behaviour::Hangs {
            return;
        }
        let end = now + wait;
        if container.ends.is_none_or(|(at, _)| at > end) {
            let code = if Behaviour::of(&container.image).ends_itself() { TERMINATED } else { 0 };
            container.ends = Some((end, code));
        }
    }

    /// What pods use: those of an application that serve share its load. By chance one is missing.
    pub fn usage(&mut self) -> Usage {
        let pods: Vec<_> =
            self.sandboxes.iter().filter_map(|(uid, it)| self.used(uid, it)).collect();
        let is_known = |_: &_| !(self.chaos && self.random.one_in(12));
        Usage { pods: pods.into_iter().filter(is_known).collect(), ..Usage::default() }
    }

    fn used(&self, uid: &str, sandbox: &Sandbox) -> Option<(String, Used)> {
        let running = sandbox.containers.iter().filter(|it| it.is_running());
        let old = running.filter(|it| later(it.began, WINDOW_SECONDS) <= self.now);
        let is_its = |other: &&Sandbox| other.app() == sandbox.app() && other.serves(self.now);
        let share = match sandbox.serves(self.now) {
            true => {
                let load = self.loads.get(sandbox.app()).copied().unwrap_or(0);
                load * 1_000_000 / self.sandboxes.values().filter(is_its).count() as u64
            }
            false => 0,
        };
        let amount = |it: &Container| {
            let nanocores = if it.state.name == "app" { share } else { 0 };
            (it.state.name.clone(), Amount { nanocores, bytes: 0 })
        };
        let used: BTreeMap<_, _> = old.map(amount).collect();
        let window = SignedDuration::from_secs(WINDOW_SECONDS);
        let at = self.now;
        used.contains_key("app").then(|| (uid.to_owned(), Measured { at, window, used }))
    }

    fn running(&mut self, uid: &str, id: &str) -> Option<&mut Container> {
        let containers = &mut self.sandboxes.get_mut(uid)?.containers;
        containers.iter_mut().find(|it| it.state.id == id && it.is_running())
    }

    pub fn runs(&mut self, uid: &str, id: &str) -> bool {
        self.running(uid, id).is_some()
    }

    pub fn is_ready(&mut self, uid: &str, id: &str) -> bool {
        let now = self.now;
        self.running(uid, id).and_then(|it| it.ready_at).is_some_and(|at| at <= now)
    }

    pub fn remove(&mut self, uid: &str) {
        self.sandboxes.remove(uid);
    }

    fn emit(&mut self, event: &RuntimeEvent) {
        self.said.push(described(event));
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// The shim is killed, and its containers with it.
    pub fn lose(&mut self, uid: &str) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(uid).filter(|it| it.alive) else {
            return false;
        };
        (sandbox.alive, sandbox.mute) = (false, false);
        for container in &mut sandbox.containers {
            if let ContainerState::Running { started_at } = container.state.state {
                container.state.state = ContainerState::Lost { started_at };
                container.ends = None;
                container.told = Some(self.now);
            }
        }
        self.links.remove(uid);
        self.emit(&RuntimeEvent::SandboxLost { pod_uid: uid.to_owned() });
        true
    }

    /// The machine's power fails.
    pub fn power_off(&mut self) {
        self.sandboxes.clear();
        self.links.clear();
        self.mounts.clear();
    }

    /// What ends by now. Of what a mute shim keeps to itself the kernel tells after a while.
    pub fn pass(&mut self) {
        let now = self.now;
        let mut happened = Vec::new();
        let clocks = self.clocks.clone();
        for (uid, sandbox) in &mut self.sandboxes {
            let ahead = clocks.get(&sandbox.node).copied().unwrap_or_default();
            for container in &mut sandbox.containers {
                let Some((at, code)) =
                    container.ends.filter(|(at, _)| told_at(*at, sandbox.mute) <= now)
                else {
                    continue;
                };
                container.ends = None;
                let ContainerState::Running { started_at } = container.state.state else {
                    continue;
                };
                container.state.state = ContainerState::Exited {
                    exit_code: code,
                    signal: (code == 137).then_some(9),
                    oom_killed: false,
                    started_at,
                    finished_at: at + ahead,
                };
                container.told = Some(now);
                let (pod_uid, container) = (uid.clone(), container.state.clone());
                happened.push(RuntimeEvent::ContainerExited { pod_uid, container });
            }
        }
        happened.iter().for_each(|event| self.emit(event));
    }

    /// Whether the pod's newest container lived for a second, as far as the engine can know: one
    /// whose shim is silent may have ended before.
    pub fn seems_to_live(&self, uid: &str) -> bool {
        let sandbox = self.sandboxes.get(uid);
        let newest = sandbox.and_then(|it| it.containers.iter().rfind(|it| it.state.name == "app"));
        newest.is_some_and(|it| later(it.began, 1) <= it.told.unwrap_or(self.now))
    }

    /// When the next container ends.
    pub fn next_time(&self) -> Option<Timestamp> {
        let all = self.sandboxes.values().flat_map(|sandbox| {
            let ends = sandbox.containers.iter().filter_map(|container| container.ends);
            ends.map(|(at, _)| told_at(at, sandbox.mute))
        });
        all.min()
    }

    /// Nobody fails by chance any more; those that are about to, do not; all shims are heard.
    pub fn calm(&mut self) {
        self.chaos = false;
        for sandbox in self.sandboxes.values_mut() {
            sandbox.mute = false;
            for container in &mut sandbox.containers {
                let behaviour = Behaviour::of(&container.image);
                let ends = behaviour.is_broken() || behaviour.ends_itself();
                container.ends = container.ends.filter(|(_, code)| ends || *code != 1);
            }
        }
    }
}

fn promised(record: &Record) -> i64 {
    let cpu = |sizes: &Sizes| sizes.cpu.request.unwrap_or_default();
    record.allocated.values().map(cpu).sum()
}

fn described(event: &RuntimeEvent) -> String {
    match event {
        RuntimeEvent::ContainerExited { pod_uid, container } => {
            format!("{} of {pod_uid} has ended: {:?}", container.id, container.state)
        }
        RuntimeEvent::SandboxLost { pod_uid } => format!("the sandbox of {pod_uid} is lost"),
    }
}

/// When it is told that a container has ended.
fn told_at(end: Timestamp, mute: bool) -> Timestamp {
    if mute { later(end, SILENCE_SECONDS) } else { end }
}

/// `seconds` later.
pub(crate) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now + SignedDuration::from_secs(seconds)
}
