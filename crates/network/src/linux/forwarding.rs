//! The one kernel setting of the host that a cluster needs, and how it is put back.
//!
//! Pods reach the outside through the host, so the host must forward packets. Where it did not
//! before, switching that on changes other settings as well; all are written down first, in a
//! file shared by all clusters of a network namespace, and the last cluster to go puts them back.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::namespace;
use crate::NetworkError;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
const PER_INTERFACE: &str = "/proc/sys/net/ipv4/conf";
const ALL_REDIRECTS: &str = "/proc/sys/net/ipv4/conf/all/accept_redirects";

/// Lets the host forward packets. True if it did not before the first cluster came.
///
/// Runs in a thread that is in the host's namespace, as everything here.
pub fn allow(run_dir: &Path) -> Result<bool, NetworkError> {
    let _lock = lock(run_dir)?;
    let saved = saved(run_dir)?;
    if saved.exists() {
        write(SWITCH.as_ref(), "1")?;
        return Ok(true);
    }
    if read(SWITCH.as_ref())? != "0" {
        return Ok(false);
    }
    write(&saved, &snapshot()?)?;
    write(SWITCH.as_ref(), "1")?;
    Ok(true)
}

/// Puts everything back, if a cluster changed it.
pub fn restore(run_dir: &Path) -> Result<(), NetworkError> {
    if !run_dir.exists() {
        return Ok(());
    }
    let _lock = lock(run_dir)?;
    let saved = saved(run_dir)?;
    if saved.exists() {
        put_back(&read(&saved)?)?;
        fs::remove_file(&saved).map_err(|source| failed(&saved, source))?;
    }
    match fs::remove_dir(run_dir) {
        // Clusters in other network namespaces have their settings there.
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(failed(run_dir, error))
        }
        _ => Ok(()),
    }
}

/// Where the settings of the calling thread's network namespace are written down: the directory
/// may be shared with other namespaces, whose clusters come and go on their own.
fn saved(run_dir: &Path) -> Result<PathBuf, NetworkError> {
    let namespace = Path::new(namespace::OWN);
    let inode = fs::metadata(namespace).map_err(|source| failed(namespace, source))?.ino();
    Ok(run_dir.join(format!("forwarding-{inode}")))
}

fn put_back(former: &str) -> Result<(), NetworkError> {
    write(SWITCH.as_ref(), "0")?;
    for line in former.lines() {
        let Some((path, value)) = line.split_once(' ') else { continue };
        // Interfaces come and go.
        if Path::new(path).exists() && read(path.as_ref())? != value {
            write(path.as_ref(), value)?;
        }
    }
    Ok(())
}

/// What switching forwarding on and off again would lose, a setting a line.
fn snapshot() -> Result<String, NetworkError> {
    let directory = Path::new(PER_INTERFACE);
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let interfaces = list().map_err(|source| failed(directory, source))?;
    let mut settings = vec![PathBuf::from(ALL_REDIRECTS)];
    // "all" is the switch itself.
    let single = interfaces.into_iter().filter(|path| !path.ends_with("all"));
    settings.extend(single.map(|path| path.join("forwarding")));
    let mut text = String::new();
    for path in settings {
        let value = read(&path)?;
        if writeln!(text, "{} {value}", path.display()).is_err() {
            unreachable!("writing to a String does not fail");
        }
    }
    Ok(text)
}

/// One cluster at a time; the lock is the directory itself, so that nothing need stay behind.
fn lock(run_dir: &Path) -> Result<Flock<File>, NetworkError> {
    let open = || -> io::Result<Flock<File>> {
        loop {
            fs::create_dir_all(run_dir)?;
            let Some(directory) = unless_gone(File::open(run_dir))? else { continue };
            let locked = Flock::lock(directory, FlockArg::LockExclusive);
            let locked = locked.map_err(|(_, error)| error)?;
            // Whoever had the lock before may have removed the directory.
            let now = unless_gone(fs::metadata(run_dir))?;
            if now.is_some_and(|now| locked.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
                return Ok(locked);
            }
        }
    };
    open().map_err(|source| failed(run_dir, source))
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<String, NetworkError> {
    let text = fs::read_to_string(path).map_err(|source| failed(path, source))?;
    Ok(text.trim_end().to_owned())
}

fn write(path: &Path, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> NetworkError {
    NetworkError::State { path: path.to_owned(), source }
}
