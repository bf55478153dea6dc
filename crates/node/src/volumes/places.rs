//! Where things are on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::{VolumeError, failed, mount_table};
use crate::pods::PodId;

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The cluster's data directory.
    pub data: PathBuf,
}

impl Places {
    pub fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub fn all_logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    pub fn logs(&self, id: &PodId) -> PathBuf {
        let name = format!("{}_{}_{}", id.namespace, id.name, id.uid);
        self.all_logs().join(name)
    }

    /// The persistent volume of this name.
    pub fn persistent(&self, volume: &str) -> PathBuf {
        self.data.join("volumes").join(volume)
    }

    /// The pod's `emptyDir` of this name.
    pub fn empty_dir(&self, uid: &str, volume: &str) -> PathBuf {
        self.pod(uid).join("empty-dir").join(volume)
    }

    /// The pod's volume of this name that is an image: where it is mounted, and which one is.
    pub fn image(&self, uid: &str, volume: &str) -> (PathBuf, PathBuf) {
        let directory = self.pod(uid).join("images").join(volume);
        (directory.join("root"), directory.join("id"))
    }

    /// What a container writes its last words to.
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join(format!("termination-log-{container}-{attempt}"))
    }

    /// What a container gets as its mount number `index`, when that is a part of a volume.
    pub fn sub_path(&self, uid: &str, container: &str, index: usize) -> PathBuf {
        self.pod(uid).join("subpaths").join(container).join(index.to_string())
    }

    /// The pod's files, in memory: those that every container gets, and volumes made of objects.
    /// Secrets and tokens never reach a disk, and a disk takes longer to make many small files.
    ///
    /// # Errors
    /// When the file system for them cannot be mounted.
    pub fn files(&self, uid: &str) -> Result<PathBuf, VolumeError> {
        let directory = self.pod(uid).join("files");
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        if !mount_table::is_mounted(&directory)? {
            mount_tmpfs(&directory, "mode=755")?;
        }
        Ok(directory)
    }
}

/// Mounts a file system in memory.
pub(crate) fn mount_tmpfs(directory: &Path, options: &str) -> Result<(), VolumeError> {
    let options = std::ffi::CString::new(options).unwrap_or_default();
    mount("tmpfs", directory, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
        .map_err(|error| failed("mount", directory)(error.into()))
}
