//! Where everything of a cluster lives: under its data directory, each thing with one name.

use std::path::{Path, PathBuf};

/// Where clusters have their data directories unless told, by name.
pub const DATA_DIRS: &str = "/var/lib/coracle";

/// The data directory of one cluster and the names inside it.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
}

impl Paths {
    /// The given directory, or the default of the cluster called `name`.
    pub fn new(data_dir: Option<PathBuf>, name: &str) -> Self {
        let data_dir = data_dir.unwrap_or_else(|| Path::new(DATA_DIRS).join(name));
        Self { data_dir: real(&std::path::absolute(&data_dir).unwrap_or(data_dir)) }
    }

    /// The directory itself.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Says whose the directory is.
    pub fn mark(&self) -> PathBuf {
        self.data_dir.join("cluster")
    }

    /// The objects of the API.
    pub fn store(&self) -> PathBuf {
        self.data_dir.join("store.redb")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.data_dir.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// The feature gates that `up` was told, as `NAME=true,…`.
    pub fn feature_gates(&self) -> PathBuf {
        self.data_dir.join("feature-gates")
    }

    /// The paths of files that `up` was told of, in JSON.
    pub fn files(&self) -> PathBuf {
        self.data_dir.join("files.json")
    }

    /// What is remembered of requests, unless `up` was told of another place.
    pub fn audit_log(&self) -> PathBuf {
        self.data_dir.join("audit.log")
    }

    /// The kubeconfigs of users to which `up` added the cluster, a path a line.
    pub fn kubeconfigs_of_users(&self) -> PathBuf {
        self.data_dir.join("kubeconfigs")
    }

    /// Where the engine listens for the command line.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("engine.sock")
    }

    /// What was decided, and why.
    pub fn journal(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// Held by the engine's supervisor, with its process ID.
    pub fn supervisor(&self) -> PathBuf {
        self.data_dir.join("supervisor.lock")
    }

    /// Held by a command that starts or stops the cluster.
    pub fn turn(&self) -> PathBuf {
        self.data_dir.join("turn.lock")
    }

    /// What the engine says while it runs in the background.
    pub fn log(&self) -> PathBuf {
        self.data_dir.join("engine.log")
    }

    /// State of the shims and namespaces: what a reboot makes void.
    pub fn run(&self) -> PathBuf {
        self.data_dir.join("run")
    }

    /// Whether a cluster was ever made here.
    pub fn exists(&self) -> bool {
        self.store().exists()
    }
}

/// The directory without links on its way, also when it is still to be made: the kernel's table of
/// mounts knows no other name.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = found else { return path.to_path_buf() };
    match path.strip_prefix(above) {
        Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
        _ => real,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_on_the_way_are_followed_once_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("disk");
        std::fs::create_dir(&target).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let of = |path: PathBuf| Paths::new(Some(path), "blue").data_dir().to_path_buf();
        let target = target.canonicalize().unwrap();
        assert_eq!(of(link.clone()), target);
        assert_eq!(of(link.join("new/data")), target.join("new/data"));
    }

    #[test]
    fn a_name_gives_a_directory_of_its_own_unless_one_is_given() {
        let default = Paths::new(None, "blue");
        assert_eq!(default.data_dir(), Path::new("/var/lib/coracle/blue"));
        let given = Paths::new(Some("/srv/x".into()), "blue");
        assert_eq!(given.store(), Path::new("/srv/x/store.redb"));
    }
}
