//! From two readings of counters to what is used in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::usage::{Amount, Measured};
use coracle_api::{Timestamp, Usage};
use coracle_runtime::Used;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Between two readings at least; what was measured is good for as long.
pub(crate) const APART_MIN: Duration = Duration::from_secs(1);

/// Remembers the last reading, and what came of it. Two who ask at once share one.
#[derive(Default)]
pub(crate) struct Meter {
    pub last: tokio::sync::Mutex<Option<(Sample, Arc<Usage>)>>,
}

/// All counters at one moment.
pub(crate) struct Sample {
    pub at: Instant,
    pub time: Timestamp,
    pub all: Option<Used>,
    /// By the containers' IDs.
    pub containers: BTreeMap<String, Used>,
}

/// A container that runs.
pub(crate) struct Running {
    /// UID of its pod.
    pub pod: String,
    pub name: String,
    pub id: String,
    pub since: Timestamp,
}

/// The containers of a pod that run for as long as it does.
pub(crate) fn running(pod: &Pod) -> Vec<Running> {
    let Some(status) = &pod.status else { return Vec::new() };
    if status.phase.as_deref() != Some("Running") {
        return Vec::new();
    }
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let goes_first: Vec<&str> = init
        .filter(|container| !coracle_api::pods::is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let one = |status: &ContainerStatus| {
        let running = status.state.as_ref()?.running.as_ref()?;
        let (_, id) = status.container_id.as_ref()?.split_once("://")?;
        let (pod, name, id) = (uid.clone(), status.name.clone(), id.to_owned());
        Some(Running { pod, name, id, since: running.started_at.as_ref()?.0 })
    };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let statuses = lists.into_iter().flatten().flatten();
    statuses.filter(|status| !goes_first.contains(&&*status.name)).filter_map(one).collect()
}

/// What is used between two samples. A container that began after the first is counted from its
/// start; one that has just begun is not known yet.
pub(crate) fn rates(node: &str, earlier: &Sample, later: &Sample, running: Vec<Running>) -> Usage {
    let apart = later.at.saturating_duration_since(earlier.at);
    let mut usage = Usage::default();
    if let (Some(before), Some(now)) = (earlier.all, later.all) {
        let (at, window) = (later.time, signed(apart));
        let used = amount(before.cpu_time, now, apart);
        usage.nodes.insert(node.to_owned(), Measured { at, window, used });
    }
    for container in running {
        let Some(now) = later.containers.get(&container.id) else { continue };
        let (before, over) = match earlier.containers.get(&container.id) {
            Some(before) => (before.cpu_time, apart),
            None => {
                let age = Duration::try_from(later.time.duration_since(container.since));
                (Duration::ZERO, age.unwrap_or_default())
            }
        };
        if over < APART_MIN {
            continue;
        }
        let window = signed(over);
        let pod = usage.pods.entry(container.pod).or_insert_with(|| Measured {
            at: later.time,
            window,
            used: BTreeMap::new(),
        });
        pod.window = pod.window.min(window);
        pod.used.insert(container.name, amount(before, *now, over));
    }
    usage
}

fn amount(before: Duration, now: Used, over: Duration) -> Amount {
    let nanos = now.cpu_time.saturating_sub(before).as_nanos();
    let rate = nanos.saturating_mul(1_000_000_000).checked_div(over.as_nanos()).unwrap_or(0);
    Amount { nanocores: u64::try_from(rate).unwrap_or(u64::MAX), bytes: now.working_set }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(millis: u64, bytes: u64) -> Used {
        Used { cpu_time: Duration::from_millis(millis), working_set: bytes }
    }

    fn container(name: &str, since: &str) -> Running {
        let since = since.parse().unwrap();
        Running { pod: "uid-1".into(), name: name.into(), id: format!("{name}-0"), since }
    }

    #[test]
    fn a_rate_is_what_was_used_in_between_or_since_the_start() {
        let start = Instant::now();
        let earlier = Sample {
            at: start,
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            all: Some(used(50_000, 0)),
            containers: [("old-0".to_owned(), used(1000, 10))].into(),
        };
        let later = Sample {
            at: start + Duration::from_secs(10),
            time: "2026-01-01T00:00:10Z".parse().unwrap(),
            all: Some(used(55_000, 77)),
            containers: [
                ("old-0".to_owned(), used(3500, 20)),
                ("new-0".to_owned(), used(1000, 30)),
                ("newest-0".to_owned(), used(5, 40)),
            ]
            .into(),
        };
        let running = vec![
            container("old", "2025-12-31T00:00:00Z"),
            container("new", "2026-01-01T00:00:06Z"),
            container("newest", "2026-01-01T00:00:10Z"),
            container("gone", "2025-12-31T00:00:00Z"),
        ];
        let usage = rates("node-1", &earlier, &later, running);
        let node = &usage.nodes["node-1"];
        assert_eq!(node.used, Amount { nanocores: 500_000_000, bytes: 77 });
        assert_eq!(node.window, SignedDuration::from_secs(10));
        let pod = &usage.pods["uid-1"];
        assert_eq!(pod.used["old"], Amount { nanocores: 250_000_000, bytes: 20 });
        assert_eq!(pod.used["new"], Amount { nanocores: 250_000_000, bytes: 30 });
        assert_eq!(pod.used.len(), 2, "{pod:?}");
        assert_eq!(pod.window, SignedDuration::from_secs(4));
    }

    #[test]
    fn only_containers_that_run_as_long_as_their_pod_are_looked_at() {
        let at = |id: &str| {
            json!({"name": id, "containerID": format!("coracle://{id}-0"), "image": "", "imageID": "",
                "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
        };
        let mut waiting = at("waits");
        waiting["state"] = json!({"waiting": {}});
        let mut pod = json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [], "initContainers": [
                {"name": "first"}, {"name": "side", "restartPolicy": "Always"},
            ]},
            "status": {
                "phase": "Running",
                "initContainerStatuses": [at("first"), at("side")],
                "containerStatuses": [at("app"), waiting],
            },
        });
        let names = |pod: &serde_json::Value| {
            let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
            running(&pod).into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        assert_eq!(names(&pod), ["side-0", "app-0"]);
        pod["status"]["phase"] = json!("Succeeded");
        assert!(names(&pod).is_empty());
    }

    #[test]
    fn no_time_and_counters_that_go_back_are_no_use() {
        assert_eq!(amount(Duration::ZERO, used(5, 1), Duration::ZERO).nanocores, 0);
        let back = amount(Duration::from_secs(9), used(5, 1), Duration::from_secs(1));
        assert_eq!(back, Amount { nanocores: 0, bytes: 1 });
    }
}
