//! What a decision is: writes, events, when to look again, and why nothing more happens.

use std::fmt;
use std::sync::Arc;

use coracle_api::{Call, Key, Object, Subresource, Timestamp};
use serde_json::Value;

use crate::memory::Memory;

/// The outcome of a decision: steps that the driver carries out in their order.
///
/// An empty plan means that the object is where it should be.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order. Each that succeeds stays, whatever becomes of those after it.
    pub steps: Vec<Step>,
    /// Objects that the decision rests on: a step is written only while all of them are as the
    /// snapshot showed them, but for what earlier steps changed. Otherwise the decision is asked
    /// for again.
    pub rests_on: Vec<Arc<Object>>,
    /// What users are told beside what the steps say, unless the decision is asked for again.
    pub notes: Vec<Note>,
    /// When to ask again even if nothing changes.
    pub look_again: Option<Timestamp>,
    /// Why nothing more happens.
    pub because: Option<Because>,
    /// What only the outside can say. Then nothing else is carried out: the decision is asked for
    /// again, with the answer in its context.
    pub asks: Option<Call>,
    /// What is remembered once the plan was carried out, or refused, unless a step that was written says
    /// otherwise; `None` leaves what is.
    pub remembers: Option<Memory>,
}

impl Plan {
    /// Each of `writes` as a step of its own.
    pub fn each(writes: impl IntoIterator<Item = Write>) -> Self {
        let steps = writes.into_iter().map(Step::of).collect();
        Self { steps, ..Self::default() }
    }

    /// One step.
    pub fn of(step: Step) -> Self {
        Self { steps: vec![step], ..Self::default() }
    }

    /// Asks to be asked again at `when`, or earlier when an earlier time was asked for before.
    pub fn look_again_at(&mut self, when: Timestamp) {
        self.look_again = Some(self.look_again.map_or(when, |earlier| earlier.min(when)));
    }

    /// Adds a step, unless nothing is in it.
    pub fn step(&mut self, step: Step) {
        if !step.writes.is_empty() || step.instead.is_some() {
            self.steps.push(step);
        }
    }

    /// Adds a step that is one write.
    pub fn write(&mut self, write: Write) {
        self.steps.push(Step::of(write));
    }

    /// Adds each of `writes` as a step of its own.
    pub fn write_each(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.steps.extend(writes.into_iter().map(Step::of));
    }

    /// What is remembered when the steps for which `is_written` holds were written, and the plan
    /// `is_over`: carried out or refused, and not to be decided anew.
    pub fn remembered(&self, is_written: &[bool], is_over: bool) -> Option<&Memory> {
        let written = self.steps.iter().zip(is_written).filter(|(_, is_written)| **is_written);
        let by_step = written.filter_map(|(step, _)| step.remembers.as_ref()).next_back();
        by_step.or_else(|| self.remembers.as_ref().filter(|_| is_over))
    }

    /// All writes, in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.steps.iter().flat_map(|step| &step.writes)
    }

    /// Whether nothing is to be written.
    pub fn writes_nothing(&self) -> bool {
        self.writes().next().is_none()
    }

    /// The first steps, as far as they have at most `most` writes together, but one at least. What
    /// is left out is decided anew at `now`.
    #[must_use]
    pub fn bounded(mut self, most: usize, now: Timestamp) -> Self {
        let mut writes = 0_usize;
        let fits = self.steps.iter().take_while(|step| {
            writes = writes.saturating_add(step.writes.len());
            writes <= most
        });
        let kept = fits.count().max(1);
        if self.steps.len() > kept {
            self.steps.truncate(kept);
            self.look_again_at(now);
        }
        self
    }
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// In this order, through admission, as one transaction.
    pub writes: Vec<Write>,
    /// What users are told when it has succeeded.
    pub notes: Vec<Note>,
    /// What users are told when admission refuses one of its writes.
    pub refusals: Vec<Refusal>,
    /// Whether it is left out once an earlier step was refused.
    pub needs_earlier: bool,
    /// What is written in place of `writes` once an earlier step was refused.
    pub instead: Option<Instead>,
    /// What is remembered once it is written, whatever becomes of the rest of the plan.
    pub remembers: Option<Memory>,
}

