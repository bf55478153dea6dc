//! The files of a sandbox's directory: how a new engine knows what the last one made.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;
use crate::{Container, ContainerState, Sandbox, SandboxSpec, SandboxState};

/// The variable by which a shim is told its sandbox's directory.
pub const SANDBOX_VARIABLE: &str = "CORACLE_SANDBOX";

/// What the names of containers' directories begin with.
const CONTAINER: &str = "container-";

/// What a shim is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boot {
    pub spec: SandboxSpec,
    /// The pod's control group.
    pub cgroup: String,
    pub created_at: Timestamp,
}

/// A sandbox's directory.
#[derive(Debug, Clone)]
pub struct SandboxDir(PathBuf);

impl SandboxDir {
    /// The directory of a pod's sandbox, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn boot_file(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    pub fn shim_file(&self) -> PathBuf {
        self.0.join("shim.json")
    }

    pub fn log_file(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    pub fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }

    /// The lowest layers of the containers of all sandboxes.
    pub fn mountpoints(&self) -> PathBuf {
        mountpoints(self.0.parent().unwrap_or(&self.0))
    }

    pub fn container(&self, id: &str) -> PathBuf {
        self.0.join(format!("{CONTAINER}{id}"))
    }

    pub fn boot(&self) -> io::Result<Boot> {
        read_json(&self.boot_file())
    }

    pub fn shim(&self) -> io::Result<ProcessId> {
        read_json(&self.shim_file())
    }

    /// What to be, for a shim that begins, which is written down as the sandbox's from here on.
    ///
    /// # Errors
    /// `NotFound` when the sandbox is being removed: then the shim has made nothing and must not.
    pub fn begin(&self) -> io::Result<Boot> {
        let file = self.locked_boot_file()?;
        if file.metadata()?.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let boot = self.boot()?;
        write_json(&self.shim_file(), &ProcessId::of(std::process::id() as i32)?)?;
        Ok(boot)
    }

    /// From here on no shim begins here; one that has is written down.
    pub fn close(&self) -> io::Result<()> {
        let closed = self.locked_boot_file().and_then(|file| {
            fs::remove_file(self.boot_file())?;
            drop(file);
            Ok(())
        });
        match closed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn locked_boot_file(&self) -> io::Result<Flock<File>> {
        let file = File::open(self.boot_file())?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }

    /// Writes down how a container is.
    pub fn save_container(&self, container: &Container) -> io::Result<()> {
        write_json(&self.container(&container.id).join("state.json"), container)
    }

    /// The sandbox as its files tell it, for when its shim cannot: nothing in it runs any more.
    pub fn lost(&self) -> io::Result<Sandbox> {
        let boot = self.boot()?;
        let shim_pid = self.shim().map_or(0, |shim| shim.pid);
        let mut containers: Vec<Container> = Vec::new();
        for entry in fs::read_dir(&self.0)?.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(CONTAINER) {
                continue;
            }
            // One that was being made or removed has no readable state, and nothing to tell.
            containers.extend(read_json::<Container>(&entry.path().join("state.json")).ok());
        }
        containers
            .iter_mut()
            .for_each(|container| container.state = lost_state(&container.state, boot.created_at));
        containers.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
        Ok(boot.describe(SandboxState::Lost, shim_pid, containers))
    }
}

impl Boot {
    /// The sandbox with these containers.
    pub fn describe(&self, state: SandboxState, pid: i32, containers: Vec<Container>) -> Sandbox {
        Sandbox {
            pod_uid: self.spec.pod_uid.clone(),
            namespace: self.spec.namespace.clone(),
            name: self.spec.name.clone(),
            state,
            shim_pid: pid,
            network_namespace: PathBuf::from(format!("/proc/{pid}/ns/net")),
            created_at: self.created_at,
            containers,
            labels: self.spec.labels.clone(),
            annotations: self.spec.annotations.clone(),
        }
    }
}

fn lost_state(last: &ContainerState, created_at: Timestamp) -> ContainerState {
    match last {
        ContainerState::Created => ContainerState::Lost { started_at: created_at },
        ContainerState::Running { started_at } => ContainerState::Lost { started_at: *started_at },
        ended => ended.clone(),
    }
}

fn mountpoints(state_dir: &Path) -> PathBuf {
    state_dir.with_file_name("mountpoints")
}

/// Removes the lowest layers when there is no sandbox whose containers could have them.
pub fn tidy_mountpoints(state_dir: &Path) -> io::Result<()> {
    if fs::read_dir(state_dir)?.next().is_some() {
        return Ok(());
    }
    match fs::remove_dir_all(mountpoints(state_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Whoever reads the file sees the old content or the new one. Nothing is flushed: after a power
/// cut nothing runs, whatever the file says.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec(value)?)?;
    fs::rename(&draft, path)
}
