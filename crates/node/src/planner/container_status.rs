//! `status.containerStatuses` and `status.initContainerStatuses`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, Pod, VolumeMountStatus,
};

use super::observed::{ContainerSeen, Instance, Observed};
use super::restart::{fate, next_start};
use super::spec::{Role, api_time};
use super::{hooks, images, probes, resize, spec};

/// What all last words of a pod together may be long, as upstream's.
const MESSAGES_BYTES: usize = 12 << 10;

/// Scheme of the ids in `containerID`.
const ID_SCHEME: &str = "coracle://";

/// The statuses of the init containers, in the spec's order.
pub(crate) fn init_statuses(pod: &Pod, seen: &Observed, now: Timestamp) -> Vec<ContainerStatus> {
    let containers = spec::init_containers(pod);
    containers
        .iter()
        .map(|container| status_of(pod, container, spec::init_role(container), seen, now))
        .collect()
}

/// The statuses of the app containers, by name.
pub(crate) fn app_statuses(pod: &Pod, seen: &Observed, now: Timestamp) -> Vec<ContainerStatus> {
    let containers = spec::containers(pod);
    let mut statuses: Vec<_> = containers
        .iter()
        .map(|container| status_of(pod, container, Role::App, seen, now))
        .collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    statuses
}

/// The statuses of the ephemeral containers, in the spec's order.
pub(crate) fn ephemeral_statuses(
    pod: &Pod,
    seen: &Observed,
    now: Timestamp,
) -> Vec<ContainerStatus> {
    let containers = spec::ephemeral(pod).iter().map(spec::as_container);
    containers
        .map(|container| ContainerStatus {
            // Nobody is served by them.
            ready: false,
            started: None,
            ..status_of(pod, &container, Role::Ephemeral, seen, now)
        })
        .collect()
}

fn status_of(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
    now: Timestamp,
) -> ContainerStatus {
    let empty = ContainerSeen::default();
    let state = seen.containers.get(&container.name).map_or(&empty, |seen| &**seen);
    let current = state.current.as_ref();
    let running = current.is_some_and(Instance::is_running);
    let waiting = waiting(pod, container, role, seen, state, now);
    let ended = |instance: &Instance| terminated(pod, instance);
    let last = match &waiting {
        Some(_) => current.and_then(ended).or(state.previous.as_ref().and_then(ended)),
        None => state.previous.as_ref().and_then(ended),
    };
    let finished = || current.is_some_and(|it| it.exit.as_ref().is_some_and(|e| e.code == 0));
    let (started, ready) = match role {
        Role::Init => (running, finished()),
        _ => (
            running && probes::is_started(container, seen),
            running && probes::is_ready(container, seen, now),
        ),
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: current.map(|instance| instance.image_id.clone()).unwrap_or_default(),
        container_id: current.map(|instance| format!("{ID_SCHEME}{}", instance.id)),
        restart_count: current.map_or(0, |it| i32::try_from(it.attempt).unwrap_or(i32::MAX)),
        ready,
        started: Some(started),
        state: Some(waiting.unwrap_or_else(|| present_state(pod, current))),
        last_state: Some(ContainerState { terminated: last, ..ContainerState::default() }),
        ..ContainerStatus::default()
    };
    if current.is_some() {
        status.volume_mounts = mounts_of(container, seen.can_forbid_recursively);
    }
    if role != Role::Ephemeral {
        resize::shown(container, &mut status, seen);
    }
    status
}

/// What became of the container's mounts.
fn mounts_of(container: &Container, can_forbid: bool) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        let asked = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
        let forbids = can_forbid && asked != "Disabled";
        let mode = if forbids { "Enabled" } else { "Disabled" };
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| mode.to_owned()),
            ..VolumeMountStatus::default()
        }
    });
    Some(mounts.collect::<Vec<_>>()).filter(|mounts| !mounts.is_empty())
}

