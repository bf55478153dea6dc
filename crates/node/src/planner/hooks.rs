//! Lifecycle hooks: when one is due, and what its end means.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::events::Note;
use super::hooked::{HookKind, HookSeen};
use super::observed::{Instance, Observed, StopStage, Stopping};
use super::spec::Role;

/// Whether a running instance has its `postStart` hook, if any, behind it.
pub(crate) fn is_up(container: &Container, instance: &Instance) -> bool {
    HookKind::PostStart.of(container).is_none() || instance.post_start == Some(HookSeen::Done)
}

/// Whether its `postStart` hook is still to be run.
pub(crate) fn is_due(container: &Container, instance: &Instance) -> bool {
    HookKind::PostStart.of(container).is_some() && instance.post_start.is_none()
}

/// How its `postStart` hook failed.
pub(crate) fn failure(instance: &Instance) -> Option<&str> {
    match instance.post_start.as_ref()? {
        HookSeen::Failed(why) => Some(why),
        _ => None,
    }
}

impl Observed {
    /// A hook of the current instance begins; with one that precedes the stop signal, SIGKILL
    /// follows at `deadline`.
    pub fn hook_started(&mut self, container: &str, kind: HookKind, deadline: Option<Timestamp>) {
        let Some(instance) = &mut self.container(container).current else { return };
        match (kind, deadline) {
            (HookKind::PreStop, Some(deadline)) => {
                instance.stopping = Some(Stopping { deadline, stage: StopStage::Hook });
            }
            _ => instance.post_start = Some(HookSeen::Running),
        }
    }

    /// A hook of the instance `id` ended; the event to write about it. That of an earlier instance
    /// changes nothing.
    pub fn hook_finished(
        &mut self,
        container: &str,
        role: Role,
        kind: HookKind,
        id: &str,
        result: Result<(), String>,
    ) -> Option<Note> {
        let seen = self.containers.get_mut(container)?;
        let instance = seen.current.as_mut().filter(|current| current.id == id)?;
        let has_failed = result.is_err();
        match kind {
            HookKind::PostStart => {
                instance.post_start =
                    Some(result.map_or_else(HookSeen::Failed, |()| HookSeen::Done));
            }
            HookKind::PreStop => {
                let stopping = instance.stopping.as_mut();
                if let Some(stopping) = stopping.filter(|it| it.stage == StopStage::Hook) {
                    stopping.stage = StopStage::Turn;
                }
            }
        }
        let (reason, message) = kind.failure();
        has_failed.then(|| Note::warning(reason, message).of(container, role))
    }

    /// The current instance is to end, once others have; SIGKILL follows at `deadline`.
    pub fn awaits_turn(&mut self, container: &str, deadline: Timestamp) {
        if let Some(instance) = &mut self.container(container).current {
            instance.stopping = Some(Stopping { deadline, stage: StopStage::Turn });
        }
    }
}
