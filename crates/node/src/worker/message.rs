//! What a worker is told, and what it wants done.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Object;
use coracle_runtime::{Container, Resources, RuntimeEvent, Sandbox};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::ledger::Asking;
use crate::planner::{
    Changes, Eviction, HookKind, ImageFor, Note, Outcome, ProbeKind, Record, Verdict,
};
use crate::templates::Template;

/// What happens to a pod.
#[derive(Debug)]
pub enum Message {
    /// The API object changed.
    Changed(Arc<Object>),
    /// The API object is gone.
    Gone,
    /// Whether something of another pod of this name is left on the node.
    Predecessor(bool),
    /// Something happened to a container, with what it left as its last words, or to the sandbox.
    Runtime(RuntimeEvent, String),
    /// An object that pods refer to changed: resource and name; without a name, any of them may
    /// have changed.
    Referred(Arc<str>, Option<Arc<str>>),
    /// A pull ended: the image's size in bytes and the time it took, or why it failed.
    Pulled {
        /// What it was for.
        wanted: ImageFor,
        /// What came of it.
        result: Result<(u64, Duration), String>,
    },
    /// A probe ended.
    Probed {
        /// Of this container.
        container: String,
        /// Which.
        kind: ProbeKind,
        /// The runtime's id of the instance.
        id: String,
        /// What it found.
        outcome: Outcome,
    },
    /// A hook ended.
    Hooked {
        /// Of this container.
        container: String,
        /// Which.
        kind: HookKind,
        /// The runtime's id of the instance.
        id: String,
        /// Why it failed, in upstream's words.
        result: Result<(), String>,
    },
    /// There may be room for what the pod asks for.
    Room,
    /// It must leave the node.
    Evicted(Eviction),
    /// A container that was made from this template has lived long enough, here.
    Proved(Template),
    /// The operation that was under way has ended.
    Ended(End),
}

/// What a worker wants done.
#[derive(Debug)]
pub enum Effect {
    /// An operation: there is one at a time, and its end is [`Message::Ended`].
    Begin(Operation),
    /// Pull an image; ends as [`Message::Pulled`].
    Pull {
        /// What it is for.
        wanted: ImageFor,
        /// As the spec has it.
        image: String,
    },
    /// Probe a container; ends as [`Message::Probed`].
    Probe {
        /// Which container.
        container: String,
        /// Which probe.
        kind: ProbeKind,
        /// The runtime's id of the instance.
        id: String,
        /// The pod's address.
        ip: Option<Ipv4Addr>,
    },
    /// Run a container's hook; ends as [`Message::Hooked`].
    Hook {
        /// Which container.
        container: String,
        /// Which hook.
        kind: HookKind,
        /// The runtime's id of the instance.
        id: String,
        /// The pod's address.
        ip: Option<Ipv4Addr>,
    },
    /// Write an event about this version of the pod.
    Note(Arc<Object>, Note),
    /// A container made from this template lives on.
    Lived(Template),
    /// One made from this template has failed.
    Failed(Template),
}

/// One thing to do on the machine or with the API's object.
#[derive(Debug)]
pub enum Operation {
    /// Put the volumes in place.
    Mount(Mounting),
    /// Make the namespaces.
    CreateSandbox {
        /// Which one it is, counted from 1.
        number: u32,
        /// Limits of the pod's control group.
        group: Resources,
    },
    /// Ask the node's ledger, and remember what it promises before anything acts on it.
    Allocate(Box<Allocate>),
    /// Write control groups, if nothing uses more memory than it is to have; then remember that.
    Resize(Box<Changes>),
    /// Join them to the network.
    AttachNetwork {
        /// The pod's network namespace.
        netns: PathBuf,
        /// Its address.
        ip: Ipv4Addr,
    },
    /// Look for an image on this machine.
    FindImage {
        /// What it is for.
        wanted: ImageFor,
        /// As the spec has it.
        image: String,
    },
    /// Create and start a container.
    Start(Box<Start>),
    /// Tell a container to end.
    Signal {
        /// Which.
        container: String,
        /// The runtime's id of the instance.
        id: String,
        /// By which signal.
        signal: Signal,
    },
    /// Remove the namespaces, whatever is left in them, and the address.
    RemoveSandbox,
    /// Take the volumes away.
    Unmount,
    /// Write the status over this version of the pod.
    WriteStatus(Arc<Object>, Box<PodStatus>),
    /// Delete the API object, with no grace and if it is still this pod.
    DeletePod,
}

