//! Probes: when one is due, and what its results mean.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Probe};

use super::events::Note;
use super::hooks;
use super::observed::{Instance, Observed};
use super::probed::{Outcome, ProbeKind};
use super::retry::after;
use super::spec::{self, Role};
use super::step::Step;

fn period(probe: &Probe) -> SignedDuration {
    SignedDuration::from_secs(i64::from(probe.period_seconds.unwrap_or(10).max(1)))
}

fn threshold(configured: Option<i32>, default: i32) -> u32 {
    u32::try_from(configured.unwrap_or(default)).unwrap_or(1).max(1)
}

/// A server that is just starting is asked more often during the first period, so that it is
/// ready when it is ready, and not up to a period later. What is not there yet in that time counts
/// for nothing. Only where asking is cheap, and where nobody asked for a delay.
fn is_eager(kind: ProbeKind, probe: &Probe) -> bool {
    kind != ProbeKind::Liveness
        && probe.initial_delay_seconds.unwrap_or(0) == 0
        && (probe.http_get.is_some() || probe.tcp_socket.is_some())
}

const EAGER_STEP: SignedDuration = SignedDuration::from_millis(50);

fn in_first_period(probe: &Probe, instance: &Instance, time: Timestamp) -> bool {
    time.duration_since(instance.started_at) < period(probe)
}

/// When `kind` is due next; `None` when it is not wanted (no such probe, one under way, the
/// question is settled, or startup has not passed yet).
pub(crate) fn due(
    container: &Container,
    kind: ProbeKind,
    seen: &Observed,
    instance: &Instance,
) -> Option<Timestamp> {
    let probe = kind.of(container)?;
    let state = seen.containers.get(&container.name).and_then(|seen| seen.probes.get(&kind));
    let state = state.cloned().unwrap_or_default();
    let settled = match kind {
        ProbeKind::Startup => state.passed.is_some(),
        ProbeKind::Liveness => state.passed == Some(false),
        ProbeKind::Readiness => false,
    };
    if state.running || settled || (kind != ProbeKind::Startup && !is_started(container, seen)) {
        return None;
    }
    let Some(last) = state.last_run else {
        let delay = u32::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
        return Some(after(instance.started_at, delay));
    };
    let regular = last.checked_add(period(probe)).unwrap_or(Timestamp::MAX);
    if state.passed == Some(true)
        || !is_eager(kind, probe)
        || !in_first_period(probe, instance, last)
    {
        return Some(regular);
    }
    let elapsed = last.duration_since(instance.started_at);
    let soon = last.checked_add(elapsed.max(EAGER_STEP)).unwrap_or(Timestamp::MAX);
    let first_period = instance.started_at.checked_add(period(probe)).unwrap_or(Timestamp::MAX);
    Some(soon.min(first_period))
}

/// What of `kinds` is due now, or when it will be.
pub(crate) fn ask(
    container: &Container,
    kinds: &[ProbeKind],
    seen: &Observed,
    instance: &Instance,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    for kind in kinds {
        match due(container, *kind, seen, instance) {
            Some(due) if due <= now => {
                steps.push(Step::Probe { container: container.name.clone(), kind: *kind });
            }
            Some(due) => steps.push(Step::LookAgain(due)),
            None => {}
        }
    }
}

/// `started`, of one that runs: its `postStart` hook has ended and its startup probe has passed, as
/// far as it has them.
pub(crate) fn is_started(container: &Container, seen: &Observed) -> bool {
    passed(container, ProbeKind::Startup, seen).unwrap_or(container.startup_probe.is_none())
        && seen.current(&container.name).is_some_and(|it| hooks::is_up(container, it))
}

/// `started`, of one that may not run: of a sidecar the next init container waits for that.
pub(crate) fn has_started(container: &Container, seen: &Observed) -> bool {
    let runs = seen.current_here(&container.name).is_some_and(Instance::is_running);
    runs && is_started(container, seen)
}

/// `ready`: started, and the readiness probe passes. Without one the container has lived for a
/// second, or others of its template have: a program that ends at once serves nobody, and who
/// waits for Ready must not be told otherwise for an instant.
pub(crate) fn is_ready(container: &Container, seen: &Observed, now: Timestamp) -> bool {
    is_started(container, seen)
        && match container.readiness_probe {
            Some(_) => passed(container, ProbeKind::Readiness, seen) == Some(true),
            None => seen.current(&container.name).is_some_and(|instance| {
                instance.trusted || instance.lives_on_at().is_some_and(|at| at <= now)
            }),
        }
}

/// When a running container is Ready by having lived, if it is not so already for another reason.
pub(crate) fn proves_itself_at(container: &Container, instance: &Instance) -> Option<Timestamp> {
    let waits = container.readiness_probe.is_none() && !instance.trusted;
    instance.lives_on_at().filter(|_| waits)
}

/// The probe by which the current instance is to be restarted.
pub(crate) fn failed_for_good(container: &Container, seen: &Observed) -> Option<ProbeKind> {
    [ProbeKind::Liveness, ProbeKind::Startup]
        .into_iter()
        .find(|kind| kind.of(container).is_some() && passed(container, *kind, seen) == Some(false))
}

fn passed(container: &Container, kind: ProbeKind, seen: &Observed) -> Option<bool> {
    seen.containers.get(&container.name)?.probes.get(&kind)?.passed
}

impl Observed {
    /// A probe of the current instance begins.
    pub fn probe_started(&mut self, container: &str, kind: ProbeKind, now: Timestamp) {
        let state = self.container(container).probes.entry(kind).or_default();
        state.running = true;
        state.last_run = Some(now);
    }

    /// A probe of the instance `id` ended; the event to write about it. Results of an earlier
    /// instance, or of one that has ended, change nothing.
    pub fn probe_finished(
        &mut self,
        container: &Container,
        role: Role,
        kind: ProbeKind,
        id: &str,
        outcome: &Outcome,
    ) -> Option<Note> {
        let probe = kind.of(container)?;
        let seen = self.containers.get_mut(&container.name)?;
        let instance = seen.current.as_ref().filter(|current| current.id == id)?;
        let state = seen.probes.get_mut(&kind)?;
        state.running = false;
        if !instance.is_running() {
            return None;
        }
        let message = match outcome {
            Outcome::Success => {
                state.failures = 0;
                state.successes += 1;
                if state.successes >= threshold(probe.success_threshold, 1) {
                    state.passed = Some(true);
                }
                return None;
            }
            Outcome::Failure(output) => {
                let early = state.passed.is_none()
                    && is_eager(kind, probe)
                    && state.last_run.is_some_and(|run| in_first_period(probe, instance, run));
                if early {
                    return None;
                }
                state.successes = 0;
                state.failures += 1;
                if state.failures >= threshold(probe.failure_threshold, 3) {
                    state.passed = Some(false);
                }
                format!("{} probe failed: {output}", kind.title())
            }
            Outcome::Unknown(error) => {
                format!("{} probe errored and resulted in unknown state: {error}", kind.title())
            }
        };
        Some(Note::warning("Unhealthy", message).of(&container.name, role))
    }
}

/// Seconds between stop signal and SIGKILL for a container that failed `kind`.
pub(crate) fn grace_after_failure(
    container: &Container,
    kind: ProbeKind,
    pod: &k8s_openapi::api::core::v1::Pod,
) -> i64 {
    let own = kind.of(container).and_then(|probe| probe.termination_grace_period_seconds);
    own.unwrap_or_else(|| spec::grace_seconds(pod))
}
