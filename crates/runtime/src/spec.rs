//! What the node asks for: a sandbox, a container, a command in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A pod's sandbox: the namespaces and the cgroup that its containers share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxSpec {
    /// The pod's `metadata.uid`; the identity of the sandbox.
    pub pod_uid: String,
    /// The pod's namespace, for messages.
    pub namespace: String,
    /// The pod's name, for messages.
    pub name: String,
    /// Host name in the sandbox's UTS namespace; ignored with `host_network`.
    pub hostname: String,
    /// Namespaced kernel parameters (`net.ipv4.ip_unprivileged_port_start` → `0`).
    pub sysctls: BTreeMap<String, String>,
    /// Use the network namespace `host_network_path`, or the engine's when that is `None`,
    /// instead of a new one. Such a pod also shares the UTS namespace of the engine.
    pub host_network: bool,
    /// A network namespace file: what "host" means for `host_network` (the node's namespace).
    pub host_network_path: Option<PathBuf>,
    /// Containers see the host's processes.
    pub host_pid: bool,
    /// Containers share the host's System V and POSIX message queues.
    pub host_ipc: bool,
    /// One process namespace for all containers of the pod.
    pub share_process_namespace: bool,
    /// Limits of the pod's own cgroup, above its containers'.
    pub resources: Resources,
    /// Size of the pod's shared `/dev/shm` in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// Directory of the pod's logs; made when missing, never removed by the runtime.
    pub log_directory: PathBuf,
    /// Kept with the sandbox and listed again; the runtime gives them no meaning.
    pub labels: BTreeMap<String, String>,
    /// As `labels`.
    pub annotations: BTreeMap<String, String>,
}

/// Limits and weights of a cgroup. `None` is the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Most memory, in bytes (no more swap than that either).
    pub memory_limit: Option<u64>,
    /// Microseconds of CPU per `cpu_period`.
    pub cpu_quota: Option<i64>,
    /// Length of a period in microseconds; `None` is 100 000.
    pub cpu_period: Option<u64>,
    /// Relative weight in cgroup v1's scale (2 to 262144, 1024 for one core's request).
    pub cpu_shares: Option<u64>,
    /// Most processes and threads.
    pub pids_limit: Option<i64>,
}

/// A container to start. Field by field what the CRI's `ContainerConfig` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {
    /// Unique over all attempts, a file name (letters, digits, `.`, `-`, `_`).
    pub id: String,
    /// Name of the container in the pod's spec.
    pub name: String,
    /// How many times this container was started before.
    pub attempt: u32,
    /// What becomes `/`.
    pub rootfs: Rootfs,
    /// Command and arguments; a relative command is looked up in `env`'s `PATH`.
    pub args: Vec<String>,
    /// Variables as `NAME=value`, later ones win.
    pub env: Vec<String>,
    /// Working directory; made in the container when missing. Empty is `/`.
    pub cwd: String,
    /// Who runs it.
    pub user: User,
    /// Volumes and files, mounted in this order after the defaults (proc, sys, dev, …).
    pub mounts: Vec<Mount>,
    /// Mount `/` read-only.
    pub readonly_rootfs: bool,
    /// All capabilities, devices writable, no masked paths, no seccomp.
    pub privileged: bool,
    /// Changes to the default capabilities.
    pub capabilities: Capabilities,
    /// Forbid gaining privileges by set-user-ID programs.
    pub no_new_privileges: bool,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// `procMount: Unmasked`: nothing in `/proc` and `/sys` is hidden or read-only.
    pub unmasked_paths: bool,
    /// Limits of the container's cgroup.
    pub resources: Resources,
    /// The `id` of a running container of the same pod: this one is to be in its process namespace,
    /// instead of one of its own, and ends with it.
    // A shim that is older than this field is not told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_namespace_of: Option<String>,
    /// How willingly the kernel kills it; a refused value is a warning only.
    pub oom_score_adj: i32,
    /// Keep its standard input open for attach.
    pub stdin: bool,
    /// Close its standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Log file, in the CRI's format; parent directories are made.
    pub log_path: PathBuf,
    /// Rotate the log when it reaches this size, keeping one older file (`.1`); `None` is 10 MiB.
    pub log_max_size: Option<u64>,
    /// Kept with the container and listed again; the runtime gives them no meaning.
    pub labels: BTreeMap<String, String>,
    /// As `labels`.
    pub annotations: BTreeMap<String, String>,
}

/// An unpacked image. The writable layer over it is the runtime's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rootfs {
    /// Unpacked layer directories, topmost first.
    pub layers: Vec<PathBuf>,
}

/// Numeric identity of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// Supplementary group IDs.
    pub additional_gids: Vec<u32>,
}

/// A bind mount of a host path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mount {
    /// Existing file or directory on the host.
    pub source: PathBuf,
    /// Absolute path in the container; made when missing.
    pub target: PathBuf,
    /// Forbid writing.
    pub readonly: bool,
    /// Forbid it in all mounts below the source too; [`crate::can_forbid_recursively`] says whether the
    /// kernel does.
    // A shim that is older than this field is not told of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub readonly_below: bool,
    /// Take mounts below the source along.
    pub recursive: bool,
    /// Which later mounts are seen on the other side.
    pub propagation: Propagation,
}

/// The API's `mountPropagation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `None`.
    #[default]
    Private,
    /// `HostToContainer`.
    HostToContainer,
    /// `Bidirectional`.
    Bidirectional,
}

/// Changes to the default set of capabilities, as in the API: without `CAP_`, `ALL` for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Added, as far as the engine itself has them.
    pub add: Vec<String>,
    /// Taken away.
    pub drop: Vec<String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    Unconfined,
    /// The default profile.
    #[default]
    RuntimeDefault,
    /// A profile file (JSON, the OCI runtime specification's `seccomp` or Docker's format).
    Local(PathBuf),
}

/// A command to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecSpec {
    /// Command and arguments; a relative command is looked up in the container's `PATH`.
    pub args: Vec<String>,
    /// Give it a terminal; there is no separate stderr then.
    pub tty: bool,
    /// Give it an input.
    pub stdin: bool,
    /// Kill it after this long; the exit is then [`crate::RuntimeError::Timeout`].
    pub timeout: Option<Duration>,
}

/// Which streams to attach to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttachSpec {
    /// Write to its input, if it has one.
    pub stdin: bool,
    /// Read its output.
    pub stdout: bool,
    /// Read its error output; with a terminal that is in `stdout`.
    pub stderr: bool,
}
