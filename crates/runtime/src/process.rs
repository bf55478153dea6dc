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

    /// Its wait status, when it is dead and its parent has not waited for it.
    pub fn unreaped(&self) -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let (state, start_time, status) = parse(&stat)?;
        (state == "Z" && start_time == self.start_time).then_some(status)
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

/// Field 22 of `/proc/PID/stat`, `None` for a dead process.
fn parse_start_time(stat: &str) -> Option<u64> {
    parse(stat).filter(|(state, ..)| !matches!(*state, "Z" | "X")).map(|(_, start, _)| start)
}

/// Fields 3, 22 and 52 of `/proc/PID/stat`: state, start and wait status. Field 2 is a name that may
/// hold anything, so fields are counted from its closing parenthesis.
fn parse(stat: &str) -> Option<(&str, u64, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    // Older kernels, and those that do not let us know, say 0 or nothing.
    let status = fields.nth(29).and_then(|field| field.parse().ok()).unwrap_or_default();
    Some((state, start_time, status))
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
    fn a_child_that_nobody_waited_for_tells_how_it_ended() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap();
        assert_eq!(process.unreaped(), None);
        drop(child.stdin.take());
        while process.is_alive() {
            std::thread::yield_now();
        }
        assert_eq!(process.unreaped(), Some(7 << 8));
        child.wait().unwrap();
        assert_eq!(process.unreaped(), None);
    }

    #[test]
    fn this_process_is_alive_and_one_of_another_time_is_not() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_time: me.start_time + 1, ..me.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "another".to_owned(), ..me }.is_alive());
    }
}
