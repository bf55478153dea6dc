//! What containers have used, as their control groups count it.

use std::time::Duration;

/// What one control group has used since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Time of processors, of all of them together.
    pub cpu_time: Duration,
    /// Bytes of memory now, without what the kernel could take back at once: pages of files that
    /// have not been touched for a while.
    pub working_set: u64,
}

/// What was used at one moment; of a group that is gone, or does not count, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// By all pods together.
    pub all: Option<Used>,
    /// By each of the containers that were asked about, in that order.
    pub containers: Vec<Option<Used>>,
}
