//! Operations on the two seams of the machine, [`Containers`] and [`Kernel`]. The simulation
//! carries its workers' operations out with these, too.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use coracle_network::{Kernel, PodLink};
use coracle_runtime::{
    Container, ContainerSpec, ContainerState, Containers, RuntimeError, Sandbox, SandboxSpec,
};
use jiff::Timestamp;

use crate::planner::{Changes, too_little};
use crate::worker::{SandboxFailure, StartFailure};

/// Makes a sandbox.
///
/// # Errors
/// Whether another one is in its place, or why not.
pub async fn create(
    runtime: &dyn Containers,
    spec: &SandboxSpec,
) -> Result<Sandbox, SandboxFailure> {
    runtime.create_sandbox(spec).await.map_err(|error| match error {
        RuntimeError::SandboxLost(_) => SandboxFailure::Lost,
        error => SandboxFailure::Refused(error.to_string()),
    })
}

/// Joins a sandbox to the network. Blocks.
///
/// # Errors
/// Why not.
pub fn attach(
    kernel: &dyn Kernel,
    pod_uid: &str,
    netns: PathBuf,
    ip: Ipv4Addr,
) -> Result<(), String> {
    let link = PodLink { uid: pod_uid.to_owned(), netns, ip };
    kernel.attach_pod(&link).map_err(|error| error.to_string())
}

/// Takes a sandbox off the network. Blocks.
///
/// # Errors
/// Why not.
pub fn detach(kernel: &dyn Kernel, pod_uid: &str) -> Result<(), String> {
    kernel.detach_pod(pod_uid).map_err(|error| error.to_string())
}

/// Starts a container. One whose program cannot be run has been made, and has failed.
///
/// # Errors
/// When it has not been made.
pub async fn start(
    runtime: &dyn Containers,
    pod_uid: &str,
    spec: &ContainerSpec,
    now: Timestamp,
) -> Result<Container, StartFailure> {
    match runtime.start_container(pod_uid, spec).await {
        Ok(started) => Ok(started),
        Err(RuntimeError::Start(error)) => Ok(Container {
            id: spec.id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            pid: 0,
            state: ContainerState::Failed { error, finished_at: now },
            log_path: spec.log_path.clone(),
            labels: spec.labels.clone(),
            annotations: spec.annotations.clone(),
        }),
        Err(RuntimeError::SandboxNotFound(_) | RuntimeError::SandboxLost(_)) => {
            Err(StartFailure::SandboxLost)
        }
        Err(error) if error.is_mute() => Err(StartFailure::Mute),
        Err(error) => {
            let (reason, message) = ("CreateContainerError", error.to_string());
            Err(StartFailure::Refused { reason, message })
        }
    }
}

/// Sends a signal to a container: whether the runtime answered in time.
pub async fn signal(
    runtime: &dyn Containers,
    pod_uid: &str,
    container_id: &str,
    signal: i32,
) -> bool {
    match runtime.signal(pod_uid, container_id, signal).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(pod_uid, container_id, signal, %error, "no signal");
            !error.is_mute()
        }
    }
}

/// Writes control groups, unless something uses more memory than it is to have.
///
/// # Errors
/// Upstream's sentence for that, or what the runtime says.
pub async fn resize(
    runtime: &dyn Containers,
    pod_uid: &str,
    changes: &Changes,
) -> Result<(), String> {
    if !changes.decreases.is_empty() {
        let asked = changes.running.iter().map(|id| (pod_uid.to_owned(), id.clone()));
        let reading = runtime.usage(asked.collect()).await;
        let used = reading.containers.iter().map(|used| used.map_or(0, |used| used.working_set));
        if let Some(message) = too_little(changes, &used.collect::<Vec<_>>()) {
            return Err(message);
        }
    }
    for change in &changes.changes {
        let written = runtime.resize(pod_uid, change.container.as_deref(), &change.to).await;
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Removes a sandbox with whatever runs in it.
///
/// # Errors
/// Why it is not gone yet.
pub async fn remove(runtime: &dyn Containers, pod_uid: &str) -> Result<(), String> {
    runtime.remove_sandbox(pod_uid).await.map_err(|error| error.to_string())
}