/// A question to the node's ledger.
#[derive(Debug)]
pub struct Allocate {
    /// What is asked.
    pub asking: Asking,
    /// What is to be remembered if it is promised.
    pub record: Record,
}

/// For which reason volumes are put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mounting {
    /// They are there; the files in them that are made from objects may have changed.
    Files,
    /// The pod ran before: what an earlier engine or the machine's end took is put back.
    Anew,
    /// The pod begins.
    First,
}

/// A start of a container.
#[derive(Debug)]
pub struct Start {
    /// Which one.
    pub container: String,
    /// `restartCount` of the instance.
    pub attempt: u32,
    /// The back-off that it carries.
    pub backoff_seconds: u32,
    /// How often the pod has started over.
    pub era: u32,
    /// The pod with its newest status, which the API may not have yet: variables are made from it.
    pub pod: Pod,
    /// The runtime's id of the instance before, if it was in the same sandbox: its root goes.
    pub last: Option<String>,
    /// Number of the instance before that: its log goes.
    pub former: Option<u32>,
    /// Which template it is made from.
    pub template: Template,
    /// The runtime's id of the instance whose processes it is to see.
    pub target: Option<String>,
}

/// How a container is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// With the signal that it, or its image, asks for; SIGKILL follows at the time.
    Stop(Timestamp),
    /// SIGKILL.
    Kill,
}

/// What came of an operation.
#[derive(Debug)]
pub enum End {
    /// Of [`Operation::Mount`]: when a token must be renewed.
    Mounted(Result<Option<Timestamp>, MountFailure>),
    /// Of [`Operation::CreateSandbox`].
    SandboxCreated(Result<Sandbox, SandboxFailure>),
    /// Of [`Operation::Allocate`].
    Allocated(Verdict),
    /// Of [`Operation::Resize`]: else why not.
    Resized(Result<(), String>),
    /// Of [`Operation::AttachNetwork`].
    Attached(Result<(), String>),
    /// Of [`Operation::FindImage`]: whether it is here; else reason and message.
    ImageFound(Result<bool, ImageFailure>),
    /// Of [`Operation::Start`]: the container, which may have failed to run its program; and
    /// whether its template has proved itself.
    Started(Result<Container, StartFailure>, bool),
    /// Of [`Operation::Signal`]: whether the runtime answered in time.
    Signalled(bool),
    /// Of [`Operation::RemoveSandbox`].
    SandboxRemoved(Result<(), String>),
    /// Of [`Operation::Unmount`].
    Unmounted(Result<(), String>),
    /// Of [`Operation::WriteStatus`].
    StatusWritten(Result<Arc<Object>, WriteFailure>),
    /// Of [`Operation::DeletePod`]: whether the object is gone, or is another pod by now.
    Deleted(bool),
    /// Nobody knows: whoever carried it out broke off.
    Broken,
}

/// Volumes that are not in place.
#[derive(Debug)]
pub struct MountFailure {
    /// The sentence.
    pub message: String,
    /// They will be, most probably, and in a moment.
    pub expected: bool,
}

/// A sandbox that was not made.
#[derive(Debug)]
pub enum SandboxFailure {
    /// What an earlier one left is in its place.
    Lost,
    /// Why.
    Refused(String),
}

/// An image that was not found out about.
#[derive(Debug)]
pub struct ImageFailure {
    /// `InvalidImageName`, `ImageInspectError`.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

/// A container that was not created.
#[derive(Debug)]
pub enum StartFailure {
    /// There is nothing to create it from, or the runtime refuses.
    Refused {
        /// `CreateContainerConfigError`, `CreateContainerError`.
        reason: &'static str,
        /// The sentence.
        message: String,
    },
    /// The sandbox is gone.
    SandboxLost,
    /// The sandbox did not answer in time.
    Mute,
}

/// A status that was not written.
#[derive(Debug)]
pub enum WriteFailure {
    /// The pod has changed: its newest version; `None` when it is gone.
    Outrun(Option<Arc<Object>>),
    /// The API refuses for another reason.
    Refused,
}
