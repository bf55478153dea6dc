//! The file that shims are started from.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::sys;
use crate::tree::path_of;

/// Our own binary, through a mount that is read-only: a container whose program is
/// `/proc/self/exe` runs the binary, and could write to it through such a process.
pub struct Program {
    path: PathBuf,
    /// The mount is in no tree, and lives as long as this and the processes that were started by it.
    mount: Option<OwnedFd>,
}

impl Program {
    /// From the file at `path`; as it is where the kernel (before 5.12) has no such mounts.
    pub fn of(path: Option<PathBuf>) -> Self {
        let path = path.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let mount = sys::read_only_mount(&path);
        if let Err(error) = &mount {
            tracing::warn!(%error, "shims run from a file that can be written to");
        }
        Self { path, mount: mount.ok() }
    }

    /// What to execute.
    pub fn path(&self) -> PathBuf {
        self.mount.as_ref().map_or_else(|| self.path.clone(), |mount| path_of(mount).into())
    }
}
