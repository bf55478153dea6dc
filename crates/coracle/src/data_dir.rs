//! Whose a data directory is. Nothing is written to or deleted from one that is not ours.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use coracle_node::IMAGE_ARCHIVES;

use crate::cluster::Cluster;
use crate::output::progress;
use crate::paths::Paths;

/// What a file system has at its root before anyone writes to it.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Something else has the name.
    #[error("{} is not a directory: choose another place with --data-dir", .0.display())]
    NotADirectory(PathBuf),
    /// It can be neither read nor written.
    #[error("cannot use the data directory {}: {source} (choose another with --data-dir)", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Someone keeps other things in it.
    #[error(
        "{} holds no cluster, but other files ({found}): choose an empty or a new directory with \
         --data-dir",
        .path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// It belongs to a cluster of another name.
    #[error(
        "{} holds the cluster \"{name}\": say --name {name}, or choose another directory with \
         --data-dir",
        .path.display()
    )]
    OtherCluster {
        /// Which.
        path: PathBuf,
        /// Whose.
        name: String,
    },
    /// Others may not look into it.
    #[error("{} belongs to another user: run this command as that user, or with sudo", .0.display())]
    NotAllowed(PathBuf),
}

/// Makes the directory of `cluster` if it is missing, and marks it as the cluster's.
///
/// # Errors
/// When it is anything else than new, empty, or this cluster's.
pub fn claim(cluster: &Cluster) -> Result<(), DataDirError> {
    use std::os::unix::fs::DirBuilderExt;
    let paths = cluster.paths();
    let path = paths.data_dir();
    if is_ours(cluster)? {
        return Ok(());
    }
    let unusable = |source| DataDirError::Unusable { path: path.to_path_buf(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    if let Some(found) = other_files(path).map_err(unusable)? {
        return Err(DataDirError::Foreign { path: path.to_path_buf(), found });
    }
    mark(&paths, &cluster.name).map_err(unusable)
}

/// Waits until no other command starts or stops the cluster; the turn ends with the file.
///
/// # Errors
/// When the lock cannot be made.
pub fn take_turn(paths: &Paths) -> Result<File, DataDirError> {
    let path = paths.turn();
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let wait = |file: File| {
        if file.try_lock().is_err() {
            progress("another command starts or stops this cluster: waiting for its end");
            file.lock()?;
        }
        Ok(file)
    };
    open.and_then(wait).map_err(|source| DataDirError::Unusable { path, source })
}

/// Whether the directory is there and this cluster's.
///
/// # Errors
/// When it is another cluster's, no directory, or cannot be looked into.
pub fn is_ours(cluster: &Cluster) -> Result<bool, DataDirError> {
    let paths = cluster.paths();
    let path = paths.data_dir();
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotADirectory => DataDirError::NotADirectory(path.to_path_buf()),
        io::ErrorKind::PermissionDenied => DataDirError::NotAllowed(path.to_path_buf()),
        _ => DataDirError::Unusable { path: path.to_path_buf(), source: error },
    };
    match std::fs::metadata(path) {
        Ok(there) if !there.is_dir() => return Err(DataDirError::NotADirectory(path.into())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(refused(error)),
    }
    let name = match std::fs::read_to_string(paths.mark()) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths.store().exists()),
        Err(error) => return Err(refused(error)),
    };
    // A crash may have left the mark empty: then nobody came further than that.
    match name.is_empty() || name == cluster.name {
        true => Ok(true),
        false => Err(DataDirError::OtherCluster { path: path.to_path_buf(), name }),
    }
}

/// Deletes the directory; the mount point of a file system stays, empty.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOST_AND_FOUND {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => coracle_runtime::remove_all(&entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    match std::fs::remove_dir(path) {
        Err(error) if !is_mount_point(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_mount_point(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty)
}

fn other_files(path: &Path) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        // Images may be put there before there is a cluster.
        if name != LOST_AND_FOUND && name != IMAGE_ARCHIVES {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn mark(paths: &Paths, name: &str) -> io::Result<()> {
    std::fs::write(paths.mark(), format!("{name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, path: &Path) -> Cluster {
        Cluster { name: name.into(), data_dir: Some(path.into()) }
    }

    #[test]
    fn a_new_or_empty_directory_becomes_the_clusters() {
        let folder = tempfile::tempdir().unwrap();
        let blue = cluster("blue", &folder.path().join("new"));
        assert!(!is_ours(&blue).unwrap());
        claim(&blue).unwrap();
        claim(&blue).unwrap();
        assert!(is_ours(&blue).unwrap());
        let other = cluster("red", blue.paths().data_dir());
        let error = claim(&other).unwrap_err().to_string();
        assert!(error.contains("holds the cluster \"blue\": say --name blue"), "{error}");
        assert!(is_ours(&other).is_err());
    }

    #[test]
    fn a_directory_of_others_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "").unwrap();
        let blue = cluster("blue", folder.path());
        let error = claim(&blue).unwrap_err().to_string();
        assert!(error.contains("other files (precious)"), "{error}");
        assert!(!is_ours(&blue).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = cluster("blue", &folder.path().join("precious"));
        let error = claim(&file).unwrap_err().to_string();
        assert!(error.contains("precious is not a directory"), "{error}");
        let below = cluster("blue", &folder.path().join("precious/below"));
        assert!(matches!(claim(&below), Err(DataDirError::NotADirectory(_))));
    }

    #[test]
    fn a_file_systems_own_directory_is_no_file_of_others_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(LOST_AND_FOUND)).unwrap();
        let blue = cluster("blue", folder.path());
        claim(&blue).unwrap();
        remove(folder.path()).unwrap();
        assert!(folder.path().join(LOST_AND_FOUND).exists() && !blue.paths().mark().exists());
    }

    #[test]
    fn images_may_be_there_before_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(IMAGE_ARCHIVES)).unwrap();
        claim(&cluster("blue", folder.path())).unwrap();
    }

    #[test]
    fn a_directory_from_before_there_were_marks_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.redb"), "").unwrap();
        assert!(is_ours(&cluster("blue", folder.path())).unwrap());
    }
}
