//! `status.conditions` of a pod, with the kubelet's reasons and messages.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::Observed;
use super::retry::after;
use super::spec::{self, Role};
use super::{resize, restart_all};

/// The condition of a pod that goes for another reason than its own.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

struct Finding {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn yes(reason: &'static str) -> Self {
        Self { status: true, reason, message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { status: false, reason, message }
    }
}

/// The node's own conditions in the kubelet's order, then those of others as they were. A
/// condition that did not change its status keeps its transition time.
pub(crate) fn conditions(
    pod: &Pod,
    seen: &Observed,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    now: Timestamp,
) -> Vec<PodCondition> {
    let old = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let old = old.unwrap_or_default();
    let sandbox = match &seen.sandbox {
        Some(sandbox) if sandbox.alive => Finding::yes(""),
        _ => Finding::no("", String::new()),
    };
    let ours = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(pod, phase, init, app)),
        ("Ready", ready(pod, old, phase, init, app)),
        ("ContainersReady", containers_ready(pod, phase, init, app)),
        ("PodScheduled", Finding::yes("")),
    ];
    let mut all: Vec<PodCondition> = Vec::with_capacity(old.len().max(ours.len()));
    for (name, finding) in &ours {
        all.push(condition(pod, old, seen, name, finding, now));
    }
    let is_over = coracle_api::pods::is_final(phase);
    if !is_over {
        all.extend(resize::conditions(pod, seen, now));
    }
    let was_restarting = old.iter().any(|it| it.type_ == restart_all::CONDITION);
    let is_restarting = !is_over && restart_all::is_due(pod, seen);
    if is_restarting || was_restarting {
        let finding = match is_restarting {
            true => Finding {
                status: true,
                reason: restart_all::STARTED,
                message: restart_all::WHY.to_owned(),
            },
            false => Finding::no("", String::new()),
        };
        all.push(condition(pod, old, seen, restart_all::CONDITION, &finding, now));
    }
    let disruption = seen.eviction.as_ref().filter(|it| it.is_disrupted && phase == "Failed");
    if let Some(eviction) = disruption {
        let message = eviction.message.clone();
        let finding = Finding { status: true, reason: "TerminationByKubelet", message };
        all.push(condition(pod, old, seen, DISRUPTION_TARGET, &finding, now));
    }
    let is_ours = |name: &str| {
        let of_resize = [resize::PENDING, resize::IN_PROGRESS];
        of_resize.contains(&name)
            || name == restart_all::CONDITION
            || disruption.is_some() && name == DISRUPTION_TARGET
            || ours.iter().any(|(ours, _)| *ours == name)
    };
    let foreign = |condition: &&PodCondition| !is_ours(&condition.type_);
    all.extend(old.iter().filter(foreign).cloned());
    all
}

fn condition(
    pod: &Pod,
    old: &[PodCondition],
    seen: &Observed,
    name: &str,
    finding: &Finding,
    now: Timestamp,
) -> PodCondition {
    let status = if finding.status { "True" } else { "False" };
    let since = match old.iter().find(|it| it.type_ == name) {
        Some(known) if known.status == status => known.last_transition_time.clone(),
        Some(_) if name == "Ready" && !finding.status => Some(turned_back(pod, now)),
        Some(_) => None,
        // What never was has not been since the node took the pod on, however late that is told:
        // who reads it can tell a pod that was never Ready from one that was.
        None if !finding.status => seen.accepted_at.map(spec::api_time),
        None => None,
    };
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        last_probe_time: None,
        last_transition_time: Some(since.unwrap_or_else(|| spec::api_time(now))),
        reason: Some(finding.reason.to_owned()).filter(|reason| !reason.is_empty()),
        message: Some(finding.message.clone()).filter(|message| !message.is_empty()),
        observed_generation: pod.metadata.generation,
    }
}

/// When a pod that was Ready stopped being it: later than its start by the API's whole seconds, so
/// that nobody takes it for one that never was.
fn turned_back(pod: &Pod, now: Timestamp) -> Time {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let earliest = started.map_or(now, |started| after(started.0, 1));
    spec::api_time(now.max(earliest))
}

/// Whether all init containers have ended well, and the sidecars among them have started.
pub(super) fn has_initialized(pod: &Pod, init: &[ContainerStatus]) -> bool {
    init.iter().all(|status| is_behind(pod, status))
}

fn is_behind(pod: &Pod, status: &ContainerStatus) -> bool {
    match spec::find_container(pod, &status.name) {
        Some((Role::Sidecar, _)) => status.started == Some(true),
        _ => status.ready,
    }
}

fn initialized(
    pod: &Pod,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Finding {
    if phase == "Succeeded" {
        return Finding::yes("PodCompleted");
    }
    let ran = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    // Init containers are not asked again once an app container has started.
    let unfinished = names(init.iter().filter(|status| !is_behind(pod, status)));
    if unfinished.is_empty() || app.iter().any(ran) {
        return Finding::yes("");
    }
    Finding::no(
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{unfinished}]"),
    )
}

fn containers_ready(
    pod: &Pod,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Finding {
    match phase {
        "Succeeded" => return Finding::no("PodCompleted", String::new()),
        "Failed" => return Finding::no("PodFailed", String::new()),
        _ => {}
    }
    let is_unready = |name: &str| {
        let mut all = init.iter().chain(app);
        all.any(|status| status.name == name && !status.ready)
    };
    let serving = spec::serving_containers(pod).map(|(_, container)| container.name.as_str());
    let unready = serving.filter(|name| is_unready(name)).collect::<Vec<_>>().join(" ");
    if unready.is_empty() {
        return Finding::yes("");
    }
    Finding::no("ContainersNotReady", format!("containers with unready status: [{unready}]"))
}

fn ready(
    pod: &Pod,
    old: &[PodCondition],
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Finding {
    let containers = containers_ready(pod, phase, init, app);
    if !containers.status {
        return containers;
    }
    let gates = spec::spec(pod).readiness_gates.as_deref().unwrap_or_default();
    let closed: Vec<String> = gates
        .iter()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match old.iter().find(|condition| condition.type_ == *name) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate {name:?} does not exist."
                )),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate {name:?} is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if closed.is_empty() {
        return Finding::yes("");
    }
    Finding::no("ReadinessGatesNotReady", closed.join(", "))
}

fn names<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> String {
    statuses.map(|status| status.name.as_str()).collect::<Vec<_>>().join(" ")
}
