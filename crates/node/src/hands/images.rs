//! Images: looking for them here, and pulling them.

use std::time::Instant;

use coracle_api::resources::SECRETS;
use k8s_openapi::api::core::v1::Secret;

use super::Hands;
use crate::images::{Credentials, ImageError};
use crate::planner::{ImageFor, find_container};
use crate::stop::stop_signal;
use crate::worker::{ImageFailure, Message, Signal};

const SIGKILL: i32 = 9;

impl Hands {
    pub(super) fn find_image(&self, image: &str) -> Result<bool, ImageFailure> {
        match self.context.images.find(image) {
            Ok(found) => Ok(found.is_some()),
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
        let credentials = self.credentials();
        self.context.tasks.spawn(async move {
            let begun = Instant::now();
            let pulled = store.pull(&image, &credentials, &|_| ()).await;
            let result = pulled
                .map(|image| (image.size, begun.elapsed()))
                .map_err(|error| error.to_string());
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

    /// What the pod's pull secrets say.
    fn credentials(&self) -> Credentials {
        let mut credentials = Credentials::default();
        let snapshot = self.context.client.api.snapshot();
        let names = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        for reference in names {
            let secret = snapshot.find(SECRETS, &self.id.namespace, &reference.name);
            let secret = secret.and_then(|object| object.view::<Secret>().ok());
            let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
            for (key, legacy) in [(".dockerconfigjson", false), (".dockercfg", true)] {
                if let Some(json) = data.and_then(|data| data.get(key))
                    && let Err(error) = credentials.add(&json.0, legacy)
                {
                    let (pod, secret) = (&self.id.name, &reference.name);
                    tracing::warn!(pod, secret, %error, "a pull secret cannot be read");
                }
            }
        }
        credentials
    }
}
