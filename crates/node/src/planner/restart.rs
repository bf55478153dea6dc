//! Whether, when and as which one a container starts again.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::observed::{Instance, Observed};
use super::resize;
use super::spec::{self, RestartPolicy, Role, RuleAction};

/// Whether it runs from another image than its spec now says.
pub(crate) fn is_outdated(container: &Container, instance: &Instance) -> bool {
    container.image.as_deref().is_some_and(|image| image != instance.image)
}

/// Whether the container was stopped for another image: its policy does not matter then.
pub(crate) fn is_replaced(container: &Container, seen: &Observed) -> bool {
    seen.current_here(&container.name).is_some_and(|instance| {
        instance.stopping.is_some() && !instance.is_running() && is_outdated(container, instance)
    })
}

/// Whether the container was stopped to be resized: its policy does not matter then either.
fn is_resized(pod: &Pod, container: &Container, seen: &Observed) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && seen.current_here(&container.name).is_some_and(|instance| {
            instance.stopping.is_some() && resize::needs_restart(container, instance, seen)
        })
}

/// When a container that does not run is to be started, and with what back-off; `None` when its
/// policy does not want it started again. A container of a former sandbox is started again
/// unless it had done its work.
pub(crate) fn next_start(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
) -> Option<(Timestamp, u32)> {
    let instance = seen.current(&container.name);
    let Some((instance, exit)) = instance.and_then(|it| Some((it, it.exit.as_ref()?))) else {
        return Some((Timestamp::MIN, 0));
    };
    if instance.sandbox != seen.sandbox_number && role.goes_first() {
        return Some((Timestamp::MIN, 0));
    }
    if instance.era != seen.era && role != Role::Ephemeral {
        // Who has them all start over waits as it would for itself; the others do not.
        let rule = spec::rule_for(container, exit.code).filter(|_| instance.stopping.is_none());
        return Some(match rule {
            Some(RuleAction::RestartAll) => instance.next_start(exit),
            _ => (Timestamp::MIN, 0),
        });
    }
    if is_replaced(container, seen) {
        return Some(instance.next_start(exit));
    }
    if is_resized(pod, container, seen) {
        return Some(instance.afresh(exit));
    }
    let policy = spec::container_policy(pod, container, role);
    // What was told to end, and not with its pod, failed a probe or its hook: its code says nothing.
    let was_unfit = instance.stopping.is_some() && pod.metadata.deletion_timestamp.is_none();
    let restarts = match was_unfit {
        true => policy != RestartPolicy::Never,
        false => {
            spec::rule_for(container, exit.code).is_some() || spec::restarts(policy, exit.code)
        }
    };
    restarts.then(|| match is_outdated(container, instance) {
        // Whatever the other image did.
        true => instance.afresh(exit),
        false => instance.next_start(exit),
    })
}

/// `Succeeded` or `Failed` once all has ended for good but what only serves others; a pod whose
/// sidecars alone are left asks for nothing more.
pub(crate) fn fate(pod: &Pod, seen: &Observed) -> Option<&'static str> {
    let end = |container: &Container, role: Role| {
        let exit = seen.current(&container.name)?.exit.as_ref()?;
        next_start(pod, container, role, seen).is_none().then_some(exit.code)
    };
    let failed = |container: &Container| {
        let role = spec::init_role(container);
        role == Role::Init && end(container, role).is_some_and(|code| code != 0)
    };
    let apps = spec::containers(pod);
    let have_run = apps.iter().any(|app| seen.current_here(&app.name).is_some());
    if !have_run && spec::init_containers(pod).iter().any(failed) {
        return Some("Failed");
    }
    let codes: Option<Vec<i32>> = apps.iter().map(|app| end(app, Role::App)).collect();
    let all_did_well = codes?.iter().all(|code| *code == 0);
    Some(if all_did_well { "Succeeded" } else { "Failed" })
}

/// `restartCount` of the next instance.
pub(crate) fn next_attempt(name: &str, seen: &Observed) -> u32 {
    seen.current(name).map_or(0, |instance| instance.attempt + 1)
}
