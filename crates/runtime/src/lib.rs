//! Processes, namespaces, mounts, cgroups: what runs a pod's containers on this machine.
//!
//! The node asks for containers through the [`Containers`] trait. The real implementation,
//! [`Shims`], keeps one tiny process per pod (the *shim*, see [`shim`]) which is the parent of the
//! pod's containers and outlives the engine; the engine only spawns shims and talks to them over a
//! Unix socket. Nothing in the engine's own process ever clones a container.
//!
//! A newcomer starts with [`Containers`], then [`SandboxSpec`] and [`ContainerSpec`].

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[macro_use]
mod say;

mod boot;
mod capabilities;
mod cgroup;
mod devices;
mod error;
mod events;
mod loop_device;
mod mounts;
pub mod preflight;
mod process;
mod protocol;
mod removal;
mod renames;
mod seccomp;
mod session;
pub mod shim;
mod shims;
mod spec;
mod state;
mod sys;
mod tree;
mod usage;

pub use error::{RuntimeError, StartError, StartErrorKind};
pub use events::{EventReceiver, EventSender, RuntimeEvent};
pub use loop_device::{LoopDevice, resize_ext4};
pub use mounts::mount_image;
pub use removal::{remove_all, remove_all_in};
pub use renames::despite_renames;
pub use session::{ExitResult, Session, TerminalSize};
pub use shims::Shims;
pub use spec::{
    AttachSpec, Capabilities, ContainerSpec, ExecSpec, Mount, Propagation, Resources, Rootfs,
    SandboxSpec, Seccomp, User,
};
pub use state::{Container, ContainerState, Sandbox, SandboxState};
pub use usage::{Reading, Used};

use std::path::PathBuf;

/// Name of a shim's socket in its sandbox's directory.
const SOCKET: &str = "shim.sock";

/// Whether the kernel forbids writing in mounts below a read-only one (Linux 5.12).
#[must_use]
pub fn can_forbid_recursively() -> bool {
    sys::can_forbid_writing()
}

/// Where the runtime keeps its state and how it starts shims.
#[derive(Debug, Clone)]
pub struct Config {
    /// One directory per pod is made in it; must not be world-accessible. Kept over restarts.
    pub state_dir: PathBuf,
    /// The program to start as `PROGRAM shim`; `None` is this very program (`/proc/self/exe`).
    pub shim_exe: Option<PathBuf>,
    /// Parent of all pods' cgroups, such as `/coracle-NAME`, relative to every hierarchy's root.
    pub cgroup_parent: String,
    /// Limits of that parent: what all pods together may take of the machine.
    pub limits: Resources,
}

/// What runs containers: the real shims, or the simulated world's.
///
/// All methods may be called concurrently. Errors name the operation; a container that was asked
/// for and could not be started is [`RuntimeError::Start`] and stays listed as
/// [`ContainerState::Failed`] until it is removed.
#[async_trait::async_trait]
pub trait Containers: Send + Sync {
    /// Every sandbox that exists, with the state of each of its containers: how a new engine finds
    /// what the last one left. A sandbox whose shim is gone is listed as [`SandboxState::Lost`].
    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError>;

    /// Makes the pod's shim and namespaces. Idempotent: an existing ready sandbox of the same pod
    /// UID is returned as it is; a lost one is an error until it is removed.
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, RuntimeError>;

    /// Creates and starts one container; returns when its program runs.
    async fn start_container(
        &self,
        pod_uid: &str,
        spec: &ContainerSpec,
    ) -> Result<Container, RuntimeError>;

    /// Changes the limits of what runs: of a container, or with `None` of its pod's own group. A
    /// field that is `None` stays as it is.
    async fn resize(
        &self,
        pod_uid: &str,
        container_id: Option<&str>,
        resources: &Resources,
    ) -> Result<(), RuntimeError>;

    /// Sends a signal to a container's first process. No error when it is already gone.
    async fn signal(
        &self,
        pod_uid: &str,
        container_id: &str,
        signal: i32,
    ) -> Result<(), RuntimeError>;

    /// Removes a container that has ended (a running one is killed): its root is unmounted, its
    /// writable layer and cgroup are gone; its log stays. No error when it is already gone.
    async fn remove_container(&self, pod_uid: &str, container_id: &str)
    -> Result<(), RuntimeError>;

    /// Kills what is left in the pod, waits, and cleans everything but the log directory. Idempotent.
    async fn remove_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError>;

    /// Runs a command in a running container.
    async fn exec(
        &self,
        pod_uid: &str,
        container_id: &str,
        spec: &ExecSpec,
    ) -> Result<Session, RuntimeError>;

    /// Connects to the streams of a running container's first process, from now on.
    async fn attach(
        &self,
        pod_uid: &str,
        container_id: &str,
        spec: &AttachSpec,
    ) -> Result<Session, RuntimeError>;

    /// What running containers have used so far: `(pod UID, container ID)` each.
    async fn usage(&self, containers: Vec<(String, String)>) -> Reading;

    /// The directory of what a container has written over its image; `None` when there can be none.
    fn written(&self, pod_uid: &str, container_id: &str) -> Option<PathBuf>;

    /// What happens from now on. Each call gives an independent receiver.
    fn events(&self) -> EventReceiver;
}
