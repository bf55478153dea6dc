//! The images that a pod needs: whether one is pulled, and what is said of it.

use std::time::Duration;

use jiff::Timestamp;

use super::message::Effect;
use super::{Turn, Worker};
use crate::planner::{ImageFor, Note, PullDecision, pull_decision};

impl Worker {
    /// Whether an image that is needed is here: it is used, pulled, or missed.
    pub(super) fn image_found(
        &mut self,
        wanted: ImageFor,
        present: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let Some((image, policy)) = wanted.of(self.pod()) else { return };
        match pull_decision(policy, present) {
            PullDecision::Use => {
                let message = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                self.note_for(&wanted, Note::normal("Pulled", message), turn);
                self.seen.image_ready(&wanted);
            }
            PullDecision::Refuse => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                self.note_for(&wanted, Note::warning("ErrImageNeverPull", message.as_str()), turn);
                self.no_image(&wanted, "ErrImageNeverPull", message, now, turn);
            }
            PullDecision::Pull => {
                let message = format!("Pulling image \"{image}\"");
                self.note_for(&wanted, Note::normal("Pulling", message), turn);
                self.seen.pull_started(&wanted);
                turn.effects.push(Effect::Pull { wanted, image });
            }
        }
    }

    pub(super) fn no_image(
        &mut self,
        wanted: &ImageFor,
        reason: &'static str,
        message: String,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        self.note_for(wanted, Note::warning("Failed", format!("Error: {reason}")), turn);
        let image = wanted.of(self.pod()).map(|(image, _)| image).unwrap_or_default();
        self.seen.image_failed(wanted, image, reason, message, now);
    }

    pub(super) fn pulled(
        &mut self,
        wanted: &ImageFor,
        result: Result<(u64, Duration), String>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let image = wanted.of(self.pod()).map(|(image, _)| image).unwrap_or_default();
        match result {
            Ok((size, time)) => {
                let time = go_duration(time);
                let message = format!(
                    "Successfully pulled image \"{image}\" in {time} ({time} including waiting). Image size: {size} bytes."
                );
                self.note_for(wanted, Note::normal("Pulled", message), turn);
                self.seen.image_ready(wanted);
            }
            Err(error) => {
                let message = format!("Failed to pull image \"{image}\": {error}");
                self.note_for(wanted, Note::warning("Failed", message), turn);
                self.no_image(wanted, "ErrImagePull", error, now, turn);
            }
        }
    }

    pub(super) fn note_for(&self, wanted: &ImageFor, note: Note, turn: &mut Turn) {
        self.note(wanted.note(self.pod(), note), turn);
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
