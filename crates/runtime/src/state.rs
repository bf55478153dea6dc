//! What exists: sandboxes and containers as the shims know them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StartError;

/// A pod's sandbox and its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The pod's `metadata.uid`.
    pub pod_uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Whether its shim lives.
    pub state: SandboxState,
    /// Process of the shim (or of the one that was, when lost).
    pub shim_pid: i32,
    /// A file that is the pod's network namespace; with `host_network` the node's.
    pub network_namespace: PathBuf,
    /// When the sandbox was made.
    pub created_at: Timestamp,
    /// In the order in which they were started.
    pub containers: Vec<Container>,
    /// What the node gave at creation.
    pub labels: BTreeMap<String, String>,
    /// What the node gave at creation.
    pub annotations: BTreeMap<String, String>,
}

/// Whether a sandbox can run containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    /// Its shim answers.
    Ready,
    /// Its shim was killed or the machine restarted: nothing of it runs; remove it.
    Lost,
}

/// One attempt of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// As in its specification.
    pub id: String,
    /// Name of the container in the pod's spec.
    pub name: String,
    /// How many times it was started before.
    pub attempt: u32,
    /// First process, in the host's numbers; 0 before it ran.
    pub pid: i32,
    /// How it is.
    pub state: ContainerState,
    /// Its log file.
    pub log_path: PathBuf,
    /// What the node gave at creation.
    pub labels: BTreeMap<String, String>,
    /// What the node gave at creation.
    pub annotations: BTreeMap<String, String>,
}

/// The life of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Being made.
    Created,
    /// Its program runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Its program has ended.
    Exited {
        /// 0 to 255; 128 + signal when a signal ended it.
        exit_code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
        /// The kernel killed a process of it for want of memory.
        oom_killed: bool,
        /// When it began.
        started_at: Timestamp,
        /// When it ended; when nobody saw that, when it was found out.
        finished_at: Timestamp,
    },
    /// It ended with its sandbox and nobody saw how (upstream's `ContainerStatusUnknown`, 137).
    Lost {
        /// When it began.
        started_at: Timestamp,
    },
    /// Its program could not be started (upstream's reason `StartError`, exit code 128).
    Failed {
        /// Why.
        error: StartError,
        /// When that was found out.
        finished_at: Timestamp,
    },
}
