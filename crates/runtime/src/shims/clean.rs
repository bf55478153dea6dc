//! What is done when a sandbox goes, and when its shim went before: the same.

use std::io;
use std::time::{Duration, Instant};

use crate::boot::SandboxDir;
use crate::cgroup::Cgroup;
use crate::removal::remove_all;
use crate::{RuntimeError, mounts};

/// How long processes may take to die once killed.
pub const DEATH: Duration = Duration::from_secs(20);

/// Kills the shim, and with it its containers; then kills, unmounts and removes whatever is left.
/// Blocks; every step may be done again.
pub fn remove(dir: &SandboxDir, cgroup: &str) -> Result<(), RuntimeError> {
    let step = |what: &str| {
        let what = what.to_owned();
        move |source| RuntimeError::Clean { what, source }
    };
    dir.close().and_then(|()| kill_shim(dir)).map_err(step("the shim"))?;
    let cgroup = Cgroup::at(cgroup).map_err(step("the control group"))?;
    cgroup.kill_all(DEATH).map_err(step("processes"))?;
    mounts::unmount_below(dir.path()).map_err(step("mounts"))?;
    cgroup.remove().map_err(step("the control group"))?;
    remove_all(dir.path()).map_err(step("the directory"))
}

/// Kills the shim and waits for its end. Blocks.
pub fn kill_shim(dir: &SandboxDir) -> io::Result<()> {
    // Without the file it has not begun, or it is of no known machine.
    let Ok(shim) = dir.shim() else { return Ok(()) };
    shim.kill()?;
    let now = Instant::now();
    let deadline = now.checked_add(DEATH).unwrap_or(now);
    while shim.is_alive() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not die"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
