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
    /// A certificate, signed with the key of the cluster.
    Certify {
        /// What asks for it: PEM, in base64.
        request: String,
        /// What it may be used for: `client auth`.
        usages: Vec<String>,
        /// From when, in seconds since 1970.
        not_before: i64,
        /// Until when, or until the authority's own end.
        not_after: i64,
    },
    /// Whether somebody may do something.
    Review {
        /// What a SubjectAccessReview asks, its `spec` in JSON; each is a question.
        questions: Vec<String>,
    },
    /// What containers and nodes use now.
    Measure,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A JSON web token.
    Token(String),
    /// A certificate in PEM.
    Certificate(String),
    /// For each question whether it is allowed.
    Allowed(Vec<bool>),
    /// What is used.
    Usage(Arc<Usage>),
}
