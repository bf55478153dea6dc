//! The three kinds of patches that carry changes: JSON patch (RFC 6902), JSON merge patch
//! (RFC 7386) and Kubernetes' strategic merge patch. The fourth, apply, is [`crate::apply`].

pub mod json;
pub mod merge;
pub mod strategic;

use serde_json::Value;

use crate::Status;

pub use json::JsonPatch;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch does not have the shape of its kind.
    #[error("{0}")]
    Malformed(String),
    /// A JSON patch has more operations than are allowed.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {found}")]
    TooManyOperations {
        /// How many are allowed.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// An operation does not fit the object.
    #[error("{0}")]
    DoesNotApply(String),
    /// What an operation tests is not so.
    #[error("{0}")]
    TestFailed(String),
    /// An item of a list that is merged by key lacks the key.
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The item, as Go prints maps.
        item: String,
        /// The key.
        key: String,
    },
    /// A strategic merge patch contradicts itself or the types of the object.
    #[error("{0}")]
    Contradiction(String),
}

impl PatchError {
    /// The answer to the client. Upstream tells little of why a JSON patch does not apply, and
    /// lets some mistakes of strategic merge patches pass for failures of the server.
    pub fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Malformed(_) => Status::bad_request(text),
            Self::TooManyOperations { .. } => Status::failure(
                413,
                "RequestEntityTooLarge",
                format!("Request entity too large: {text}"),
            ),
            Self::DoesNotApply(_) | Self::TestFailed(_) => Status::failure(
                422,
                "Invalid",
                "the server rejected our request due to an error in our request",
            )
            .with_details(|_| ()),
            Self::NoMergeKey { .. } | Self::Contradiction(_) => Status::failure(500, "", text),
        }
    }
}

/// A value as Go's `%v` prints it: `map[image:httpd name:[a b]]`. Upstream's errors show patches
/// so.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut fields: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        scalar => scalar.to_string(),
    }
}
