//! Revisions, transactions, snapshots, watch and durability over a disk.

mod disk;
mod durable;
mod lock;
mod snapshot;
mod store;
mod transaction;
mod watch;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use durable::{DiskError, LoadError};
pub use snapshot::Snapshot;
pub use store::{OpenError, Store};
pub use transaction::{CommitError, Committed, Expect, Transaction, Write};
pub use watch::{Compacted, Event, Retention, Watch};
