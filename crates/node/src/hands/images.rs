//! Images: looking for them here, and pulling them.

use std::time::Instant;

use coracle_api::resources::{PODS, SECRETS};
use k8s_openapi::api::core::v1::{LocalObjectReference, Secret};

use super::Hands;
use crate::images::{Credentials, ImageError, SecretRef};
use crate::planner::{ImageFor, Note, find_container};
use crate::stop::stop_signal;
use crate::worker::{ImageFailure, Message, Signal};

const SIGKILL: i32 = 9;
/// Bytes of what a failed pull says: a registry's words and what is in its images may be of any length.
const WORDS_MAX: usize = 4096;

impl Hands {
    /// Whether the image is here, and the pod may have it.
    pub(super) fn find_image(&self, image: &str) -> Result<bool, ImageFailure> {
        match self.context.images.has_for(image, &self.credentials().0) {
            Ok(has) => Ok(has),
            Err(error @ ImageError::InvalidName { .. }) => {
                let message = format!("Failed to apply default image tag \"{image}\": {error}");
                Err(ImageFailure { reason: "InvalidImageName", message })
            }
            Err(error) => {
                let message = error.to_string();
                Err(ImageFailure { reason: "ImageInspectError", message })
            }
        }
    }

    /// Pulls an image beside whatever else is done.
    pub(super) fn pull(&self, wanted: ImageFor, image: String) {
        let (store, outbox) = (self.context.images.clone(), self.outbox.clone());
        let (credentials, missing) = self.credentials();
        self.tell_of_missing(&missing);
        self.context.tasks.spawn(async move {
            let begun = Instant::now();
            let pulled = store.pull(&image, &credentials, &|_| ()).await;
            let result = pulled.map(|image| (image.size, begun.elapsed())).map_err(|error| {
                let mut words = error.to_string();
                words.truncate(words.floor_char_boundary(WORDS_MAX));
                words
            });
            outbox.send(Message::Pulled { wanted, result });
        });
    }

    /// The number of a signal: a container, or its image, may ask for another one than SIGTERM.
    pub(super) fn signal_number(&self, container: &str, signal: Signal) -> i32 {
        match (signal, find_container(&self.pod, container)) {
            (Signal::Kill, _) => SIGKILL,
            (Signal::Stop(_), Some((_, spec))) => stop_signal(&spec, &self.context.images),
            (Signal::Stop(_), None) => stop_signal(&Default::default(), &self.context.images),
        }
    }

    /// What the pod's pull secrets say, and which of them are missing or say nothing that can be read.
    fn credentials(&self) -> (Credentials, Vec<String>) {
        let mut credentials = Credentials::default();
        let mut missing = Vec::new();
        let snapshot = self.context.client.api.snapshot();
        let names = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        for LocalObjectReference { name } in names {
            let secret = snapshot.find(SECRETS, &self.id.namespace, name);
            let Some(Ok(secret)) = secret.map(|object| object.view::<Secret>()) else {
                missing.push(name.clone());
                continue;
            };
            if let Err(error) = add(&mut credentials, &secret) {
                let pod = &self.id.name;
                tracing::warn!(pod, secret = name, error, "a pull secret cannot be read");
                missing.push(name.clone());
            }
        }
        (credentials, missing)
    }

    /// Says which pull secrets an image is pulled without.
    fn tell_of_missing(&self, secrets: &[String]) {
        let snapshot = self.context.client.api.snapshot();
        let pod = snapshot.find(PODS, &self.id.namespace, &self.id.name);
        if let Some(pod) = pod.filter(|_| !secrets.is_empty()) {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may \
                 not succeed.",
                secrets.join(", ")
            );
            let note = Note::warning("FailedToRetrieveImagePullSecret", message);
            self.context.client.record(pod, note);
        }
    }
}

/// Adds what a secret says, if it is of one of the types that pull secrets are of.
fn add(credentials: &mut Credentials, secret: &Secret) -> Result<(), String> {
    let (key, legacy) = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => (".dockerconfigjson", false),
        Some("kubernetes.io/dockercfg") => (".dockercfg", true),
        _ => return Ok(()),
    };
    let Some(json) = secret.data.as_ref().and_then(|data| data.get(key)) else { return Ok(()) };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let known = SecretRef {
        namespace: text(&secret.metadata.namespace),
        name: text(&secret.metadata.name),
        uid: text(&secret.metadata.uid),
    };
    credentials.add(&known, &json.0, legacy)
}
