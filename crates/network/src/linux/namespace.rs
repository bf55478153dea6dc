//! Network namespaces: made, pinned to a file, entered by short-lived threads.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::NetworkError;

/// The calling thread's own network namespace.
pub const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetworkError> {
        Self::open(Path::new(OWN))
    }

    /// The namespace that `path` holds.
    pub fn open(path: &Path) -> Result<Self, NetworkError> {
        let open = || {
            let file = File::open(path)?;
            // An empty file is left where a pin was lifted; it is no namespace.
            if fstatfs(&file)?.filesystem_type() != NSFS_MAGIC {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(file)
        };
        let file = open().map_err(|source| failed("open", path, source))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// A new namespace, pinned at `path` by a bind mount so that it outlives this process.
    pub fn create(path: &Path) -> Result<Self, NetworkError> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|source| failed("create", directory, source))?;
        }
        File::create(path).map_err(|source| failed("create", path, source))?;
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        })
        .map_err(|source| failed("pin", path, source))?;
        Self::open(path)
    }

    /// Lifts the pin at `path`, if there is one, and removes the file. The namespace itself ends
    /// with its last user.
    pub fn unpin(path: &Path) -> Result<(), NetworkError> {
        // One mount for each time a pin was made over a pin.
        while Self::open(path).is_ok() {
            umount2(path, MntFlags::MNT_DETACH)
                .map_err(|source| failed("unpin", path, source.into()))?;
        }
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("unpin", path, source))
            }
            _ => Ok(()),
        }
    }

    /// The open file, for messages that name a namespace by descriptor.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` in a thread of its own inside the namespace. What it opens (sockets) stays
    /// there; paths below `/proc/sys/net` are the namespace's.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .map_err(|source| failed("enter", &self.path, source))
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> NetworkError {
    NetworkError::Namespace { operation, path: path.to_owned(), source }
}
