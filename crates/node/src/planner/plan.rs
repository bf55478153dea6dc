//! The steps that bring a pod from what it is to what it should be.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::events::Note;
use super::observed::{Instance, Observed, after};
use super::probed::ProbeKind;
use super::probes;
use super::restart::{is_outdated, next_attempt, next_start};
use super::spec::{self, RestartPolicy, Role};
use super::status::{DEADLINE, deadline, is_past_deadline, phase_of};
use coracle_api::pods;

/// Seconds that a container of a pod which vanished from the API has at least.
const MINIMUM_GRACE_SECONDS: i64 = 2;

/// One thing to do. What came of it goes into the [`Observed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Put the pod's volumes in place.
    MountVolumes,
    /// Make the pod's namespaces.
    CreateSandbox {
        /// Which one it is, counted from 1.
        number: u32,
    },
    /// Join the pod's namespaces to the network, also if that may have been done before.
    AttachNetwork,
    /// Find or pull the image for a start.
    EnsureImage {
        /// Of this container.
        container: String,
        /// Number of the start it is for.
        attempt: u32,
    },
    /// Create a container and start it.
    StartContainer {
        /// Which one.
        container: String,
        /// What it is for.
        role: Role,
        /// `restartCount` of the instance.
        attempt: u32,
        /// For [`Instance::backoff_seconds`].
        backoff_seconds: u32,
    },
    /// Probe a running container.
    Probe {
        /// Which one.
        container: String,
        /// How.
        kind: ProbeKind,
    },
    /// Send the stop signal.
    StopContainer {
        /// Which one.
        container: String,
        /// The runtime's id of the instance.
        id: String,
        /// When SIGKILL follows.
        deadline: Timestamp,
    },
    /// Send SIGKILL.
    KillContainer {
        /// Which one.
        container: String,
        /// The runtime's id of the instance.
        id: String,
    },
    /// Remove what is left of the containers, the namespaces and the address.
    RemoveSandbox,
    /// Take the volumes away.
    UnmountVolumes,
    /// The pod's API object may go now: delete it with grace 0, if it has this UID.
    DeletePod {
        /// `metadata.uid`.
        uid: String,
    },
    /// Write an event; the same one is not written twice in a row.
    Note(Note),
    /// Ask again at this time even if nothing happens before.
    LookAgain(Timestamp),
}

/// Why a pod is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its API object is gone: nobody waits for it.
    Gone,
    /// Somebody deletes it.
    Deleted,
    /// `activeDeadlineSeconds` are over.
    Deadline,
    /// All its containers have ended for good.
    Over,
}

/// What must happen to the pod now. An empty plan, or one that only looks again later, means that
/// there is nothing to do but wait.
#[must_use]
pub fn plan(pod: &Pod, seen: &Observed, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    match ending(pod, seen, now) {
        Some(ending) => end(pod, seen, ending, now, &mut steps),
        None if seen.rejection.is_some() => {}
        None => {
            run(pod, seen, now, &mut steps);
            steps.extend(deadline(pod, seen).filter(|at| *at > now).map(Step::LookAgain));
        }
    }
    steps
}

fn ending(pod: &Pod, seen: &Observed, now: Timestamp) -> Option<Ending> {
    if seen.gone {
        Some(Ending::Gone)
    } else if pod.metadata.deletion_timestamp.is_some() {
        Some(Ending::Deleted)
    } else if seen.rejection.is_some() {
        None
    } else if is_past_deadline(pod, seen, now) {
        Some(Ending::Deadline)
    } else if is_over(pod, seen, now) {
        Some(Ending::Over)
    } else {
        None
    }
}

fn is_over(pod: &Pod, seen: &Observed, now: Timestamp) -> bool {
    pods::is_final(phase_of(pod, seen, now))
}

/// Stops what runs, then removes it; the API object goes last, when nothing of the pod is left
/// that a successor of the same name could meet.
fn end(pod: &Pod, seen: &Observed, ending: Ending, now: Timestamp, steps: &mut Vec<Step>) {
    let shown = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if ending == Ending::Deadline && !shown.is_some_and(pods::is_final) {
        steps.push(Step::Note(Note::normal(DEADLINE.0, DEADLINE.1)));
    }
    // What does not even hear SIGKILL ends with its sandbox.
    let stuck = seen.is_stuck(now);
    let mut any_running = false;
    for (name, _, instance) in seen.running().filter(|_| !stuck) {
        any_running = true;
        let deadline = end_deadline(pod, instance, ending, now);
        let message = format!("Stopping container {name}");
        stop(pod, name, instance, deadline, message, now, steps);
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
            begun(grace.max(MINIMUM_GRACE_SECONDS))
        }
        _ => begun(spec::grace_seconds(pod)),
    }
}

fn seconds_after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The next step in ending a running instance.
fn stop(
    pod: &Pod,
    name: &str,
    instance: &Instance,
    deadline: Timestamp,
    message: String,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    let (container, id) = (name.to_owned(), instance.id.clone());
    match &instance.stopping {
        None => {
            let role = spec::find_container(pod, name).map_or(Role::App, |(role, _)| role);
            steps.push(Step::Note(Note::normal("Killing", message).of(name, role)));
            steps.push(Step::StopContainer { container, id, deadline });
        }
        Some(stopping) if stopping.killed => {
            steps.extend(instance.survives_until().map(Step::LookAgain));
        }
        Some(stopping) => match deadline.min(stopping.deadline) {
            deadline if deadline <= now => steps.push(Step::KillContainer { container, id }),
            deadline => steps.push(Step::LookAgain(deadline)),
        },
    }
}

