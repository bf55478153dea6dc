//! What is to be done for a pod, one thing at a time.

use jiff::Timestamp;

use super::events::Note;
use super::hooked::HookKind;
use super::imaged::ImageFor;
use super::probed::ProbeKind;
use super::resized::Changes;
use super::spec::Role;

/// One thing to do. What came of it goes into the [`Observed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Put the pod's volumes in place.
    MountVolumes,
    /// Make the pod's namespaces.
    CreateSandbox {
        /// Which one it is, counted from 1.
        number: u32,
    },
    /// Join the pod's namespaces to the network, also if that may have been done before.
    AttachNetwork,
    /// Find or pull an image.
    EnsureImage(ImageFor),
    /// Create a container and start it.
    StartContainer {
        /// Which one.
        container: String,
        /// What it is for.
        role: Role,
        /// `restartCount` of the instance.
        attempt: u32,
        /// For [`Instance::backoff_seconds`].
        backoff_seconds: u32,
    },
    /// Ask whether the node has what the pod asks for now.
    Allocate,
    /// Make control groups what the pod was promised.
    Resize(Box<Changes>),
    /// Probe a running container.
    Probe {
        /// Which one.
        container: String,
        /// How.
        kind: ProbeKind,
    },
    /// Run a hook of a running container.
    RunHook {
        /// Which one.
        container: String,
        /// The runtime's id of the instance.
        id: String,
        /// Which hook.
        kind: HookKind,
        /// When SIGKILL follows, if the instance is to end.
        deadline: Option<Timestamp>,
    },
    /// The container is to end, and waits until others have ended.
    AwaitTurn {
        /// Which one.
        container: String,
        /// When it waits no longer.
        deadline: Timestamp,
    },
    /// Send the stop signal.
    StopContainer {
        /// Which one.
        container: String,
        /// The runtime's id of the instance.
        id: String,
        /// When SIGKILL follows.
        deadline: Timestamp,
    },
    /// Send SIGKILL.
    KillContainer {
        /// Which one.
        container: String,
        /// The runtime's id of the instance.
        id: String,
    },
    /// All containers have ended, and all of them are to run once more.
    StartOver,
    /// Remove what is left of the containers, the namespaces and the address.
    RemoveSandbox,
    /// Take the volumes away.
    UnmountVolumes,
    /// The pod's API object may go now: delete it with grace 0, if it has this UID.
    DeletePod {
        /// `metadata.uid`.
        uid: String,
    },
    /// Write an event; the same one is not written twice in a row.
    Note(Note),
    /// Ask again at this time even if nothing happens before.
    LookAgain(Timestamp),
}
