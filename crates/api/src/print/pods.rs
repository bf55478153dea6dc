//! Cells of pods: a pod's one-word status says the most that its containers' states tell.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{
    ago, condition, is_deleting, is_true, items, number, str_at, strings, text, text_or, time,
};
use crate::Quantity;
use crate::pods::AnyPod;

/// What the columns show of a pod.
struct Summary {
    ready: usize,
    total: usize,
    status: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// `READY/TOTAL` containers; sidecars count.
pub(crate) fn ready(pod: &Value, _: Timestamp) -> Value {
    let summary = summary(pod);
    format!("{}/{}", summary.ready, summary.total).into()
}

pub(crate) fn status(pod: &Value, _: Timestamp) -> Value {
    summary(pod).status.into()
}

/// `3`, or `3 (5m ago)`.
pub(crate) fn restarts(pod: &Value, now: Timestamp) -> Value {
    let Summary { restarts, last_restart, .. } = summary(pod);
    match last_restart {
        Some(last) if restarts != 0 => format!("{restarts} ({} ago)", ago(last, now)).into(),
        _ => restarts.to_string().into(),
    }
}

pub(crate) fn ip(pod: &Value, _: Timestamp) -> Value {
    text_or(pod, "/status/podIPs/0/ip", "<none>").into()
}

/// `TRUE/TOTAL` of the conditions that readiness also depends on.
pub(crate) fn readiness_gates(pod: &Value, _: Timestamp) -> Value {
    let gates: Vec<&str> = strings(pod, "/spec/readinessGates", "conditionType").collect();
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| condition(pod, gate)).count();
    format!("{open}/{}", gates.len()).into()
}

/// Rows of pods that have ended say so, so that clients can hide them.
pub(crate) fn add_conditions(row: &mut Value, pod: &Value) {
    let (reason, message) = match str_at(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return,
    };
    row["conditions"] =
        json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
}

fn summary(pod: &Value) -> Summary {
    let sidecars: Vec<&str> = items(pod, "/spec/initContainers")
        .iter()
        .filter(|container| container["restartPolicy"] == "Always")
        .map(|container| str_at(container, "/name"))
        .collect();
    let mut summary = Summary {
        ready: 0,
        total: items(pod, "/spec/containers").len() + sidecars.len(),
        status: first_status(pod),
        restarts: 0,
        last_restart: None,
    };
    let initializing = summary.look_at_init_containers(pod, &sidecars);
    if !initializing || condition(pod, "Initialized") {
        summary.restarts = 0;
        summary.last_restart = None;
        let statuses = items(pod, "/status/initContainerStatuses").iter();
        statuses
            .filter(|status| sidecars.contains(&str_at(status, "/name")))
            .for_each(|status| summary.count_restarts(status));
        summary.look_at_containers(pod);
    }
    if is_deleting(pod) {
        summary.say_that_it_goes(pod);
    }
    summary
}

/// What the pod says of itself, before its containers are looked at.
fn first_status(pod: &Value) -> String {
    let gated = items(pod, "/status/conditions").iter().any(|condition| {
        condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated"
    });
    if gated {
        return "SchedulingGated".into();
    }
    text_or(pod, "/status/reason", str_at(pod, "/status/phase"))
}

impl Summary {
    /// Whether the pod is still initializing: the first init container that is not done decides.
    fn look_at_init_containers(&mut self, pod: &Value, sidecars: &[&str]) -> bool {
        let total = items(pod, "/spec/initContainers").len();
        for (index, status) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
            self.count_restarts(status);
            let terminated = status.pointer("/state/terminated").filter(|state| !state.is_null());
            let is_sidecar = sidecars.contains(&str_at(status, "/name"));
            let waiting = str_at(status, "/state/waiting/reason");
            self.status = match terminated {
                Some(state) if number(state, "/exitCode") == 0 => continue,
                _ if is_sidecar && is_true(status, "/started") => {
                    self.ready += usize::from(is_true(status, "/ready"));
                    continue;
                }
                Some(state) => format!("Init:{}", end_of(state)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{total}"),
            };
            return true;
        }
        false
    }

    /// From the last container to the first, so that the first one's reason stands.
    fn look_at_containers(&mut self, pod: &Value) {
        let mut any_running = false;
        let mut failure = None;
        for status in items(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(status);
            let terminated = status.pointer("/state/terminated").filter(|state| !state.is_null());
            let waiting = str_at(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.status = waiting.to_string();
            } else if let Some(state) = terminated {
                self.status = end_of(state);
                if number(state, "/exitCode") != 0 {
                    failure = Some(self.status.clone());
                }
            } else if is_true(status, "/ready") && status.pointer("/state/running").is_some() {
                any_running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" {
            self.status = match failure {
                _ if any_running && condition(pod, "Ready") => "Running".into(),
                Some(failure) => failure,
                None if any_running => "NotReady".into(),
                None => "Completed".into(),
            };
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += number(status, "/restartCount");
        self.last_restart = self.last_restart.max(time(status, "/lastState/terminated/finishedAt"));
    }

    fn say_that_it_goes(&mut self, pod: &Value) {
        if str_at(pod, "/status/reason") == "NodeLost" {
            self.status = "Unknown".into();
        } else if !pod.has_ended() {
            self.status = "Terminating".into();
        }
    }
}

/// What the containers of a PodMetrics use together.
pub(crate) fn used_cpu(metrics: &Value, _: Timestamp) -> Value {
    used(metrics, "/usage/cpu")
}

pub(crate) fn used_memory(metrics: &Value, _: Timestamp) -> Value {
    used(metrics, "/usage/memory")
}

fn used(metrics: &Value, pointer: &str) -> Value {
    let containers = items(metrics, "/containers").iter();
    let amounts = containers.filter_map(|one| Quantity::parse(str_at(one, pointer)).ok());
    amounts.reduce(Quantity::plus).unwrap_or(Quantity::ZERO).to_string().into()
}

/// Why a container ended: its reason, else its signal or exit code.
fn end_of(terminated: &Value) -> String {
    let reason = text(terminated, "/reason");
    if !reason.is_empty() {
        return reason;
    }
    match number(terminated, "/signal") {
        0 => format!("ExitCode:{}", number(terminated, "/exitCode")),
        signal => format!("Signal:{signal}"),
    }
}
