//! What happens to containers without being asked for.

use tokio::sync::mpsc;

/// One thing that happened; the state is in [`crate::Containers::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container's first process ended.
    ContainerExited {
        /// The pod's UID.
        pod_uid: String,
        /// The container, with its final state.
        container: crate::Container,
    },
    /// A shim is gone and its containers with it; the sandbox is to be removed.
    SandboxLost {
        /// The pod's UID.
        pod_uid: String,
    },
}

/// Receives events; dropping it ends the subscription.
pub type EventReceiver = mpsc::UnboundedReceiver<RuntimeEvent>;

/// The other end of an [`EventReceiver`].
pub type EventSender = mpsc::UnboundedSender<RuntimeEvent>;
