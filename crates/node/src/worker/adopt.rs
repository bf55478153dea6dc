//! Pods that an earlier engine started go on as they are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use coracle_runtime::{Container, ContainerState, Sandbox, SandboxState};
use jiff::Timestamp;

use super::{Mounting, Worker};
use crate::planner::{Exit, Instance};

/// Annotations under which the runtime keeps what the next engine must know.
const IP: &str = "coracle.dev/ip";
const SANDBOX: &str = "coracle.dev/sandbox";
const BACKOFF: &str = "coracle.dev/backoff-seconds";
const IMAGE: &str = "coracle.dev/image";
const IMAGE_ID: &str = "coracle.dev/image-id";
const ERA: &str = "coracle.dev/era";

/// What the runtime keeps of a pod for the next engine, as annotations.
#[derive(Debug)]
pub struct Kept;

impl Kept {
    /// Of a sandbox: which one it is, and the pod's address.
    #[must_use]
    pub fn of_sandbox(number: u32, ip: Ipv4Addr) -> BTreeMap<String, String> {
        BTreeMap::from([(IP.to_owned(), ip.to_string()), (SANDBOX.to_owned(), number.to_string())])
    }

    /// Of a container: the back-off that it carries and its era, its image as the spec has it, and
    /// its ID.
    #[must_use]
    pub fn of_container(
        (backoff, era): (u32, u32),
        image: &str,
        image_id: &str,
    ) -> BTreeMap<String, String> {
        BTreeMap::from([
            (BACKOFF.to_owned(), backoff.to_string()),
            (ERA.to_owned(), era.to_string()),
            (IMAGE.to_owned(), image.to_owned()),
            (IMAGE_ID.to_owned(), image_id.to_owned()),
        ])
    }

    /// The pod's address.
    #[must_use]
    pub fn ip(sandbox: &Sandbox) -> Option<Ipv4Addr> {
        sandbox.annotations.get(IP)?.parse().ok()
    }

    fn number(sandbox: &Sandbox) -> u32 {
        let kept = sandbox.annotations.get(SANDBOX);
        kept.and_then(|text| text.parse().ok()).unwrap_or(1)
    }
}

/// How a container ended, with its last words; `None` while it runs or is being made.
pub(super) fn exit_of(container: &Container, words: String, now: Timestamp) -> Option<Exit> {
    let exit = |code, signal, at, reason: &str, message: &str| {
        let message = if message.is_empty() { words } else { message.to_owned() };
        Some(Exit { code, signal, at, reason: reason.to_owned(), message })
    };
    match &container.state {
        ContainerState::Created | ContainerState::Running { .. } => None,
        ContainerState::Exited { exit_code, signal, oom_killed, finished_at, .. } => {
            let reason = match (oom_killed, exit_code) {
                (true, _) => "OOMKilled",
                (false, 0) => "Completed",
                (false, _) => "Error",
            };
            exit(*exit_code, *signal, *finished_at, reason, "")
        }
        ContainerState::Lost { .. } => {
            let message = "The container could not be located when the pod was terminated";
            exit(137, None, now, "ContainerStatusUnknown", message)
        }
        ContainerState::Failed { error, finished_at } => {
            exit(128, None, *finished_at, "StartError", &error.message)
        }
    }
}

fn started_at(container: &Container, now: Timestamp) -> Timestamp {
    match &container.state {
        ContainerState::Running { started_at }
        | ContainerState::Exited { started_at, .. }
        | ContainerState::Lost { started_at } => *started_at,
        ContainerState::Failed { finished_at, .. } => *finished_at,
        ContainerState::Created => now,
    }
}

/// A run of a container, as the runtime tells of it.
pub(super) fn instance(container: &Container, sandbox: u32, now: Timestamp) -> Instance {
    let kept = |key: &str| container.annotations.get(key).cloned().unwrap_or_default();
    // The clock may have been put back since.
    let started_at = started_at(container, now).min(now);
    Instance {
        id: container.id.clone(),
        attempt: container.attempt,
        sandbox,
        era: kept(ERA).parse().unwrap_or(0),
        image: kept(IMAGE),
        image_id: kept(IMAGE_ID),
        backoff_seconds: kept(BACKOFF).parse().unwrap_or(0),
        started_at,
        judged_from: now,
        trusted: false,
        post_start: None,
        exit: None,
        stopping: None,
    }
}

impl Worker {
    /// Takes over what runs of the pod.
    pub(super) fn adopt(
        &mut self,
        sandbox: &Sandbox,
        last_words: &BTreeMap<String, String>,
        now: Timestamp,
    ) {
        let number = Kept::number(sandbox);
        self.own(sandbox, number);
        for container in &sandbox.containers {
            if container.state == ContainerState::Created {
                continue;
            }
            let words = last_words.get(&container.id).cloned().unwrap_or_default();
            let exit = exit_of(container, words, now);
            let mut next = Instance { exit, ..instance(container, number, now) };
            if !next.is_running() {
                next.judged_from = next.started_at;
            }
            self.seen.era = self.seen.era.max(next.era);
            self.seen.started(&container.name, next);
        }
        if sandbox.state == SandboxState::Lost {
            self.seen.sandbox_died(now);
        }
        // Whatever has become of its volumes' sources, what runs is looked after.
        self.seen.volumes_mounted();
        self.stale = Some(Mounting::Anew);
    }

    /// The sandbox is the pod's. Nobody knows whether an earlier engine has come to join it to the
    /// network.
    pub(super) fn own(&mut self, sandbox: &Sandbox, number: u32) {
        let on_host = self.is_on_host();
        self.seen.sandbox_created(number, Kept::ip(sandbox), on_host);
        self.netns = Some(sandbox.network_namespace.clone());
    }
}
