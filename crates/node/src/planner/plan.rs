//! The steps that bring a pod from what it is to what it should be.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::events::Note;
use super::hooked::HookKind;
use super::hooks;
use super::images;
use super::observed::{Instance, Observed};
use super::probed::ProbeKind;
use super::probes;
use super::resize;
use super::restart::{is_outdated, next_attempt, next_start};
use super::restart_all;
use super::spec::{self, RestartPolicy, Role};
use super::status::deadline;
use super::step::Step;
use super::stopping::{Doomed, end, ending, seconds_after, stop};

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

fn run(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    if seen.is_held() {
        return;
    }
    resize::advance(pod, seen, now, steps);
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
    if restart_all::is_due(pod, seen) {
        return restart_all::steps(pod, seen, steps);
    }
    resize::act(pod, seen, now, steps);
    for container in spec::ephemeral(pod).iter().filter(|it| seen.current(&it.name).is_none()) {
        start(pod, &spec::as_container(container), Role::Ephemeral, seen, now, steps);
    }
    if init(pod, seen, now, steps) {
        let mut may_begin = true;
        for container in spec::containers(pod) {
            may_begin &= keep(pod, container, Role::App, seen, now, may_begin, steps);
        }
    }
}

fn retry(failure: Option<&super::retry::Retry>, step: Step, now: Timestamp, steps: &mut Vec<Step>) {
    match failure {
        Some(failure) if failure.at > now => steps.push(Step::LookAgain(failure.at)),
        _ => steps.push(step),
    }
}

/// Brings the init containers forward, one after the other; whether the app containers may begin.
/// Each but the last that has begun is behind the pod: sidecars among them are kept as app
/// containers are, and hold nobody up.
fn init(pod: &Pod, seen: &Observed, now: Timestamp, steps: &mut Vec<Step>) -> bool {
    let has_begun = |container: &Container| seen.current_here(&container.name).is_some();
    let list = spec::init_containers(pod);
    let reached = match spec::containers(pod).iter().any(has_begun) {
        true => list.len(),
        false => list.iter().rposition(has_begun).unwrap_or(0),
    };
    for (index, container) in list.iter().enumerate() {
        let is_behind = index < reached;
        let role = spec::init_role(container);
        if role == Role::Sidecar {
            keep(pod, container, role, seen, now, true, steps);
            if !is_behind && !probes::has_started(container, seen) {
                return false;
            }
            continue;
        }
        match seen.current_here(&container.name).map(|instance| &instance.exit) {
            _ if is_behind => continue,
            Some(Some(exit)) if exit.code == 0 => continue,
            Some(None) => return false,
            _ => {}
        }
        start(pod, container, role, seen, now, steps);
        return false;
    }
    true
}

/// Keeps one container as it should be, once it is its turn; whether those after it may begin.
fn keep(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
    now: Timestamp,
    may_begin: bool,
    steps: &mut Vec<Step>,
) -> bool {
    let instance = seen.current_here(&container.name).filter(|instance| instance.is_running());
    let Some(instance) = instance else {
        if may_begin {
            start(pod, container, role, seen, now, steps);
        }
        let begins = matches!(steps.last(), Some(Step::StartContainer { .. })) && may_begin;
        return !begins || HookKind::PostStart.of(container).is_none();
    };
    if let Some((grace, message)) = unfit(pod, container, role, seen, instance) {
        let deadline = match &instance.stopping {
            Some(stopping) => stopping.deadline,
            None => seconds_after(now, grace),
        };
        let name = &container.name;
        let doomed = Doomed { name, instance, deadline, message, has_hooks: true, waits: false };
        stop(pod, &doomed, now, steps);
    } else if hooks::is_due(container, instance) {
        let (container, id) = (container.name.clone(), instance.id.clone());
        steps.push(Step::RunHook { container, id, kind: HookKind::PostStart, deadline: None });
    } else if hooks::is_up(container, instance) {
        probes::ask(container, &ProbeKind::ALL, seen, instance, now, steps);
        let proves = probes::proves_itself_at(container, instance);
        steps.extend(proves.filter(|at| *at > now).map(Step::LookAgain));
    }
    hooks::is_up(container, instance)
}

/// Why a running container must end, with the seconds it has for it.
fn unfit(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
    instance: &Instance,
) -> Option<(i64, String)> {
    let name = &container.name;
    if is_outdated(container, instance) {
        let message = format!("Container {name} definition changed, will be restarted");
        return Some((spec::grace_seconds(pod), message));
    }
    if resize::needs_restart(container, instance, seen) {
        let message = format!("Container {name} resize requires restart");
        return Some((spec::grace_seconds(pod), message));
    }
    if hooks::failure(instance).is_some() {
        return Some((spec::grace_seconds(pod), "FailedPostStartHook".to_owned()));
    }
    let kind = probes::failed_for_good(container, seen)?;
    let which = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
    let message = match (role, spec::container_policy(pod, container, role)) {
        (Role::Sidecar, _) => format!("Init container {name} failed {which} probe"),
        (_, RestartPolicy::Never) => format!("Container {name} failed {which} probe"),
        _ => format!("Container {name} failed {which} probe, will be restarted"),
    };
    Some((probes::grace_after_failure(container, kind, pod), message))
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
    match images::ensure(pod, (container, role), attempt, seen, now) {
        Some(needs) => steps.extend(needs),
        None => {
            let container = name.clone();
            steps.push(Step::StartContainer { container, role, attempt, backoff_seconds });
        }
    }
}
