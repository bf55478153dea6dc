//! Where everything of a cluster lives: under its data directory, each thing with one name.

use std::path::{Path, PathBuf};

/// The data directory of one cluster and the names inside it.
#[derive(Clone, Debug)]
pub struct Paths {
    data_dir: PathBuf,
}

impl Paths {
    /// The given directory, or the default of the cluster called `name`.
    pub fn new(data_dir: Option<PathBuf>, name: &str) -> Self {
        let data_dir = data_dir.unwrap_or_else(|| Path::new("/var/lib/coracle").join(name));
        Self { data_dir: std::path::absolute(&data_dir).unwrap_or(data_dir) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_a_directory_of_its_own_unless_one_is_given() {
        let default = Paths::new(None, "blue");
        assert_eq!(default.data_dir(), Path::new("/var/lib/coracle/blue"));
        let given = Paths::new(Some("/srv/x".into()), "blue");
        assert_eq!(given.store(), Path::new("/srv/x/store.redb"));
    }
}