fn present_state(pod: &Pod, current: Option<&Instance>) -> ContainerState {
    match current {
        Some(instance) if instance.is_running() => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(api_time(instance.started_at)),
            }),
            ..ContainerState::default()
        },
        Some(instance) => {
            ContainerState { terminated: terminated(pod, instance), ..ContainerState::default() }
        }
        None => wait(initial_reason(pod), String::new()),
    }
}

fn initial_reason(pod: &Pod) -> &'static str {
    if spec::init_containers(pod).is_empty() { "ContainerCreating" } else { "PodInitializing" }
}

fn wait(reason: &str, message: String) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: Some(message).filter(|message| !message.is_empty()),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// The waiting state of a container that does not run and is to be started: what its start waits
/// for. `None` when it runs, has ended for good, or nothing is in its way.
fn waiting(
    pod: &Pod,
    container: &Container,
    role: Role,
    seen: &Observed,
    state: &ContainerSeen,
    now: Timestamp,
) -> Option<ContainerState> {
    let current = state.current.as_ref();
    if let Some(instance) = current.filter(|it| it.is_running()) {
        // As upstream, which looks at it again when its hook has ended.
        return (!hooks::is_up(container, instance)).then(|| match hooks::failure(instance) {
            Some(why) => wait("PostStartHookError", why.to_owned()),
            None => wait(initial_reason(pod), String::new()),
        });
    }
    if is_ending(pod, seen) || (role == Role::Sidecar && fate(pod, seen).is_some()) {
        return None;
    }
    let due = next_start(pod, container, role, seen)?.0;
    if seen.is_held() {
        let message = format!("an earlier pod {} is still ending on this node", spec::name(pod));
        return Some(wait(initial_reason(pod), message));
    }
    if let Some((image, failure)) = images::missing(pod, container, state, seen) {
        // The error itself is shown first; what follows is waiting for the next attempt.
        return Some(match failure.reason.as_str() {
            "ErrImagePull" if failure.failed_at < now => {
                let message = format!(
                    "Back-off pulling image \"{image}\": {}: {}",
                    failure.reason, failure.message
                );
                wait("ImagePullBackOff", message)
            }
            reason => wait(reason, failure.message.clone()),
        });
    }
    if let Some(failure) = &state.failure {
        return Some(wait(&failure.reason, failure.message.clone()));
    }
    let exit = current?.exit.as_ref()?;
    if due > now && exit.at < due {
        let seconds = current?.backoff_seconds;
        let delay = if seconds < 60 { format!("{seconds}s") } else { minutes(seconds) };
        let message = format!(
            "back-off {delay} restarting failed container={} pod={}",
            container.name,
            spec::full_name(pod)
        );
        return Some(wait("CrashLoopBackOff", message));
    }
    None
}

fn minutes(seconds: u32) -> String {
    format!("{}m{}s", seconds / 60, seconds % 60)
}

fn is_ending(pod: &Pod, seen: &Observed) -> bool {
    seen.gone
        || seen.eviction.is_some()
        || (pod.metadata.deletion_timestamp.is_some() && seen.sandbox.is_none())
}

/// The bytes that each container of the pod may leave as its last words.
fn message_bytes(pod: &Pod) -> usize {
    let count = spec::all_containers(pod).count().saturating_add(spec::ephemeral(pod).len());
    MESSAGES_BYTES.checked_div(count).unwrap_or(MESSAGES_BYTES)
}

fn terminated(pod: &Pod, instance: &Instance) -> Option<ContainerStateTerminated> {
    let exit = instance.exit.as_ref()?;
    let words = &exit.message[..exit.message.floor_char_boundary(message_bytes(pod))];
    Some(ContainerStateTerminated {
        container_id: Some(format!("{ID_SCHEME}{}", instance.id)),
        exit_code: exit.code,
        finished_at: Some(api_time(exit.at)),
        started_at: Some(api_time(instance.started_at)),
        reason: Some(exit.reason.clone()).filter(|reason| !reason.is_empty()),
        message: Some(words.to_owned()).filter(|message| !message.is_empty()),
        signal: exit.signal,
    })
}
