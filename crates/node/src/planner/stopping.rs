//! The end of a container: its `preStop` hook, its turn, the stop signal, SIGKILL, all within one
//! grace. And the end of a pod: of all its containers, the sidecars after the others.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::events::Note;
use super::hooked::HookKind;
use super::observed::{Instance, Observed, StopStage};
use super::probed::ProbeKind;
use super::probes;
use super::retry::after;
use super::spec::{self, Role};
use super::status::{DEADLINE, EVICTED, is_past_deadline, phase_of};
use super::step::Step;
use coracle_api::pods;

/// Seconds that a container has after its stop signal at least, whatever its hook or others took
/// of its grace; and one of a pod which vanished from the API.
pub(crate) const MINIMUM_GRACE_SECONDS: u8 = 2;

/// Seconds that a container has that the node takes off, as upstream's.
const EVICTION_GRACE_SECONDS: i64 = 1;

/// Why a pod is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its API object is gone: nobody waits for it.
    Gone,
    /// Somebody deletes it.
    Deleted,
    /// The node takes it off.
    Evicted,
    /// `activeDeadlineSeconds` are over.
    Deadline,
    /// All its containers have ended for good, but sidecars, which ask for no more than to end.
    Over,
}

/// An instance that is to end, and how.
pub(super) struct Doomed<'a> {
    pub name: &'a str,
    pub instance: &'a Instance,
    /// When SIGKILL is to follow.
    pub deadline: Timestamp,
    /// What the event says.
    pub message: String,
    /// Whether hooks are run.
    pub has_hooks: bool,
    /// Whether others must end first.
    pub waits: bool,
}

/// Why the pod is to end, if it is.
pub(super) fn ending(pod: &Pod, seen: &Observed, now: Timestamp) -> Option<Ending> {
    if seen.gone {
        Some(Ending::Gone)
    } else if pod.metadata.deletion_timestamp.is_some() {
        Some(Ending::Deleted)
    } else if seen.rejection.is_some() {
        None
    } else if seen.eviction.is_some() {
        Some(Ending::Evicted)
    } else if is_past_deadline(pod, seen, now) {
        Some(Ending::Deadline)
    } else if pods::is_final(phase_of(pod, seen, now)) {
        Some(Ending::Over)
    } else {
        None
    }
}

/// Stops what runs, then removes it; the API object goes last, when nothing of the pod is left
/// that a successor of the same name could meet.
pub(super) fn end(
    pod: &Pod,
    seen: &Observed,
    ending: Ending,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    let shown = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if ending == Ending::Deadline && !shown.is_some_and(pods::is_final) {
        steps.push(Step::Note(Note::normal(DEADLINE.0, DEADLINE.1)));
    }
    if let Some(eviction) = seen.eviction.as_ref().filter(|_| ending == Ending::Evicted)
        && !shown.is_some_and(pods::is_final)
    {
        steps.push(Step::Note(Note::warning(EVICTED, eviction.message.as_str())));
    }
    // What does not even hear SIGKILL ends with its sandbox.
    let stuck = seen.is_stuck(now);
    let mut any_running = false;
    for (name, _, instance) in seen.running().filter(|_| !stuck) {
        any_running = true;
        let doomed = Doomed {
            name,
            instance,
            deadline: end_deadline(pod, instance, ending, now),
            message: format!("Stopping container {name}"),
            has_hooks: ending != Ending::Gone,
            waits: ending != Ending::Gone && outlasts_others(pod, seen, name),
        };
        stop(pod, &doomed, now, steps);
    }
    if any_running {
        if ending == Ending::Deleted {
            readiness(pod, seen, now, steps);
        }
        return;
    }
    if seen.sandbox.is_some() {
        steps.push(Step::RemoveSandbox);
    } else if seen.has_volumes() {
        steps.push(Step::UnmountVolumes);
    } else if ending == Ending::Deleted {
        steps.push(Step::DeletePod { uid: spec::uid(pod).to_owned() });
    }
}

/// Whether a container must not end yet: a sidecar does so after all that it may serve, the app
/// containers and the sidecars that were started after it.
fn outlasts_others(pod: &Pod, seen: &Observed, name: &str) -> bool {
    let runs = |name: &str| seen.current(name).is_some_and(Instance::is_running);
    let sidecars = spec::init_containers(pod).iter();
    let mut later = sidecars.filter(|it| spec::init_role(it) == Role::Sidecar);
    if !later.any(|it| it.name == name) {
        return false;
    }
    later.chain(spec::containers(pod)).any(|other| runs(&other.name))
}

