//! What a decision is: writes, events, when to look again, and why nothing more happens.

use std::sync::Arc;

use coracle_api::{Key, Object, Timestamp};
use serde_json::Value;

/// The outcome of a decision, carried out by the driver as one transaction.
///
/// An empty plan means that the object is where it should be.
#[derive(Debug, Default)]
pub struct Plan {
    /// All or nothing, through admission, in this order.
    pub writes: Vec<Write>,
    /// What is written when admission refuses `writes`: what is true without them, such as a
    /// status that counts what there is.
    pub even_so: Vec<Write>,
    /// Objects that the decision rests on: if one is no longer at the revision that the snapshot
    /// showed, nothing is written and the decision is asked for again.
    pub rests_on: Vec<Arc<Object>>,
    /// What users are told, recorded after the writes succeeded.
    pub notes: Vec<Note>,
    /// What users are told when admission refuses one of the writes.
    pub refusals: Vec<Refusal>,
    /// When to ask again even if nothing changes.
    pub look_again: Option<Timestamp>,
    /// Why nothing more happens.
    pub because: Option<Because>,
}

impl Plan {
    /// Asks to be asked again at `when`, or earlier when an earlier time was asked for before.
    pub fn look_again_at(&mut self, when: Timestamp) {
        self.look_again = Some(self.look_again.map_or(when, |earlier| earlier.min(when)));
    }

    /// Adds a write and what is said when it is refused: `message` followed by the error.
    pub fn write_or(&mut self, write: Write, refused: Note) {
        self.refusals.push(Refusal { write: self.writes.len(), note: refused });
        self.writes.push(write);
    }
}

/// One sentence that says what an object waits for, and the object that it is about, whose own
/// reason is the next link of the chain that `coracle why` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// `web-1 is not ready`
    pub sentence: String,
    /// `pods default/web-1`
    pub whom: Option<Key>,
}

impl Because {
    /// A reason that is about no other object.
    pub fn only(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), whom: None }
    }

    /// A reason that is about the object at `whom`.
    pub fn of(whom: Key, sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), whom: Some(whom) }
    }
}

/// One write of a plan.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new object, with `apiVersion`, `kind` and `metadata`; refused when the name is taken.
    Create(Value),
    /// The whole object, with the `resourceVersion` that the decision saw.
    Update(Value),
    /// As `Update`, through a subresource: `status`, `finalize`.
    UpdateSubresource(&'static str, Value),
    /// What a subresource of an object takes: a `Binding` for `binding`.
    CreateSubresource {
        /// The object.
        key: Key,
        /// `binding`
        subresource: &'static str,
        /// What is sent.
        body: Value,
    },
    /// A deletion with preconditions on what the decision saw.
    Delete {
        /// What to delete.
        key: Key,
        /// UID that it must have.
        uid: String,
        /// `resourceVersion` that it must have, when the decision rests on its state.
        resource_version: Option<String>,
        /// How.
        options: DeleteOptions,
    },
}

impl Write {
    /// As `Update`, through `/status`.
    pub fn status(object: Value) -> Self {
        Self::UpdateSubresource("status", object)
    }

    /// Deletes exactly the version of `object` that the decision saw.
    pub fn delete(object: &Object) -> Self {
        Self::delete_with(object, DeleteOptions::default())
    }

    /// As [`Write::delete`], with `options`.
    pub fn delete_with(object: &Object, options: DeleteOptions) -> Self {
        Self::Delete {
            key: object.key().clone(),
            uid: object.metadata().uid.clone(),
            resource_version: Some(object.metadata().resource_version.clone()),
            options,
        }
    }
}

/// `metav1.DeleteOptions`, as far as controllers use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds; the kind's own default when absent.
    pub grace_period_seconds: Option<i64>,
    /// What happens to dependents; the kind's own default when absent.
    pub propagation: Option<Propagation>,
}

/// `metav1.DeletionPropagation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes now, its dependents after it.
    Background,
    /// Its dependents go first.
    Foreground,
    /// Its dependents stay and forget it.
    Orphan,
}

impl Propagation {
    /// As written in `propagationPolicy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// An event to record: repeats of the same note are counted, not stored again.
#[derive(Clone, Debug)]
pub struct Note {
    /// What the event is about.
    pub regarding: Arc<Object>,
    /// Normal or warning.
    pub event_type: EventType,
    /// `SuccessfulCreate`.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

impl Note {
    /// A note that something went as expected.
    pub fn normal(object: &Arc<Object>, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(object, EventType::Normal, reason, message)
    }

    /// A note that somebody should look at.
    pub fn warning(object: &Arc<Object>, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(object, EventType::Warning, reason, message)
    }

    fn new(
        object: &Arc<Object>,
        event_type: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { regarding: Arc::clone(object), event_type, reason, message: message.into() }
    }
}

/// What is said when one write of a plan is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Index in [`Plan::writes`].
    pub write: usize,
    /// The event; the error is appended to its message.
    pub note: Note,
}

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventType {
    /// As written in `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
