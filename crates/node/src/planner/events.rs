//! Events that the node writes about a pod, in the kubelet's words.

use super::spec::Role;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventType {
    /// As written in the event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An event about a pod or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// Normal or warning.
    pub event_type: EventType,
    /// `Pulled`, `BackOff`…
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// `spec.containers{web}` when it is about a container, else empty.
    pub field_path: String,
}

impl Note {
    /// A normal event about the pod.
    #[must_use]
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { event_type: EventType::Normal, reason, message, field_path: String::new() }
    }

    /// A warning about the pod.
    #[must_use]
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { event_type: EventType::Warning, ..Self::normal(reason, message) }
    }

    /// The same about one container.
    #[must_use]
    pub fn of(mut self, container: &str, role: Role) -> Self {
        self.field_path = format!("spec.{}{{{container}}}", role.list());
        self
    }
}
