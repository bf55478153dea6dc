//! Ends of containers that a shim keeps to itself because it is stopped or hangs: the kernel tells
//! them, too.

use std::time::Duration;

use jiff::Timestamp;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::process::ProcessId;
use crate::{Container, ContainerState, sys};

/// How long a shim may take to tell that a container has ended; it does so within milliseconds.
const SILENCE: Duration = Duration::from_secs(2);

/// Waits for the end of a running container's first process. How it has ended when its shim, which is
/// its parent, has not even waited for it; `None` when it has, and tells the end itself.
pub async fn end_of(mut container: Container) -> Option<Container> {
    let ContainerState::Running { started_at } = container.state else { return None };
    let process = ProcessId::of(container.pid).ok()?;
    let handle = sys::pidfd_open(container.pid).ok()?;
    #[allow(unsafe_code, reason = "descriptors are registered")]
    // SAFETY: the descriptor is owned, and nothing closes it before it is dropped.
    let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok()?;
    // A handle can be read when its process has ended.
    drop(handle.readable().await.ok()?);
    let finished_at = Timestamp::now();
    tokio::time::sleep(SILENCE).await;
    let (exit_code, signal) = exit(process.unreaped()?);
    container.state =
        ContainerState::Exited { exit_code, signal, oom_killed: false, started_at, finished_at };
    Some(container)
}

/// Exit code and signal of a wait status.
fn exit(status: i32) -> (i32, Option<i32>) {
    match status & 0x7f {
        0 => ((status >> 8) & 0xff, None),
        signal => (signal.saturating_add(128), Some(signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::exit;

    #[test]
    fn wait_statuses_are_read() {
        assert_eq!(exit(0), (0, None));
        assert_eq!(exit(7 << 8), (7, None));
        assert_eq!(exit(9), (137, Some(9)));
        assert_eq!(exit(0x80 | 11), (139, Some(11)), "with a core");
    }
}
