//! `authorizer`: what whoever asks may do, as expressions find out.

use std::fmt;
use std::sync::Arc;

use crate::types::{AUTHORIZER, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK};

/// Who decides what somebody may do.
pub trait Authorizer: Sync {
    /// The answer to `question`.
    fn decide(&self, question: &Question) -> Decision;
}

/// Whether somebody may do something. What is empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// A service account, by namespace and name; none for whoever made the request.
    pub account: Option<(String, String)>,
    /// `get`, `create`…
    pub verb: String,
    /// A path that is no resource; then nothing below is said.
    pub path: String,
    /// The API group.
    pub group: String,
    /// The plural.
    pub resource: String,
    /// A part of the object.
    pub subresource: String,
    /// Where it is.
    pub namespace: String,
    /// Which it is.
    pub name: String,
    /// Of which fields, as it was written.
    pub field_selector: String,
    /// With which labels, as it was written.
    pub label_selector: String,
}

/// What was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub is_allowed: bool,
    /// Why, if anything is said.
    pub reason: String,
    /// What went wrong; empty when nothing did.
    pub error: String,
}

/// How far a question has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// A question on its way to whoever answers it.
#[derive(Clone)]
pub struct Check<'a> {
    pub(crate) stage: Stage,
    pub(crate) by: &'a dyn Authorizer,
    pub(crate) question: Arc<Question>,
}

impl<'a> Check<'a> {
    /// `authorizer`.
    pub(crate) fn any(by: &'a dyn Authorizer) -> Self {
        Self { stage: Stage::Authorizer, by, question: Arc::default() }
    }

    /// `authorizer.requestResource`.
    pub(crate) fn about(by: &'a dyn Authorizer, question: Question) -> Self {
        Self { stage: Stage::Resource, by, question: Arc::new(question) }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => AUTHORIZER,
            Stage::Path => PATH_CHECK,
            Stage::Group => GROUP_CHECK,
            Stage::Resource => RESOURCE_CHECK,
        }
    }
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("stage", &self.stage)
            .field("question", &self.question)
            .finish()
    }
}
