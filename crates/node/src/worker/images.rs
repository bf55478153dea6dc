//! The images of a pod's containers.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Secret};

use super::{Message, Worker};
use crate::images::{Credentials, ImageError};
use crate::planner::{Note, PullDecision, pull_decision, pull_policy};

impl Worker {
    /// Whether the container is one of the init containers, and its spec.
    pub(super) fn spec_of(&self, name: &str) -> Option<(bool, Container)> {
        let spec = self.pod.spec.as_ref()?;
        let init = spec.init_containers.iter().flatten().find(|it| it.name == name);
        let app = spec.containers.iter().find(|it| it.name == name);
        init.map(|it| (true, it.clone())).or_else(|| app.map(|it| (false, it.clone())))
    }

    pub(super) fn note_of(&self, container: &str, note: Note) {
        let init = self.spec_of(container).is_some_and(|(init, _)| init);
        self.note(note.of(container, init));
    }

    /// Finds the image for a start, or begins to pull it.
    pub(super) fn ensure_image(&mut self, name: &str, attempt: u32) {
        let Some((_, container)) = self.spec_of(name) else { return };
        let image = container.image.clone().unwrap_or_default();
        let present = match self.context.images.find(&image) {
            Ok(found) => found.is_some(),
            Err(error @ ImageError::InvalidName { .. }) => {
                let message = format!("Failed to apply default image tag \"{image}\": {error}");
                self.note_of(name, Note::warning("InspectFailed", message.as_str()));
                return self.no_image(name, "InvalidImageName", message);
            }
            Err(error) => return self.no_image(name, "ImageInspectError", error.to_string()),
        };
        match pull_decision(pull_policy(&container), present) {
            PullDecision::Use => {
                let message = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                self.note_of(name, Note::normal("Pulled", message));
                self.seen.image_ready(name, attempt);
            }
            PullDecision::Refuse => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                self.note_of(name, Note::warning("ErrImageNeverPull", message.as_str()));
                self.no_image(name, "ErrImageNeverPull", message);
            }
            PullDecision::Pull => self.pull(name, attempt, image),
        }
    }

    fn no_image(&mut self, name: &str, reason: &'static str, message: String) {
        self.note_of(name, Note::warning("Failed", format!("Error: {reason}")));
        self.seen.image_failed(name, reason, message, self.context.client.now());
    }

    fn pull(&mut self, name: &str, attempt: u32, image: String) {
        self.note_of(name, Note::normal("Pulling", format!("Pulling image \"{image}\"")));
        self.seen.pull_started(name);
        let (store, outbox) = (self.context.images.clone(), self.outbox.clone());
        let (credentials, container) = (self.credentials(), name.to_owned());
        self.context.tasks.spawn(async move {
            let begun = Instant::now();
            let pulled = store.pull(&image, &credentials, &|_| ()).await;
            let result = pulled
                .map(|image| (image.size, begun.elapsed()))
                .map_err(|error| error.to_string());
            // The pod may be gone by now.
            outbox.send(Message::Pulled { container, attempt, result }).unwrap_or_default();
        });
    }

    pub(super) fn pulled(
        &mut self,
        name: &str,
        attempt: u32,
        result: Result<(u64, Duration), String>,
    ) {
        let image = self.spec_of(name).and_then(|(_, it)| it.image).unwrap_or_default();
        match result {
            Ok((size, time)) => {
                let time = go_duration(time);
                let message = format!(
                    "Successfully pulled image \"{image}\" in {time} ({time} including waiting). Image size: {size} bytes."
                );
                self.note_of(name, Note::normal("Pulled", message));
                self.seen.image_ready(name, attempt);
            }
            Err(error) => {
                let message = format!("Failed to pull image \"{image}\": {error}");
                self.note_of(name, Note::warning("Failed", message));
                self.no_image(name, "ErrImagePull", error);
            }
        }
    }

    /// What the pod's pull secrets say.
    fn credentials(&self) -> Credentials {
        let mut credentials = Credentials::default();
        let snapshot = self.context.client.api.snapshot();
        let names = self.pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        for reference in names {
            let secret = snapshot.find("secrets", &self.id.namespace, &reference.name);
            let secret = secret.and_then(|object| object.view::<Secret>().ok());
            let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
            for (key, legacy) in [(".dockerconfigjson", false), (".dockercfg", true)] {
                if let Some(json) = data.and_then(|data| data.get(key))
                    && let Err(error) = credentials.add(&json.0, legacy)
                {
                    let (pod, secret) = (self.object.key(), &reference.name);
                    tracing::warn!(%pod, secret, %error, "a pull secret cannot be read");
                }
            }
        }
        credentials
    }
}

/// As Go prints it: `345ms`, `1.234s`, `2m3.4s`.
fn go_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds == 0 {
        return format!("{}ms", time.as_millis());
    }
    let fraction = format!("{:.3}", f64::from(time.subsec_millis()) / 1000.0);
    let fraction = fraction.trim_start_matches('0').trim_end_matches('0').trim_end_matches('.');
    match seconds / 60 {
        0 => format!("{seconds}{fraction}s"),
        minutes => format!("{minutes}m{}{fraction}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_as_in_go() {
        for (millis, text) in [(345, "345ms"), (1234, "1.234s"), (2000, "2s"), (123_400, "2m3.4s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
