//! `RestartAllContainers`: a container ends with a code for which its rules have the whole pod start
//! over, in the same sandbox and with the same volumes.
//!
//! Whatever runs is killed; once nothing does, a new era begins. What ran in an earlier one is as what
//! ran in an earlier sandbox, only that all of it runs again, whatever its policy.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::events::Note;
use super::observed::{Observed, StopStage};
use super::spec::{self, Role, RuleAction};
use super::step::Step;

/// Its condition, reason and message while containers are being ended.
pub(super) const CONDITION: &str = "AllContainersRestarting";
pub(super) const STARTED: &str = "RestartAllContainersStarted";
pub(super) const WHY: &str = "container exited with restart policy rule";

/// Reason and message of containers that were killed for it.
const KILLED: (&str, &str) =
    ("RestartingAllContainers", "The container is removed because RestartAllContainers in place");

/// Whether the pod is to start over: one of its containers has ended in this era with such a code,
/// and not because it was told to.
pub(super) fn is_due(pod: &Pod, seen: &Observed) -> bool {
    spec::all_containers(pod).any(|(_, container)| {
        let ended = seen.current_here(&container.name).filter(|it| it.stopping.is_none());
        let exit = ended.and_then(|instance| instance.exit.as_ref());
        exit.is_some_and(|it| spec::rule_for(container, it.code) == Some(RuleAction::RestartAll))
    })
}

/// What is to be done first: to kill what runs; then to begin the new era.
pub(super) fn steps(pod: &Pod, seen: &Observed, steps: &mut Vec<Step>) {
    let mut any_running = false;
    for (name, _, instance) in seen.running() {
        let role = spec::find_container(pod, name).map_or(Role::App, |(role, _)| role);
        if role == Role::Ephemeral {
            continue;
        }
        any_running = true;
        let stage = instance.stopping.as_ref().map(|stopping| stopping.stage);
        if stage == Some(StopStage::Killed) {
            steps.extend(instance.survives_until().map(Step::LookAgain));
            continue;
        }
        let note = Note::normal("Killing", format!("Stopping container {name}"));
        steps.push(Step::Note(note.of(name, role)));
        steps.push(Step::KillContainer { container: name.clone(), id: instance.id.clone() });
    }
    if !any_running {
        steps.push(Step::StartOver);
    }
}

impl Observed {
    /// A new era begins: all containers run once more.
    pub fn starts_over(&mut self, pod: &Pod, now: Timestamp) {
        for (_, container) in spec::all_containers(pod) {
            let Some(seen) = self.containers.get_mut(&container.name) else { continue };
            let Some(current) = &mut seen.current else { continue };
            if current.era != self.era {
                continue;
            }
            let was_killed =
                current.stopping.as_ref().is_some_and(|it| it.stage == StopStage::Killed);
            if let Some(exit) = current.exit.as_mut().filter(|_| was_killed) {
                (exit.reason, exit.message) = (KILLED.0.to_owned(), KILLED.1.to_owned());
            }
            // What failed before has nothing to do with the next run.
            seen.failure = None;
        }
        self.era = self.era.saturating_add(1);
        self.try_again(now);
    }
}
