//! A pod's status, from what was observed of it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};

use super::conditions::{conditions, has_initialized};
use super::container_status::{app_statuses, ephemeral_statuses, init_statuses};
use super::observed::{Instance, Observed, Rejection};
use super::restart::{fate, next_start};
use super::spec::{self, Role};
use coracle_api::pods;

/// Reason and message of the end by `activeDeadlineSeconds`.
pub(super) const DEADLINE: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

/// Reason of the end of a pod that the node takes off.
pub(super) const EVICTED: &str = "Evicted";

/// The status that the pod should show. What others wrote (conditions of readiness gates, the
/// nominated node…) stays; a pod that has ended stays ended.
#[must_use]
pub fn status(pod: &Pod, seen: &Observed, now: Timestamp) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    let started = status.start_time.as_ref().map(|time| time.0).or(seen.accepted_at);
    status.start_time = Some(spec::api_time(started.unwrap_or(now)));
    status.observed_generation = pod.metadata.generation;
    if status.phase.as_deref().is_some_and(pods::is_final) && seen.running().next().is_none() {
        return status;
    }
    if let Some(rejection) = &seen.rejection {
        return rejected(status, rejection);
    }
    let init = init_statuses(pod, seen, now);
    let app = app_statuses(pod, seen, now);
    let phase = phase(pod, seen, &init, &app, now);
    let phase = shown(pod, seen, phase);
    status.conditions = Some(conditions(pod, seen, phase, &init, &app, now));
    status.phase = Some(phase.to_owned());
    if let Some(eviction) = seen.eviction.as_ref().filter(|_| phase == "Failed") {
        status.reason = Some(EVICTED.to_owned());
        status.message = Some(eviction.message.clone());
    } else if outlived_deadline(pod, seen, now) && phase == "Failed" {
        status.reason = Some(DEADLINE.0.to_owned());
        status.message = Some(DEADLINE.1.to_owned());
    }
    status.init_container_statuses = Some(init).filter(|statuses| !statuses.is_empty());
    status.container_statuses = Some(app);
    let ephemeral = ephemeral_statuses(pod, seen, now);
    status.ephemeral_container_statuses = Some(ephemeral).filter(|all| !all.is_empty());
    addresses(&mut status, seen);
    status
}

fn addresses(status: &mut PodStatus, seen: &Observed) {
    if let Some(ip) = seen.host_ip {
        status.host_ip = Some(ip.to_string());
        status.host_ips = Some(vec![HostIP { ip: ip.to_string() }]);
    }
    if let Some(ip) = seen.sandbox.as_ref().and_then(|sandbox| sandbox.ip) {
        status.pod_ip = Some(ip.to_string());
        status.pod_ips = Some(vec![PodIP { ip: ip.to_string() }]);
    }
}

/// The status of a pod that the node does not run: the API keeps who it was, not what it had.
fn rejected(mut status: PodStatus, rejection: &Rejection) -> PodStatus {
    status.phase = Some("Failed".to_owned());
    status.reason = Some(rejection.reason.clone());
    status.message = Some(format!("Pod was rejected: {}", rejection.message));
    status
}

/// When `activeDeadlineSeconds` are over.
pub(crate) fn deadline(pod: &Pod, seen: &Observed) -> Option<Timestamp> {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let started = started.map(|time| time.0).or(seen.accepted_at)?;
    let seconds = spec::spec(pod).active_deadline_seconds?;
    started.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Whether they are.
pub(crate) fn is_past_deadline(pod: &Pod, seen: &Observed, now: Timestamp) -> bool {
    deadline(pod, seen).is_some_and(|deadline| deadline <= now)
}

/// Whether something of the pod ran, or had yet to run, when they were.
fn outlived_deadline(pod: &Pod, seen: &Observed, now: Timestamp) -> bool {
    let Some(deadline) = deadline(pod, seen).filter(|deadline| *deadline <= now) else {
        return false;
    };
    let ended = |instance: &Instance| instance.exit.as_ref().is_some_and(|it| it.at < deadline);
    !spec::containers(pod).iter().all(|container| {
        seen.current(&container.name).is_some_and(ended)
            && next_start(pod, container, Role::App, seen).is_none()
    })
}

/// The phase by itself, for the planner.
pub(crate) fn phase_of(pod: &Pod, seen: &Observed, now: Timestamp) -> &'static str {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Failed",
        _ => {
            let (init, app) = (init_statuses(pod, seen, now), app_statuses(pod, seen, now));
            phase(pod, seen, &init, &app, now)
        }
    }
}

/// What the containers make of the phase, also while those still run that are only to end.
fn phase(
    pod: &Pod,
    seen: &Observed,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    now: Timestamp,
) -> &'static str {
    let at_rest = seen.running().next().is_none();
    if at_rest && (seen.eviction.is_some() || outlived_deadline(pod, seen, now)) {
        // However its containers took the signal that they were sent for it.
        return "Failed";
    }
    if pod.metadata.deletion_timestamp.is_some() && at_rest && was_torn_down(seen) {
        let succeeded = app.iter().all(|status| end(status) == Some(0));
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    if let Some(fate) = fate(pod, seen) {
        return fate;
    }
    let is_initialized = has_initialized(pod, init) || app_ran(seen, app);
    if !is_initialized || app.iter().any(has_never_run) { "Pending" } else { "Running" }
}

/// A terminal phase is not shown while anything runs.
fn shown(pod: &Pod, seen: &Observed, phase: &'static str) -> &'static str {
    let runs = seen.running().next().is_some();
    let before = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match before {
        _ if !runs || !pods::is_final(phase) => phase,
        Some("Running") => "Running",
        _ => "Pending",
    }
}

/// The code with which a container has ended, if it does not run; one that waits for its next start
/// counts by how it ended the last time.
fn end(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last.filter(|_| state.waiting.is_some()));
    ended.map(|end| end.exit_code)
}

fn has_never_run(status: &ContainerStatus) -> bool {
    let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
    !runs && end(status).is_none()
}

/// Nothing runs and nothing will: the sandbox was removed, or there never was one.
fn was_torn_down(seen: &Observed) -> bool {
    seen.sandbox.is_none()
}

fn app_ran(seen: &Observed, app: &[ContainerStatus]) -> bool {
    app.iter().any(|status| seen.current_here(&status.name).is_some())
}
