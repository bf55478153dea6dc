//! Revisions, transactions, snapshots, watch and durability over a disk.
//!
//! The store owns all objects of a cluster. In memory they are a persistent map, so that a
//! [`Snapshot`] is a pointer copy that never changes; every write is a [`Transaction`], all or
//! nothing; every object written gets the next revision; the watch log is the sequence of those
//! writes.
//!
//! # A commit
//!
//! [`Store::commit`] hands the transaction to the committer, the only writer. The committer takes
//! whatever waits (and waits a moment for those it answered last, who tend to come again), and for
//! each transaction in turn checks the preconditions against the newest state, *including* what
//! the transactions before it in the same batch did, and gives its objects their revisions. Then
//! one redb transaction writes the last state of every touched object, with one flush. Only then,
//! in this order: readers see the new snapshot, watchers are sent the events, callers are
//! answered. A refusal waits for the flush too, because it tells what others wrote.
//!
//! **Invariant:** what was acknowledged, read or watched is on the disk. No reader can act on a
//! state that a crash takes back.
//!
//! If the disk fails, every transaction of the batch fails and memory stays what it was. What the
//! disk holds then is unknown: a failed flush may have written anything, and the page cache lies
//! about it. But redb copies pages on write, so only its header (page 0) can point to the failed
//! batch. The store keeps the header of the last good flush, writes it again, and opens the
//! database anew; until that succeeds every commit fails, after that the store works again. No
//! restart is needed for a disk that was full.
//!
//! # Questions
//!
//! With the objects a state keeps what the tables `coracle_api::index` and `coracle_api::sums` say of
//! them: the terms by which each is found, and what groups of them add up to. Both follow every
//! write, so a snapshot answers without a look at objects that are not in the answer. An index may be
//! unique: the committer refuses a second holder of an address. It refuses too what exceeds a
//! ResourceQuota, so that writers which were prepared on one snapshot share what is left.
//!
//! # Memory
//!
//! An object is its bytes and its metadata. What is made of it for those who look (a tree, typed
//! views, a selector) is kept with the version and dropped a moment after the write; what is looked
//! at later, within ten seconds of the next write. The log keeps bytes alone.
//!
//! # The bytes on disk
//!
//! One redb file of two tables, beside it `FILE.lock` and `FILE.key`:
//!
//! ```text
//! objects   (resource, namespace, name)  →  crc32 of what follows and of the key   4 bytes LE
//!                                           revision                               8 bytes LE
//!                                           the object as JSON, as it is served;
//!                                           a Secret as 1, key's name, nonce, ciphertext
//! meta      "format"                     →  2                                      8 bytes LE
//!           "revision"                   →  of the last write                      8 bytes LE
//!           "meta/…"                     →  the engine's own values
//! ```
//!
//! Secrets are encrypted (AES-256-GCM) with the first key of `FILE.key`; the others only decrypt. A
//! store of format 1, whose Secrets are in clear, is brought under a key when it is opened, and so
//! is one in which a change of the key was interrupted. What redb's free pages held before stays
//! there until they are used again. A key that is lost refuses to open.
//!
//! The store's revision is that of `meta` or of the newest object, whichever is higher: a batch
//! whose last write is an object needs no second table. Resource and namespace order the keys as
//! lists do.
//!
//! Batches use redb's one-phase commit: all pages, the root's checksum and the new header reach
//! the disk in one flush. Its checksums (XXH3-128 from the root down) tell a torn commit from a
//! whole one; the two-phase commit would cost a second flush, twice the latency, and protect from
//! nobody but an attacker who forges checksums by choosing what is written when the power fails.
//! The last commit of an orderly run *is* two-phase: then redb knows that there is nothing torn,
//! and takes damage for damage instead of going back one commit.
//!
//! # Recovery
//!
//! [`Store::open`] takes the lock (`flock`, gone with the process however it ends), lets redb
//! verify the checksum of every page and fall back over a torn commit, which nobody was ever told
//! about, then reads and checks every record. The cost is that of reading the file: 0.1 s for
//! 10,000 objects. Anything else that is wrong refuses to open, with the file's name and what to
//! do: a damaged page or record, a file of something else, a newer format, an empty file. Nothing
//! is repaired by leaving it out. One kind of damage cannot be told from a torn commit: to the
//! pages of the very last commit, between a crash and the next start.
//!
//! The watch log lives in memory alone: after a restart watches resume from the current revision
//! onward, older ones are [`Compacted`].
//!
//! # Faults
//!
//! [`Store::open_on`] runs the same code on any [`redb::StorageBackend`], without thread or clock.
//! [`FaultyDisk`] is one that loses, tears and refuses writes from a seed; tests and simulation
//! share it.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod disk;
mod durable;
mod errors;
mod faulty_disk;
pub mod files;
mod indexed;
mod keyring;
mod lock;
mod memory;
mod snapshot;
mod state;
mod store;
mod summed;
mod sweeps;
mod transaction;
mod watch;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;

pub use errors::{DiskError, LoadError};
pub use faulty_disk::{Failure, FaultyDisk, SECTOR};
pub use snapshot::Snapshot;
pub use store::{OpenError, RotateError, Store};
pub use transaction::{CommitError, Committed, Expect, Transaction, Write};
pub use watch::{Compacted, Event, Watch};
