//! Volumes: what a pod's `volumes` become on this machine.
//!
//! [`payload`] says which files a ConfigMap, Secret, downward API or projected volume holds (pure);
//! [`atomic`] writes them so that a reader sees the old ones or the new ones; [`sized`] makes
//! filesystems of a size that holds; [`mounter`] puts them all in place and takes them away.

pub(crate) mod atomic;
pub(crate) mod mounter;
pub(crate) mod payload;
pub(crate) mod sized;
pub(crate) mod subpath;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

/// Why a volume is not in place, in the kubelet's words.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object that the volume is made from is missing, or lacks a key.
    #[error("{0}")]
    Missing(String),
    /// A claim has no volume yet.
    #[error("PVC is not bound: persistentvolumeclaim \"{0}\" is not bound")]
    Unbound(String),
    /// The volume cannot be what the pod says.
    #[error("{0}")]
    Unsupported(String),
    /// A file or directory could not be made.
    #[error("{operation} {path}: {source}")]
    File {
        /// `create`, `mount`…
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tool of the machine failed.
    #[error("{tool}: {message}")]
    Tool {
        /// `mkfs.ext4`…
        tool: &'static str,
        /// What it said.
        message: String,
    },
}

/// For `map_err`: `operation` on `path` failed.
pub(crate) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> VolumeError + use<> {
    let path = path.to_owned();
    move |source| VolumeError::File { operation, path, source }
}
