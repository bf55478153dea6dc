//! What is known of the images that a pod needs.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ImageVolumeSource, Pod};

use super::events::Note;
use super::retry::Retry;
use super::spec::{self, PullPolicy, Role};

/// What an image is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFor {
    /// A start of a container: its name, and the number of the start.
    Container(String, u32),
    /// A volume: its name, and the number of the sandbox that it is for.
    Volume(String, u32),
}

/// An image that something needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSeen {
    /// The number of the start (or of the sandbox) for which it was found or pulled.
    pub ready_for: Option<u32>,
    /// A pull is under way.
    pub pulling: bool,
    /// The last attempt failed.
    pub failure: Option<ImageFailure>,
}

/// An image that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFailure {
    /// Which one.
    pub image: String,
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// When it failed.
    pub failed_at: Timestamp,
    /// When to try again, and after how long.
    pub retry: Retry,
}

impl ImageFor {
    /// The container that it is for.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container(name, _) => Some(name),
            Self::Volume(..) => None,
        }
    }

    /// The number of the start, or of the sandbox.
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Container(_, number) | Self::Volume(_, number) => *number,
        }
    }

    /// The image as the spec has it, and when it is pulled.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> Option<(String, PullPolicy)> {
        let (image, policy) = match self {
            Self::Container(name, _) => {
                let (_, container) = spec::find_container(pod, name)?;
                (container.image.clone(), spec::pull_policy(&container))
            }
            Self::Volume(name, _) => {
                let source = volume(pod, name)?;
                let policy = source.pull_policy.as_deref();
                (source.reference.clone(), spec::pull_policy_of(policy))
            }
        };
        Some((image.unwrap_or_default(), policy))
    }

    /// The event, about what it is for.
    #[must_use]
    pub fn note(&self, pod: &Pod, note: Note) -> Note {
        match self.container() {
            Some(name) => {
                let role = spec::find_container(pod, name).map_or(Role::App, |(role, _)| role);
                note.of(name, role)
            }
            None => note,
        }
    }
}

/// The image that is the volume of this name.
pub(super) fn volume<'a>(pod: &'a Pod, name: &str) -> Option<&'a ImageVolumeSource> {
    let mut all = spec::spec(pod).volumes.iter().flatten();
    all.find(|volume| volume.name == name)?.image.as_ref()
}
