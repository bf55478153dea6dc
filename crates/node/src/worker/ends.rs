//! What the end of an operation means for the pod.

use coracle_runtime::{Container, ContainerState, Sandbox};
use jiff::Timestamp;

use super::adopt::{exit_of, instance};
use super::message::{
    End, ImageFailure, MountFailure, Mounting, SandboxFailure, Signal, StartFailure, WriteFailure,
};
use super::{AGAIN, Turn, UnderWay, Worker, later};
use crate::planner::Note;
use crate::templates::Template;
use crate::worker::Effect;

impl Worker {
    /// Takes the end of what is under way in; another's end means nothing.
    pub(super) fn ended(&mut self, end: End, now: Timestamp, turn: &mut Turn) {
        let Some(under_way) = self.under_way.take() else { return };
        match (under_way, end) {
            (UnderWay::Mount(mounting), End::Mounted(result)) => {
                self.mounted(mounting, result, now, turn);
            }
            (UnderWay::Mount(mounting), _) => {
                let message = "the mount was broken off".to_owned();
                self.mounted(mounting, Err(MountFailure { message, expected: false }), now, turn);
            }
            (UnderWay::CreateSandbox { number }, End::SandboxCreated(result)) => {
                self.sandbox_created(number, result, now, turn);
            }
            (UnderWay::AttachNetwork, End::Attached(result)) => match result {
                Ok(()) => self.seen.sandbox_attached(),
                Err(why) => self.no_sandbox(why, now, turn),
            },
            (UnderWay::Allocate(asked), End::Allocated(verdict)) => {
                self.allocated(*asked, verdict, now, turn);
            }
            (UnderWay::Resize(record), End::Resized(result)) => {
                self.resized(*record, result, now, turn);
            }
            (UnderWay::FindImage(wanted), End::ImageFound(result)) => match result {
                Ok(present) => self.image_found(wanted, present, now, turn),
                Err(ImageFailure { reason, message }) => {
                    if reason == "InvalidImageName" {
                        let note = Note::warning("InspectFailed", message.as_str());
                        self.note_for(&wanted, note, turn);
                    }
                    self.no_image(&wanted, reason, message, now, turn);
                }
            },
            (UnderWay::Start { container }, End::Started(result, trusted)) => match result {
                Ok(started) => self.started(&container, &started, trusted, now, turn),
                Err(failure) => self.not_started(&container, failure, now, turn),
            },
            (UnderWay::Signal { container, signal }, End::Signalled(answered)) => {
                match signal {
                    Signal::Stop(deadline) => self.seen.stopping(&container, deadline),
                    Signal::Kill => self.seen.killed(&container, now),
                }
                if !answered {
                    self.seen.sandbox_mute();
                }
            }
            (UnderWay::RemoveSandbox, End::SandboxRemoved(Ok(()))) => {
                self.netns = None;
                self.seen.sandbox_removed(now);
            }
            (UnderWay::Unmount, End::Unmounted(Ok(()))) => {
                self.tokens_at = None;
                self.seen.volumes_unmounted();
            }
            (UnderWay::WriteStatus(status), End::StatusWritten(result)) => match result {
                Ok(object) => {
                    let revision = object.revision();
                    self.replace(object);
                    let in_other_words = self.pod().status.as_ref() != Some(&*status);
                    self.written = in_other_words.then_some((*status, revision));
                }
                Err(WriteFailure::Outrun(Some(newest))) => self.changed(newest),
                Err(WriteFailure::Outrun(None)) => self.seen.gone = true,
                Err(WriteFailure::Refused) => self.api_again = Some(later(now, AGAIN)),
            },
            (UnderWay::DeletePod, End::Deleted(true)) => self.finished = true,
            (UnderWay::DeletePod | UnderWay::WriteStatus(_), _) => {
                self.api_again = Some(later(now, AGAIN));
            }
            _ => self.machine_again = Some(later(now, AGAIN)),
        }
    }

    fn mounted(
        &mut self,
        mounting: Mounting,
        result: Result<Option<Timestamp>, MountFailure>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        match result {
            Ok(tokens_at) => {
                self.tokens_at = tokens_at;
                self.seen.volumes_mounted();
            }
            // What runs does not suffer; what it is to see is still to come.
            Err(MountFailure { message, .. }) if mounting != Mounting::First => {
                self.note(Note::warning("FailedMount", message.as_str()), turn);
                self.seen.volumes_failed(message, now);
                self.stale = self.stale.max(Some(mounting));
            }
            Err(MountFailure { message, expected }) => {
                // A claim is bound while its first pod is on its way; only a second look says
                // that something is wrong.
                let first = self.seen.volumes_failure.is_none();
                if !(first && expected) {
                    self.note(Note::warning("FailedMount", message.as_str()), turn);
                }
                self.seen.volumes_failed(message, now);
            }
        }
    }

    fn sandbox_created(
        &mut self,
        number: u32,
        result: Result<Sandbox, SandboxFailure>,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        match result {
            Ok(sandbox) => self.own(&sandbox, number),
            Err(SandboxFailure::Lost) => {
                self.seen.sandbox_created(number, None, true);
                self.seen.sandbox_died(now);
            }
            Err(SandboxFailure::Refused(why)) => self.no_sandbox(why, now, turn),
        }
    }

    fn no_sandbox(&mut self, why: String, now: Timestamp, turn: &mut Turn) {
        let message = format!("Failed to create pod sandbox: {why}");
        self.note(Note::warning("FailedCreatePodSandBox", message), turn);
        self.seen.sandbox_failed(why, now);
    }

    fn started(
        &mut self,
        name: &str,
        started: &Container,
        trusted: bool,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        let mut next = instance(started, self.seen.sandbox_number, now);
        next.trusted = trusted || !self.is_controlled();
        self.seen.started(name, next);
        self.note_of(name, Note::normal("Created", "Container created"), turn);
        let note = match &started.state {
            ContainerState::Failed { error, .. } => {
                Note::warning("Failed", format!("Error: {error}"))
            }
            _ => Note::normal("Started", "Container started"),
        };
        self.note_of(name, note, turn);
        if let Some(exit) = exit_of(started, String::new(), now) {
            self.seen.exited(name, Some(&started.id), exit);
            self.judge_template(name, turn);
        }
    }

    pub(super) fn not_started(
        &mut self,
        name: &str,
        failure: StartFailure,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        match failure {
            StartFailure::Refused { reason, message } => {
                self.note_of(name, Note::warning("Failed", format!("Error: {message}")), turn);
                self.seen.start_failed(name, reason, message, now);
                turn.effects.push(Effect::Failed(Template::of(self.pod(), name)));
            }
            StartFailure::SandboxLost => self.seen.sandbox_died(now),
            StartFailure::Mute => self.seen.sandbox_mute(),
        }
    }
}
