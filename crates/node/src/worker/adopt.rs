//! Pods that an earlier engine started go on as they are.

use jiff::Timestamp;

use coracle_runtime::{Container, ContainerState, Sandbox, SandboxState};

use super::Worker;
use crate::planner::{Exit, Instance};
use crate::pods::container::kept;

/// How a container ended; `None` while it runs or is being made.
pub(crate) fn exit_of(container: &Container, now: Timestamp) -> Option<Exit> {
    let exit = |code, signal, at, reason: &str, message: &str| {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Some(Exit { code, signal, at, reason, message })
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

fn instance(container: &Container, sandbox: u32, now: Timestamp) -> Instance {
    let kept = |key: &str| container.annotations.get(key).cloned().unwrap_or_default();
    Instance {
        id: container.id.clone(),
        attempt: container.attempt,
        sandbox,
        image: kept(kept::IMAGE),
        image_id: kept(kept::IMAGE_ID),
        backoff_seconds: kept(kept::BACKOFF).parse().unwrap_or(0),
        started_at: started_at(container, now),
        exit: exit_of(container, now),
        stopping: None,
    }
}

impl Worker {
    /// Takes over what runs of the pod, and what the API remembers of it.
    pub(super) fn adopt(&mut self, sandbox: Option<Sandbox>) {
        let now = self.context.client.now();
        if let Some(sandbox) = sandbox {
            let kept = |key: &str| sandbox.annotations.get(key);
            let number = kept(kept::SANDBOX).and_then(|text| text.parse().ok()).unwrap_or(1);
            let ip = kept(kept::IP).and_then(|text| text.parse().ok());
            self.seen.sandbox_created(number, ip);
            for container in &sandbox.containers {
                if container.state == ContainerState::Created {
                    continue;
                }
                let mut next = instance(container, number, now);
                next.exit = next
                    .exit
                    .map(|exit| self.with_message(&container.name, container.attempt, exit));
                self.seen.started(&container.name, next);
            }
            if sandbox.state == SandboxState::Lost {
                self.seen.sandbox_died(now);
            }
            self.sandbox = Some(sandbox);
        }
        self.seen.recover(&self.pod, now);
        self.seen.remember_readiness(&self.pod);
    }
}