/// When SIGKILL follows. The API's deletion time is the request's, in whole seconds, plus the
/// grace: a second more gives no container less than it was promised.
fn end_deadline(pod: &Pod, instance: &Instance, ending: Ending, now: Timestamp) -> Timestamp {
    let begun = |seconds| match &instance.stopping {
        Some(stopping) => stopping.deadline,
        None => seconds_after(now, seconds),
    };
    match (ending, &pod.metadata.deletion_timestamp) {
        (Ending::Deleted, Some(time)) => {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            // A clock that was put back since must not make it longer.
            after(time.0, 1).min(begun(grace.saturating_add(1)))
        }
        (Ending::Gone, _) => {
            let grace = pod.metadata.deletion_grace_period_seconds;
            let grace = grace.unwrap_or_else(|| spec::grace_seconds(pod));
            begun(grace.max(MINIMUM_GRACE_SECONDS.into()))
        }
        (Ending::Evicted, _) => begun(EVICTION_GRACE_SECONDS),
        _ => begun(spec::grace_seconds(pod)),
    }
}

pub(super) fn seconds_after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The next step in ending a running instance.
pub(super) fn stop(pod: &Pod, doomed: &Doomed<'_>, now: Timestamp, steps: &mut Vec<Step>) {
    let (container, id) = (doomed.name.to_owned(), doomed.instance.id.clone());
    let Some(stopping) = &doomed.instance.stopping else {
        return begin(pod, doomed, now, steps);
    };
    // What little is left to it after a hook or after others is not cut by a shorter grace.
    let granted = seconds_after(now, MINIMUM_GRACE_SECONDS.into());
    let deadline = match stopping.stage {
        StopStage::Signalled if stopping.deadline <= granted => stopping.deadline,
        _ => doomed.deadline.min(stopping.deadline),
    };
    match stopping.stage {
        StopStage::Killed => {
            steps.extend(doomed.instance.survives_until().map(Step::LookAgain));
        }
        StopStage::Signalled if deadline <= now => {
            steps.push(Step::KillContainer { container, id });
        }
        StopStage::Signalled => steps.push(Step::LookAgain(deadline)),
        StopStage::Hook if deadline > now => steps.push(Step::LookAgain(deadline)),
        StopStage::Turn if deadline > now && doomed.waits => {
            steps.push(Step::LookAgain(deadline));
        }
        StopStage::Hook | StopStage::Turn => {
            let deadline = deadline.max(granted);
            steps.push(Step::StopContainer { container, id, deadline });
        }
    }
}

/// Without any grace there is neither a hook nor an order.
fn begin(pod: &Pod, doomed: &Doomed<'_>, now: Timestamp, steps: &mut Vec<Step>) {
    let (container, id) = (doomed.name.to_owned(), doomed.instance.id.clone());
    let found = spec::find_container(pod, doomed.name);
    let role = found.as_ref().map_or(Role::App, |(role, _)| *role);
    steps.push(Step::Note(Note::normal("Killing", doomed.message.as_str()).of(&container, role)));
    let deadline = doomed.deadline;
    let kind = HookKind::PreStop;
    let has_hook = doomed.has_hooks && found.is_some_and(|(_, it)| kind.of(&it).is_some());
    if deadline > now && has_hook {
        steps.push(Step::RunHook { container, id, kind, deadline: Some(deadline) });
        steps.push(Step::LookAgain(deadline));
    } else if deadline > now && doomed.waits {
        steps.push(Step::AwaitTurn { container, deadline });
        steps.push(Step::LookAgain(deadline));
    } else {
        steps.push(Step::StopContainer { container, id, deadline });
    }
}

/// A pod that ends is still asked whether it serves, as Services send it what is under way.
fn readiness(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    for (_, container) in spec::serving_containers(pod) {
        if let Some(instance) = seen.current(&container.name).filter(|it| it.is_running()) {
            probes::ask(container, &[ProbeKind::Readiness], seen, instance, now, steps);
        }
    }
}
