//! Containers that do what their image's name says.
//!
//! An image is `app:BEHAVIOUR-NUMBER`; the number only tells templates apart. The runtime outlives
//! the engine, as shims do, and dies with the machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use coracle_api::Timestamp;
use coracle_node::planner::Exit;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

use crate::random::Random;

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
    /// There is no such image.
    Missing,
}

impl Behaviour {
    /// Those that a roll-out gets over.
    pub const SOUND: [Self; 2] = [Self::Good, Self::Hangs];
    /// Those that somebody must fix.
    pub const BROKEN: [Self; 3] = [Self::Never, Self::Crashes, Self::Missing];

    pub fn of(image: &str) -> Self {
        let all = Self::SOUND.into_iter().chain(Self::BROKEN);
        all.into_iter().find(|it| image.contains(it.word())).unwrap_or(Self::Good)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Hangs => "hangs",
            Self::Never => "never",
            Self::Crashes => "crashes",
            Self::Missing => "missing",
        }
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
    pub pod: Arc<Pod>,
    pub node: usize,
    pub number: u32,
    pub ip: Ipv4Addr,
    pub alive: bool,
    pub containers: BTreeMap<String, Container>,
    /// UIDs of the claims that are mounted.
    pub claims: Vec<String>,
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub id: String,
    pub attempt: u32,
    pub image: String,
    pub backoff_seconds: u32,
    pub started_at: Timestamp,
    pub ready_at: Option<Timestamp>,
    /// When it will end, and how.
    pub ends: Option<(Timestamp, i32)>,
    pub exit: Option<Exit>,
}

/// What the engine is told.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    Exited { uid: String, container: String, id: String, exit: Exit },
    SandboxLost { uid: String },
}

/// All containers of the machine.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    pub sandboxes: BTreeMap<String, Sandbox>,
    addresses: u32,
    started: u64,
}

/// What a start is given.
pub(crate) struct Start<'a> {
    pub uid: &'a str,
    pub container: &'a str,
    pub image: &'a str,
    pub attempt: u32,
    pub backoff_seconds: u32,
}

impl Runtime {
    pub fn create_sandbox(
        &mut self,
        pod: &Arc<Pod>,
        node: usize,
        number: u32,
        claims: Vec<String>,
    ) -> Ipv4Addr {
        self.addresses += 1;
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 0)) + self.addresses);
        let containers = BTreeMap::new();
        let pod = Arc::clone(pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let sandbox = Sandbox { pod, node, number, ip, alive: true, containers, claims };
        self.sandboxes.insert(uid, sandbox);
        ip
    }

    /// Starts a container; `None` when its sandbox is not there any more.
    pub fn start(
        &mut self,
        start: &Start<'_>,
        now: Timestamp,
        random: &mut Random,
        chaos: bool,
    ) -> Option<Container> {
        let sandbox = self.sandboxes.get_mut(start.uid).filter(|sandbox| sandbox.alive)?;
        self.started += 1;
        let behaviour = Behaviour::of(start.image);
        let ends = match behaviour {
            Behaviour::Crashes => Some((now + random.within(3000), 1)),
            _ if chaos && random.one_in(12) => Some((now + random.within(30_000), 1)),
            _ => None,
        };
        let ready = Behaviour::SOUND.contains(&behaviour);
        let container = Container {
            id: format!("c{:06}", self.started),
            attempt: start.attempt,
            image: start.image.to_owned(),
            backoff_seconds: start.backoff_seconds,
            started_at: now,
            ready_at: ready.then(|| now + random.within(4000)),
            ends,
            exit: None,
        };
        sandbox.containers.insert(start.container.to_owned(), container.clone());
        Some(container)
    }

    /// SIGTERM.
    pub fn stop(
        &mut self,
        uid: &str,
        name: &str,
        id: &str,
        now: Timestamp,
        random: &mut Random,
        chaos: bool,
    ) {
        let deaf = chaos && random.one_in(10);
        let wait = random.within(3000);
        let Some(container) = self.running(uid, name, id) else { return };
        if deaf || Behaviour::of(&container.image) == Behaviour::Hangs {
            return;
        }
        let end = now + wait;
        if container.ends.is_none_or(|(at, _)| at > end) {
            container.ends = Some((end, 0));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, uid: &str, name: &str, id: &str, now: Timestamp) {
        if let Some(container) = self.running(uid, name, id) {
            container.ends = Some((now, 137));
        }
    }

    fn running(&mut self, uid: &str, name: &str, id: &str) -> Option<&mut Container> {
        let container = self.sandboxes.get_mut(uid)?.containers.get_mut(name)?;
        Some(container).filter(|container| container.id == id && container.exit.is_none())
    }

    pub fn is_ready(&self, uid: &str, name: &str, now: Timestamp) -> bool {
        let container = self.sandboxes.get(uid).and_then(|it| it.containers.get(name));
        let running = container.filter(|container| container.exit.is_none());
        running.and_then(|it| it.ready_at).is_some_and(|at| at <= now)
    }

    pub fn remove_sandbox(&mut self, uid: &str) {
        self.sandboxes.remove(uid);
    }

    /// The shim is killed, and its containers with it.
    pub fn lose(&mut self, uid: &str, now: Timestamp) -> Option<Happened> {
        let sandbox = self.sandboxes.get_mut(uid).filter(|sandbox| sandbox.alive)?;
        sandbox.alive = false;
        for container in sandbox.containers.values_mut() {
            container.exit.get_or_insert_with(|| exit(137, now));
        }
        Some(Happened::SandboxLost { uid: uid.to_owned() })
    }

    /// What ends by `now`.
    pub fn pass(&mut self, now: Timestamp) -> Vec<Happened> {
        let mut happened = Vec::new();
        for (uid, sandbox) in &mut self.sandboxes {
            for (name, container) in &mut sandbox.containers {
                let Some((at, code)) = container.ends.filter(|(at, _)| *at <= now) else {
                    continue;
                };
                container.ends = None;
                if container.exit.is_some() {
                    continue;
                }
                let exit = exit(code, at);
                container.exit = Some(exit.clone());
                let (uid, id) = (uid.clone(), container.id.clone());
                happened.push(Happened::Exited { uid, container: name.clone(), id, exit });
            }
        }
        happened
    }

    /// When the next container ends.
    pub fn next_time(&self) -> Option<Timestamp> {
        let all = self.sandboxes.values().flat_map(|it| it.containers.values());
        all.filter_map(|container| container.ends).map(|(at, _)| at).min()
    }

    /// Nobody fails by chance any more; those that are about to, do not.
    pub fn calm(&mut self) {
        for sandbox in self.sandboxes.values_mut() {
            for container in sandbox.containers.values_mut() {
                let broken = Behaviour::of(&container.image).is_broken();
                container.ends = container.ends.filter(|(_, code)| broken || *code != 1);
            }
        }
    }
}

fn exit(code: i32, at: Timestamp) -> Exit {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let signal = (code == 137).then_some(9);
    Exit { code, signal, at, reason: reason.to_owned(), message: String::new() }
}

/// `seconds` later.
pub(crate) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now + SignedDuration::from_secs(seconds)
}
