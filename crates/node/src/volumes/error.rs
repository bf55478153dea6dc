//! Why a volume is not in place.

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
    /// A volume that must be repaired is mounted elsewhere: by whom.
    #[error(
        "the volume refuses writes since its disk failed, and cannot be repaired while it is used: {0}"
    )]
    Held(String),
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
