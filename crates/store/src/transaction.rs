//! What a caller asks the store to write, and what it gets back.

use std::sync::Arc;

use coracle_api::{Index, Key, MalformedObject, Object};

use crate::errors::DiskError;

/// Writes that happen together or not at all.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Applied in order; a later write sees what an earlier one did.
    pub writes: Vec<Write>,
    /// What must hold before the first write, for objects that are only read.
    pub requires: Vec<(Key, Expect)>,
}

impl Transaction {
    /// A transaction of `writes` alone.
    pub fn of(writes: impl IntoIterator<Item = Write>) -> Self {
        Self { writes: writes.into_iter().collect(), requires: Vec::new() }
    }
}

/// One object put or deleted.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where; the same as the object's own key.
    pub key: Key,
    /// What must be there now.
    pub expect: Expect,
    /// The new object, whose `resourceVersion` the store sets; `None` deletes.
    pub object: Option<Arc<Object>>,
}

impl Write {
    /// Stores `object` under its own key.
    pub fn put(object: impl Into<Arc<Object>>, expect: Expect) -> Self {
        let object = object.into();
        Self { key: object.key().clone(), expect, object: Some(object) }
    }

    /// Deletes what is at `key`. Deleting nothing takes no revision.
    pub fn delete(key: Key, expect: Expect) -> Self {
        Self { key, expect, object: None }
    }
}

/// A precondition on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No condition.
    Any,
    /// Nothing may be there.
    Absent,
    /// Something must be there, at whatever revision.
    Present,
    /// The object must be there at exactly this revision.
    Revision(u64),
}

impl Expect {
    /// Whether an object at revision `found` (`None`: no object) is what was expected.
    pub fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

/// A transaction that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The store's revision after the last write.
    pub revision: u64,
    /// One per write, as stored. A delete gives the last state stamped with the revision of the
    /// deletion, or `None` when there was nothing to delete.
    pub objects: Vec<Option<Arc<Object>>>,
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The object at `key` is not as expected.
    #[error("precondition failed: {key}: expected {expected:?}, found revision {found:?}")]
    Precondition {
        /// Which object.
        key: Key,
        /// What the transaction expected.
        expected: Expect,
        /// The revision that is there; `None` when nothing is.
        found: Option<u64>,
    },
    /// Another object has what only one may have.
    #[error("{key}: {index:?} {term:?} is taken by {holder}")]
    Taken {
        /// Which object asked for it.
        key: Key,
        /// What it is.
        index: Index,
        /// Which: an address, a port.
        term: Arc<str>,
        /// Who has it.
        holder: Key,
    },
    /// It would take more than a quota of its namespace has left.
    #[error("{key}: more than {quota} has left")]
    Exceeded {
        /// Which object asked for it.
        key: Key,
        /// The ResourceQuota.
        quota: Key,
    },
    /// `Write::key` is not the key of `Write::object`.
    #[error("the object {object} cannot be stored as {key}")]
    WrongKey {
        /// Where it was to be stored.
        key: Key,
        /// Where it belongs.
        object: Key,
    },
    /// The object could not be given its revision.
    #[error("{key}: {source}")]
    Malformed {
        /// Which object.
        key: Key,
        /// What is wrong with it.
        source: Arc<MalformedObject>,
    },
    /// The disk failed; nothing was stored. After a crash of the machine in that moment the
    /// transaction may still be found stored, as with any database.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
