//! What a pure function must ask of the outside. It cannot wait: it says what it needs, and is asked
//! again with the answers.

use std::sync::Arc;

use crate::usage::Usage;

/// A question, with all that the answer depends on: whoever asks the same again, because others were
/// faster, has the answer already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A token of a service account, signed with the key of the cluster.
    Sign {
        /// What it says: JSON.
        claims: String,
    },
    /// What containers and nodes use now.
    Measure,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A JSON web token.
    Token(String),
    /// What is used.
    Usage(Arc<Usage>),
}
