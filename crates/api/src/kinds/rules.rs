//! Rules that the author of a kind has written for its objects, beyond what a schema can say.

use std::fmt;

use serde_json::Value;

use crate::FieldError;

/// What rules say of an object.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is wrong with it.
    pub errors: Vec<FieldError>,
    /// What is wrong with it, but was before, in a part that did not change.
    pub warnings: Vec<String>,
}

/// Rules of a kind.
pub trait Rules: fmt::Debug + Send + Sync {
    /// What they say of `new`, which takes the place of `old` if there was one.
    fn judge(&self, new: &Value, old: Option<&Value>) -> Judged;
}
