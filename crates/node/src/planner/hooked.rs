//! What hooks there are, and how far they are.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

/// Which of a container's hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Right after the start, beside the program. Until it has ended well the container does not
    /// count as running; when it fails the container ends.
    PostStart,
    /// Before the stop signal, and within the same grace.
    PreStop,
}

/// How far a hook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookSeen {
    /// It is under way.
    Running,
    /// It has ended well.
    Done,
    /// It has failed, and how that showed.
    Failed(String),
}

impl HookKind {
    /// The container's hook of this kind.
    #[must_use]
    pub fn of(self, container: &Container) -> Option<&LifecycleHandler> {
        let hooks = container.lifecycle.as_ref()?;
        match self {
            Self::PostStart => hooks.post_start.as_ref(),
            Self::PreStop => hooks.pre_stop.as_ref(),
        }
    }

    /// Reason and message of the event about one that failed.
    pub(super) fn failure(self) -> (&'static str, &'static str) {
        match self {
            Self::PostStart => ("FailedPostStartHook", "PostStartHook failed"),
            Self::PreStop => ("FailedPreStopHook", "PreStopHook failed"),
        }
    }
}
