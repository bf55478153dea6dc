//! One engine per data directory: a lock file held with `flock` for as long as the store is open.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the end of a killed engine may take: its last flush must come back from the disk.
const END: Duration = Duration::from_secs(10);

/// The held lock. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why the lock was not taken.
pub(crate) enum LockError {
    /// Another process has it; what it wrote about itself.
    Held(String),
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Where the lock of the store at `store` is.
    pub(crate) fn path(store: &Path) -> PathBuf {
        let mut name = store.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let now = Instant::now();
        let deadline = now.checked_add(END).unwrap_or(now);
        while let Err(error) = file.try_lock() {
            let TryLockError::WouldBlock = error else { return Err(io::Error::from(error).into()) };
            let mut holder = String::new();
            file.rewind()?;
            file.read_to_string(&mut holder)?;
            let holder = holder.trim();
            if !is_ending(holder) || Instant::now() > deadline {
                return Err(LockError::Held(holder.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "process {}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// Whether the holder, as it wrote itself down, is gone or was killed and is not gone yet.
fn is_ending(holder: &str) -> bool {
    let Some(pid) = holder.strip_prefix("process ") else { return false };
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else { return true };
    is_exiting(&stat) || is_killed(&status)
}

/// From `/proc/PID/stat`: a state of the dead, or the flag of a process on its way out.
fn is_exiting(stat: &str) -> bool {
    const EXITING: u64 = 4;
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & EXITING != 0
}

/// From `/proc/PID/status`: SIGKILL waits until the process comes back from the kernel.
fn is_killed(status: &str) -> bool {
    const KILL: u64 = 1 << 8;
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & KILL != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_is_told_from_one_at_work() {
        assert!(!is_exiting("7 (a) b) S 1 7 7 0 -1 4194560 1 0"));
        assert!(is_exiting("7 (a) b) R 1 7 7 0 -1 4194564 1 0"));
        assert!(is_exiting("7 (x) Z 1 7 7 0 -1 4194560 1 0"));
        assert!(is_killed("SigQ:\t0/1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"));
        assert!(!is_killed("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\n"));
        assert!(is_ending("process 0"), "there is no such process");
        assert!(!is_ending(&format!("process {}", std::process::id())));
    }
}
