//! Which process is which: a number alone may long belong to another one.

use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::sys;

/// A process, told from every other one that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the host's process namespace.
    pub pid: i32,
    /// When it began, in clock ticks after the machine's start.
    start_time: u64,
    /// Which start of the machine.
    boot_id: String,
}

impl ProcessId {
    /// Identifies a living process.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: start_time(pid)?, boot_id: boot_id()? })
    }

    /// Whether that very process lives (a dead one that nobody has waited for does not).
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot_id| boot_id == self.boot_id)
            && start_time(self.pid).is_ok_and(|start| start == self.start_time)
    }

    /// Kills it if it lives.
    pub fn kill(&self) -> io::Result<()> {
        let Ok(handle) = sys::pidfd_open(self.pid) else { return Ok(()) };
        // Only now is it certain whom the handle stands for.
        if self.is_alive() { sys::pidfd_signal(handle.as_fd(), nix::libc::SIGKILL) } else { Ok(()) }
    }
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Field 22 of `/proc/PID/stat`, `None` for a dead process. Field 2 is a name that may hold
/// anything, so fields are counted from its closing parenthesis.
fn parse_start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_start_time(stat), Some(4711));
    }

    #[test]
    fn a_dead_process_is_not_alive_though_its_number_is_taken() {
        let stat = "7 (x) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_start_time(stat), None);
    }

    #[test]
    fn this_process_is_alive_and_one_of_another_time_is_not() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_time: me.start_time + 1, ..me.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "another".to_owned(), ..me }.is_alive());
    }
}
