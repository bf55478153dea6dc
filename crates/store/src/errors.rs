//! What a disk can do to a store.

use std::sync::Arc;

/// The disk refused a batch. Nothing of it was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// No space is left: free some, and writes work again.
    #[error("the disk is full: nothing was stored")]
    Full,
    /// Any other failure.
    #[error("the disk failed, nothing was stored: {0}")]
    Io(#[source] Arc<redb::Error>),
    /// The disk could not be opened again after a failure.
    #[error("the disk failed before and is not usable yet: {0}")]
    Reopen(#[source] Arc<LoadError>),
}

impl DiskError {
    pub(crate) fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(io) if is_full(&io) => Self::Full,
            error => Self::Io(Arc::new(error)),
        }
    }
}

pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why a disk holds no store that we can read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[source] std::io::Error),
    /// redb found the file damaged, or it is no redb file.
    #[error("{0}")]
    Database(#[source] redb::Error),
    /// The file is there and has no content, which a store never is.
    #[error("the file is empty")]
    Empty,
    /// A record does not match its checksum or is no object.
    #[error("the record of {key} is damaged: {reason}")]
    Record {
        /// Which.
        key: String,
        /// In words.
        reason: String,
    },
    /// A table or entry that every store has is not there.
    #[error("it is a database, but not a store of ours: {0}")]
    Foreign(&'static str),
    /// Secrets were encrypted with a key that is not there.
    #[error("its Secrets were encrypted with the key {id}, which is not there")]
    NoKey {
        /// The name of the key.
        id: String,
    },
    /// Written by a newer engine.
    #[error("it has format {found}, which this engine is too old for")]
    NewerFormat {
        /// The format of the file.
        found: u64,
    },
    /// The database is of another revision than memory is.
    #[error("it holds revision {found} instead of {expected}")]
    OtherRevision {
        /// On the disk.
        found: u64,
        /// In memory.
        expected: u64,
    },
}

impl LoadError {
    pub(crate) fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(io) if io.kind() != std::io::ErrorKind::InvalidData => Self::Io(io),
            error => Self::Database(error),
        }
    }
}
