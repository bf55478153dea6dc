//! Revisions, transactions, snapshots, watch and durability over a disk.

mod disk;
mod durable;
mod faulty_disk;
mod lock;
mod snapshot;
mod store;
mod transaction;
mod watch;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use durable::{DiskError, LoadError};
pub use faulty_disk::{Failure, FaultyDisk, SECTOR};
pub use snapshot::Snapshot;
pub use store::{OpenError, Store};
pub use transaction::{CommitError, Committed, Expect, Transaction, Write};
pub use watch::{Compacted, Event, Retention, Watch};
