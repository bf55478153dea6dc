//! The images that a pod needs: of its containers, and of its volumes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::events::Note;
use super::imaged::{ImageFailure, ImageFor, ImageSeen, volume};
use super::observed::{ContainerSeen, Observed};
use super::retry::{BACKOFF_SECONDS, retry};
use super::spec::Role;
use super::step::Step;

/// The volumes that the container mounts and that are images, with the images' names.
fn image_volumes<'a>(
    pod: &'a Pod,
    container: &'a Container,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.filter_map(|mount| {
        let source = volume(pod, &mount.name)?;
        Some((mount.name.as_str(), source.reference.as_deref().unwrap_or_default()))
    })
}

/// Why a container waits for an image, of its own or of a volume: with the image's name.
pub(super) fn missing<'a>(
    pod: &'a Pod,
    container: &'a Container,
    state: &'a ContainerSeen,
    seen: &'a Observed,
) -> Option<(&'a str, &'a ImageFailure)> {
    let own = container.image.as_deref().unwrap_or_default();
    let volumes = image_volumes(pod, container).filter_map(|(volume, image)| {
        Some((image, seen.volume_images.get(volume)?.failure.as_ref()?))
    });
    state.image.failure.as_ref().map(|failure| (own, failure)).into_iter().chain(volumes).next()
}

/// What a start of the container still needs of images; nothing when all of them are there.
pub(super) fn ensure(
    pod: &Pod,
    (container, role): (&Container, Role),
    attempt: u32,
    seen: &Observed,
    now: Timestamp,
) -> Option<Vec<Step>> {
    let name = &container.name;
    let own = seen.containers.get(name).map(|state| state.image.clone()).unwrap_or_default();
    let image = container.image.as_deref().unwrap_or_default();
    let wanted = ImageFor::Container(name.clone(), attempt);
    if let Some(steps) = ensure_one(wanted, image, &own, now) {
        return Some(steps.into_iter().map(|step| about(step, name, role)).collect());
    }
    image_volumes(pod, container).find_map(|(volume, image)| {
        let known = seen.volume_images.get(volume).cloned().unwrap_or_default();
        let wanted = ImageFor::Volume(volume.to_owned(), seen.sandbox_number);
        ensure_one(wanted, image, &known, now)
    })
}

fn about(step: Step, container: &str, role: Role) -> Step {
    match step {
        Step::Note(note) => Step::Note(note.of(container, role)),
        other => other,
    }
}

fn ensure_one(
    wanted: ImageFor,
    image: &str,
    seen: &ImageSeen,
    now: Timestamp,
) -> Option<Vec<Step>> {
    if seen.ready_for == Some(wanted.number()) {
        return None;
    }
    Some(match &seen.failure {
        _ if seen.pulling => Vec::new(),
        Some(failure) if failure.retry.at > now && failure.image == image => {
            let mut steps = Vec::new();
            if failure.reason == "ErrImagePull" {
                let note = Note::normal("BackOff", format!("Back-off pulling image \"{image}\""));
                steps.push(Step::Note(note));
            }
            steps.push(Step::LookAgain(failure.retry.at));
            steps
        }
        _ => vec![Step::EnsureImage(wanted)],
    })
}

impl Observed {
    fn image(&mut self, wanted: &ImageFor) -> &mut ImageSeen {
        match wanted {
            ImageFor::Container(name, _) => &mut self.container(name).image,
            ImageFor::Volume(name, _) => self.volume_images.entry(name.clone()).or_default(),
        }
    }

    /// The pull of an image has begun.
    pub fn pull_started(&mut self, wanted: &ImageFor) {
        self.image(wanted).pulling = true;
    }

    /// The image is there.
    pub fn image_ready(&mut self, wanted: &ImageFor) {
        let ready_for = Some(wanted.number());
        *self.image(wanted) = ImageSeen { ready_for, pulling: false, failure: None };
    }

    /// The image is not there.
    pub fn image_failed(
        &mut self,
        wanted: &ImageFor,
        name: String,
        reason: &str,
        message: String,
        now: Timestamp,
    ) {
        let image = self.image(wanted);
        let last = image.failure.as_ref().filter(|failure| failure.image == name);
        let last = last.map(|failure| &failure.retry);
        let retry = retry(last, BACKOFF_SECONDS, message.clone(), now);
        let failure =
            ImageFailure { image: name, reason: reason.to_owned(), message, failed_at: now, retry };
        *image = ImageSeen { ready_for: None, pulling: false, failure: Some(failure) };
    }
}
