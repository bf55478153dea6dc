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
    /// Objects that the decision rests on: if one is no longer at the revision that the snapshot
    /// showed, nothing is written and the decision is asked for again.
    pub rests_on: Vec<Arc<Object>>,
    /// What users are told, recorded after the writes succeeded.
    pub notes: Vec<Note>,
    /// When to ask again even if nothing changes.
    pub look_again: Option<Timestamp>,
    /// One sentence that says why nothing more happens: `web-1 is not ready`.
    pub because: Option<String>,
}

/// One write of a plan.
#[derive(Debug)]
pub enum Write {
    /// A new object, with `apiVersion`, `kind` and `metadata`; refused when the name is taken.
    Create(Value),
    /// The whole object, with the `resourceVersion` that the decision saw.
    Update(Value),
    /// As `Update`, through `/status`.
    UpdateStatus(Value),
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

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}