fn run(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    if seen.is_held() {
        return;
    }
    if !seen.volumes_ready {
        return retry(seen.volumes_failure.as_ref(), Step::MountVolumes, now, steps);
    }
    match &seen.sandbox {
        Some(sandbox) if sandbox.alive && !seen.is_stuck(now) => {
            if !sandbox.attached {
                return retry(seen.sandbox_failure.as_ref(), Step::AttachNetwork, now, steps);
            }
        }
        Some(_) => {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            steps.push(Step::Note(Note::normal("SandboxChanged", message)));
            return steps.push(Step::RemoveSandbox);
        }
        None => {
            let create = Step::CreateSandbox { number: seen.sandbox_number + 1 };
            return retry(seen.sandbox_failure.as_ref(), create, now, steps);
        }
    }
    if init(pod, seen, now, steps) {
        for container in spec::containers(pod) {
            keep(pod, container, seen, now, steps);
        }
    }
}

fn retry(
    failure: Option<&super::observed::Retry>,
    step: Step,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    match failure {
        Some(failure) if failure.at > now => steps.push(Step::LookAgain(failure.at)),
        _ => steps.push(step),
    }
}

/// Brings the init containers forward, one after the other; whether all have succeeded.
fn init(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) -> bool {
    for container in spec::init_containers(pod) {
        let exit = seen.current_here(&container.name).map(|instance| &instance.exit);
        match exit {
            Some(Some(exit)) if exit.code == 0 => continue,
            Some(None) => return false,
            _ => {}
        }
        start(pod, container, spec::init_role(container), seen, now, steps);
        return false;
    }
    true
}

/// Keeps one container as it should be, once the pod is initialized.
fn keep(pod: &Pod, container: &Container, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    match seen.current_here(&container.name) {
        Some(instance) if instance.is_running() => {
            if let Some((grace, message)) = unfit(pod, container, seen, instance) {
                let deadline = match &instance.stopping {
                    Some(stopping) => stopping.deadline,
                    None => seconds_after(now, grace),
                };
                stop(pod, &container.name, instance, deadline, message, now, steps);
            }
            if instance.stopping.is_none() {
                probe(container, &ProbeKind::ALL, seen, instance, now, steps);
                let proves = probes::proves_itself_at(container, instance);
                steps.extend(proves.filter(|at| *at > now).map(Step::LookAgain));
            }
        }
        _ => start(pod, container, Role::App, seen, now, steps),
    }
}

/// Why a running container must end, with the seconds it has for it.
fn unfit(
    pod: &Pod,
    container: &Container,
    seen: &Observed,
    instance: &Instance,
) -> Option<(i64, String)> {
    let name = &container.name;
    if is_outdated(container, instance) {
        let message = format!("Container {name} definition changed, will be restarted");
        return Some((spec::grace_seconds(pod), message));
    }
    let kind = probes::failed_for_good(container, seen)?;
    let which = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
    let again = match spec::restart_policy(pod) {
        RestartPolicy::Never => "",
        _ => ", will be restarted",
    };
    let message = format!("Container {name} failed {which} probe{again}");
    Some((probes::grace_after_failure(container, kind, pod), message))
}

fn probe(
    container: &Container,
    kinds: &[ProbeKind],
    seen: &Observed,
    instance: &Instance,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    for kind in kinds {
        match probes::due(container, *kind, seen, instance) {
            Some(due) if due <= now => {
                steps.push(Step::Probe { container: container.name.clone(), kind: *kind });
            }
            Some(due) => steps.push(Step::LookAgain(due)),
            None => {}
        }
    }
}

/// A pod that ends is still asked whether it serves, as Services send it what is under way.
fn readiness(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    for container in spec::containers(pod) {
        if let Some(instance) = seen.current(&container.name).filter(|it| it.is_running()) {
            probe(container, &[ProbeKind::Readiness], seen, instance, now, steps);
        }
    }
}

/// The next step in starting a container that does not run, if its policy wants it started.
fn start(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    let name = &container.name;
    let Some((due, backoff_seconds)) = next_start(pod, container, role, seen) else { return };
    if due > now {
        let message =
            format!("Back-off restarting failed container {name} in pod {}", spec::full_name(pod));
        steps.push(Step::Note(Note::warning("BackOff", message).of(name, role)));
        return steps.push(Step::LookAgain(due));
    }
    let attempt = next_attempt(name, seen);
    let state = seen.containers.get(name);
    if let Some(failure) = state.and_then(|state| state.failure.as_ref())
        && failure.retry_at > now
    {
        return steps.push(Step::LookAgain(failure.retry_at));
    }
    let image = state.map(|state| state.image.clone()).unwrap_or_default();
    if image.ready_for == Some(attempt) {
        let container = name.clone();
        return steps.push(Step::StartContainer { container, role, attempt, backoff_seconds });
    }
    match image.failure {
        _ if image.pulling => {}
        Some(failure) if failure.retry.at > now => {
            if failure.reason == "ErrImagePull" {
                let image = container.image.as_deref().unwrap_or_default();
                let note = Note::normal("BackOff", format!("Back-off pulling image \"{image}\""));
                steps.push(Step::Note(note.of(name, role)));
            }
            steps.push(Step::LookAgain(failure.retry.at));
        }
        _ => steps.push(Step::EnsureImage { container: name.clone(), attempt }),
    }
}
