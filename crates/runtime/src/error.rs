//! What can go wrong, named by the operation that failed.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why an operation on sandboxes or containers failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// All pods together could take the whole machine.
    #[error("limit what all pods together may take ({cgroup}): {source}")]
    Limit {
        /// The control group.
        cgroup: String,
        /// Why.
        source: std::io::Error,
    },
    /// What runs could not be given other limits.
    #[error("change the limits of {cgroup}: {source}")]
    Resize {
        /// The control group.
        cgroup: String,
        /// Why.
        source: std::io::Error,
    },
    /// The container's or command's program could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no sandbox of this pod.
    #[error("pod sandbox \"{0}\" not found")]
    SandboxNotFound(String),
    /// The sandbox's shim is gone; remove it and make a new one.
    #[error("the shim of pod sandbox \"{0}\" is gone")]
    SandboxLost(String),
    /// There is no such container in the sandbox.
    #[error("container \"{0}\" not found")]
    ContainerNotFound(String),
    /// There is already a container of this ID.
    #[error("container \"{0}\" already exists")]
    ContainerExists(String),
    /// Only a running container can do this.
    #[error("container \"{0}\" is not running")]
    ContainerNotRunning(String),
    /// A command took longer than it was given, and was killed.
    #[error("command timed out")]
    Timeout,
    /// The specification makes no sense.
    #[error("invalid specification: {0}")]
    InvalidSpec(String),
    /// A step of making the sandbox failed in its shim.
    #[error("failed to create pod sandbox: {0}")]
    CreateSandbox(String),
    /// A step failed in the shim.
    #[error("failed to {operation}: {message}")]
    Shim {
        /// What the shim was asked to do.
        operation: String,
        /// The step and the system's error.
        message: String,
    },
    /// The shim could not be spawned.
    #[error("failed to start the shim of pod \"{pod_uid}\": {source}")]
    SpawnShim {
        /// The pod.
        pod_uid: String,
        /// The system's error.
        source: io::Error,
    },
    /// The connection to a shim broke.
    #[error("failed to talk to the shim of pod \"{pod_uid}\": {source}")]
    Talk {
        /// The pod.
        pod_uid: String,
        /// The system's error.
        source: io::Error,
    },
    /// What is kept in the state directory cannot be read or written.
    #[error("failed to use {path}: {source}")]
    State {
        /// File or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something of a sandbox could not be cleaned.
    #[error("failed to clean {what}: {source}")]
    Clean {
        /// A mount, a cgroup, a directory or a process.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

impl RuntimeError {
    /// Whether a shim did not answer in time. Whatever it was asked may be done or not.
    #[must_use]
    pub fn is_mute(&self) -> bool {
        matches!(self, Self::Talk { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }
}

/// A program that could not be started; upstream's `StartError`, exit code 128.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What kind, for whoever must tell them apart.
    pub kind: StartErrorKind,
    /// In upstream's words: `exec: "foo": executable file not found in $PATH`.
    pub message: String,
}

/// Kinds of [`StartError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartErrorKind {
    /// No such command.
    CommandNotFound,
    /// The command is there and must not be run.
    PermissionDenied,
    /// The working directory is missing, or forbidden.
    WorkingDirectory,
    /// A volume or file could not be mounted.
    Mount,
    /// Anything else on the way to the program.
    Setup,
}
