//! What a request is answered with, before it becomes bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Kind, Object};
use serde_json::{Value, json};

/// The answer to a request that succeeded.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP code: 200, or 201 for what was created.
    pub code: u16,
    /// What is sent.
    pub answer: Answer,
    /// Sentences for the `Warning` header.
    pub warnings: Vec<String>,
    /// What an audit log is to remember of the request.
    pub annotations: BTreeMap<String, String>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An object as stored, in the version it is stored in.
    Object(Arc<Object>),
    /// A collection.
    List(ObjectList),
    /// What is not stored: a Scale, a review.
    Value(Value),
    /// `metav1.Status` of a success.
    Success(Deleted),
}

/// What a deletion says of what it removed: `details` of a Status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Its name; empty when there is nothing to say.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// Its plural.
    pub plural: String,
    /// Its UID.
    pub uid: String,
}

/// One page of a collection.
#[derive(Clone, Debug)]
pub struct ObjectList {
    /// Whose.
    pub kind: Arc<Kind>,
    /// By namespace, then name.
    pub items: Vec<Arc<Object>>,
    /// The revision at which all pages are.
    pub revision: u64,
    /// Token of the next page; empty on the last.
    pub continue_token: String,
    /// How many follow after this page, when that is known.
    pub remaining: Option<usize>,
}

impl Reply {
    /// `answer` with an HTTP code.
    pub fn new(code: u16, answer: Answer) -> Self {
        Self { code, answer, warnings: Vec::new(), annotations: BTreeMap::new() }
    }

    /// 200 with `answer`.
    pub fn ok(answer: Answer) -> Self {
        Self::new(200, answer)
    }

    /// 201 with `answer`.
    pub fn created(answer: Answer) -> Self {
        Self::new(201, answer)
    }

    /// The object, when the answer is one.
    pub fn object(&self) -> Option<&Arc<Object>> {
        match &self.answer {
            Answer::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The objects, when the answer is a collection.
    pub fn items(&self) -> &[Arc<Object>] {
        match &self.answer {
            Answer::List(list) => &list.items,
            _ => &[],
        }
    }
}

impl ObjectList {
    /// `metadata` of the list.
    pub fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            metadata["continue"] = self.continue_token.clone().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

impl Deleted {
    /// What is said of `object` of `kind`.
    pub fn of(kind: &Kind, object: &Object) -> Self {
        Self {
            name: object.metadata().name.clone(),
            group: kind.group.to_string(),
            plural: kind.plural.to_string(),
            uid: object.metadata().uid.clone(),
        }
    }

    /// The Status.
    pub fn to_value(&self) -> Value {
        let mut status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        if !self.name.is_empty() {
            let mut details = json!({"name": self.name, "kind": self.plural, "uid": self.uid});
            if !self.group.is_empty() {
                details["group"] = self.group.clone().into();
            }
            status["details"] = details;
        }
        status
    }
}
