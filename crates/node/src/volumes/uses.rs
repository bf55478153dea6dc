//! Who uses a persistent volume on this machine, written beside it.
//!
//! `pods/UID/persistent/NAME` says it of the pod, `volumes/NAME/users/UID` of the volume. The first
//! is made before the second and goes after it, so that whoever finishes what a killed engine began
//! needs nothing but the pod's directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Places, VolumeError, failed};

/// Held while a volume is made, mounted, changed or released. It goes with the engine.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

impl Turn {
    /// Waits for the volume in `directory`, which is made when missing. Blocks.
    pub fn of(directory: &Path) -> Result<Self, VolumeError> {
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        let file = File::open(directory).map_err(failed("open", directory))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", directory)(error.into()))?;
        Ok(Self(file))
    }
}

/// The pod uses the volume from now on.
pub(crate) fn begin(places: &Places, uid: &str, volume: &str) -> Result<(), VolumeError> {
    for directory in [of_pod(places, uid), of_volume(places, volume)] {
        fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
    }
    for mark in [of_pod(places, uid).join(volume), of_volume(places, volume).join(uid)] {
        File::create(&mark).map_err(failed("create", &mark))?;
    }
    Ok(())
}

/// The pod uses the volume no more; whether anybody does. The pod's own mark goes with the pod.
pub(crate) fn end(places: &Places, uid: &str, volume: &str) -> Result<bool, VolumeError> {
    let mark = of_volume(places, volume).join(uid);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &mark)(error));
        }
        _ => {}
    }
    Ok(!users(places, volume)?.is_empty())
}

/// The UIDs of the pods that use the volume.
pub(crate) fn users(places: &Places, volume: &str) -> Result<Vec<String>, VolumeError> {
    names(&of_volume(places, volume))
}

/// The persistent volumes that the pod uses.
pub(crate) fn volumes(places: &Places, uid: &str) -> Result<Vec<String>, VolumeError> {
    names(&of_pod(places, uid))
}

fn of_pod(places: &Places, uid: &str) -> PathBuf {
    places.pod(uid).join("persistent")
}

fn of_volume(places: &Places, volume: &str) -> PathBuf {
    places.persistent(volume).join("users")
}

fn names(directory: &Path) -> Result<Vec<String>, VolumeError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("read", directory))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry.map_err(failed("read", directory))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
