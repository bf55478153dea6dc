//! Whether the node is short of something, and since when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For how long a shortage that is over still counts, so that pods do not come and go with it.
/// Upstream's five minutes are for clusters where others may take what this node refuses.
const HOLDS: Duration = Duration::from_secs(30);

/// With less memory available than this, the node is short of it, as upstream's.
const MEMORY_MIN: u64 = 100 << 20;
/// With less of the disk free than this, or than a tenth of it. A kubelet's tenth would be a lot of
/// a developer's disk, which is there for other things, too.
const DISK_MIN: u64 = 2 << 30;

/// What a node can be short of; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// Bytes of memory.
    Memory,
    /// Bytes of the disk.
    Disk,
    /// Files that the disk takes.
    Inodes,
}

impl Signal {
    /// As events and messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Inodes => "inodes",
        }
    }

    /// The node's condition.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Memory => MEMORY_PRESSURE,
            Self::Disk | Self::Inodes => DISK_PRESSURE,
        }
    }
}

pub(crate) const MEMORY_PRESSURE: &str = "MemoryPressure";
pub(crate) const DISK_PRESSURE: &str = "DiskPressure";

/// What there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub signal: Signal,
    pub available: u64,
    /// 0 when it is not counted.
    pub capacity: u64,
}

impl Reading {
    /// Below this the node is short of it.
    pub fn least(&self) -> u64 {
        match self.signal {
            Signal::Memory => MEMORY_MIN.min(self.capacity / 10),
            Signal::Disk => DISK_MIN.min(self.capacity / 10),
            Signal::Inodes => self.capacity / 20,
        }
    }

    pub fn is_short(&self) -> bool {
        self.available < self.least()
    }

    /// Whether it will be short soon, if it goes on like that.
    pub fn is_near(&self) -> bool {
        self.available < self.least().saturating_mul(4)
    }
}

/// What the node was short of, and when it was last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pressure(BTreeMap<&'static str, Duration>);

impl Pressure {
    /// Takes readings in; of what it is short now, the most urgent first. Times are counted from
    /// whenever, by a clock that nobody sets.
    pub fn observe(&mut self, readings: &[Reading], now: Duration) -> Vec<Reading> {
        let mut short: Vec<_> = readings.iter().copied().filter(Reading::is_short).collect();
        short.sort_by_key(|reading| reading.signal);
        for reading in &short {
            self.0.insert(reading.signal.condition(), now);
        }
        self.0.retain(|_, last| now.saturating_sub(*last) < HOLDS);
        short
    }

    /// The node's conditions that hold.
    pub fn conditions(&self) -> BTreeSet<&'static str> {
        self.0.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(free: u64, capacity: u64) -> Reading {
        Reading { signal: Signal::Disk, available: free, capacity }
    }

    #[test]
    fn a_node_is_short_below_its_thresholds() {
        assert!(!disk(2 * GIB, 500 * GIB).is_short());
        assert!(disk(2 * GIB - 1, 500 * GIB).is_short());
        assert!(disk(15 << 20, 160 << 20).is_short());
        assert!(!disk(16 << 20, 160 << 20).is_short());
        let inodes = |available| Reading { signal: Signal::Inodes, available, capacity: 1000 };
        assert!(inodes(49).is_short() && !inodes(50).is_short());
        // What is not counted is not missed.
        assert!(!disk(0, 0).is_short());
    }

    #[test]
    fn a_shortage_that_is_over_holds_for_a_while() {
        let memory = |available| Reading { signal: Signal::Memory, available, capacity: GIB };
        let at = Duration::from_secs;
        let mut pressure = Pressure::default();
        assert!(pressure.observe(&[memory(GIB)], at(0)).is_empty());
        assert!(pressure.conditions().is_empty());
        let both = [disk(0, GIB), memory(1)];
        let short = pressure.observe(&both, at(10));
        assert_eq!(short, [memory(1), disk(0, GIB)], "memory first");
        assert_eq!(pressure.conditions(), [DISK_PRESSURE, MEMORY_PRESSURE].into());
        assert!(pressure.observe(&[memory(GIB)], at(20)).is_empty());
        assert_eq!(pressure.conditions().len(), 2);
        pressure.observe(&[disk(0, GIB)], at(30));
        pressure.observe(&[], at(40));
        assert_eq!(pressure.conditions(), [DISK_PRESSURE].into());
        pressure.observe(&[], at(60));
        assert!(pressure.conditions().is_empty());
    }
}