/// What is written in place of a step's own writes once an earlier step was refused.
#[derive(Clone, Debug)]
pub struct Instead {
    /// The write; `None` when everything is told already.
    pub write: Option<Write>,
    /// Where in the object the refusal's message goes, after what stands there: a JSON pointer, such
    /// as `/status/conditions/0/message`. `None` when the object tells of an earlier one.
    pub message_at: Option<String>,
}

impl Instead {
    /// The write, with what the refusal said.
    pub fn telling(&self, message: &str) -> Option<Write> {
        let mut write = self.write.clone()?;
        if let Write::Create(value) | Write::Update(value) | Write::UpdateSubresource(_, value) =
            &mut write
            && let Some(place) = self.message_at.as_ref().and_then(|at| value.pointer_mut(at))
        {
            *place = Value::from(format!("{}{message}", place.as_str().unwrap_or_default()));
        }
        Some(write)
    }
}

impl Step {
    /// A step that is one write.
    pub fn of(write: Write) -> Self {
        Self::together([write])
    }

    /// A step of several writes.
    pub fn together(writes: impl IntoIterator<Item = Write>) -> Self {
        Self { writes: writes.into_iter().collect(), ..Self::default() }
    }

    /// Adds what is said once it has succeeded.
    #[must_use]
    pub fn say(mut self, note: Note) -> Self {
        self.notes.push(note);
        self
    }

    /// The writes, once an earlier step was refused with this message.
    pub fn writes_after(&self, refusal: Option<&str>) -> Vec<Write> {
        match (&self.instead, refusal) {
            (Some(instead), Some(message)) => instead.telling(message).into_iter().collect(),
            _ => self.writes.clone(),
        }
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

/// One write of a step.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new object, with `apiVersion`, `kind` and `metadata`; refused when the name is taken.
    Create(Value),
    /// The whole object, with the `resourceVersion` that the decision saw.
    Update(Value),
    /// As `Update`, through a subresource: `status`, `finalize`.
    UpdateSubresource(Subresource, Value),
    /// As `UpdateSubresource`, of what has another kind than its object: a `Scale`.
    UpdateSubresourceOf {
        /// The object.
        key: Key,
        /// `scale`
        subresource: Subresource,
        /// What is sent, with the `resourceVersion` that the decision saw.
        body: Value,
    },
    /// What a subresource of an object takes: a `Binding` for `binding`.
    CreateSubresource {
        /// The object.
        key: Key,
        /// `binding`
        subresource: Subresource,
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
        Self::UpdateSubresource(Subresource::Status, object)
    }

    /// Writes whatever version of the object is there.
    pub fn forget_version(&mut self) {
        match self {
            Self::Update(value)
            | Self::UpdateSubresource(_, value)
            | Self::UpdateSubresourceOf { body: value, .. } => {
                if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                }
            }
            Self::Delete { resource_version, .. } => *resource_version = None,
            Self::Create(_) | Self::CreateSubresource { .. } => {}
        }
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

/// `create Pod web-0`
impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |value: &Value| value["kind"].as_str().unwrap_or_default().to_owned();
        let name =
            |value: &Value| value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match self {
            Self::Create(value) => write!(f, "create {} {}", kind(value), name(value)),
            Self::Update(value) => write!(f, "update {} {}", kind(value), name(value)),
            Self::UpdateSubresource(part, value) => {
                write!(f, "{} of {} {}", part.as_str(), kind(value), name(value))
            }
            Self::CreateSubresource { key, subresource, .. }
            | Self::UpdateSubresourceOf { key, subresource, .. } => {
                write!(f, "{} of {key}", subresource.as_str())
            }
            Self::Delete { key, .. } => write!(f, "delete {key}"),
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

/// What is said when one write of a step is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Index in [`Step::writes`].
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
