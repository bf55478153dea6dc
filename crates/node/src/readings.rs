//! What was measured of a node and its pods, and the forms in which a kubelet shows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::text::prometheus::{head, sample};
use coracle_api::{Timestamp, Usage};
use coracle_runtime::Used;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::evictions::own_limits::Written;
use crate::meter::Running;

/// What is known of a pod that runs.
pub(crate) struct Known {
    pub pod: Arc<Pod>,
    pub written: Written,
    pub containers: Vec<(Running, Used)>,
}

/// All of it, at one moment.
pub(crate) struct Measured {
    pub node: String,
    pub taken: Instant,
    pub at: Timestamp,
    pub all: Used,
    pub usage: Arc<Usage>,
    pub pods: Vec<Known>,
    /// Bytes of the disk: in all, and free.
    pub disk: (u64, u64),
    pub memory: (u64, u64),
}

/// What was measured last: without what is on the disk, and with it. Who asks within a second is shown
/// the same, so that many who ask cost no more than one.
#[derive(Default)]
pub(crate) struct Readings([Mutex<Option<Arc<Measured>>>; 2]);

impl Readings {
    /// The last one, with or without what is on the disk.
    pub fn of(&self, with_disk: bool) -> &Mutex<Option<Arc<Measured>>> {
        &self.0[usize::from(with_disk)]
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn sum(used: impl Iterator<Item = Used>) -> Used {
    used.fold(Used::default(), |sum, one| Used {
        cpu_time: sum.cpu_time.saturating_add(one.cpu_time),
        working_set: sum.working_set.saturating_add(one.working_set),
    })
}

impl Known {
    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    fn used(&self) -> Used {
        sum(self.containers.iter().map(|(_, used)| *used))
    }
}

impl Measured {
    fn cpu(&self, used: Used, rate: Option<u64>) -> Value {
        let mut cpu = json!({"time": self.at, "usageCoreNanoSeconds": nanos(used.cpu_time)});
        if let Some(rate) = rate {
            cpu["usageNanoCores"] = rate.into();
        }
        cpu
    }

    fn memory(&self, used: Used) -> Value {
        json!({"time": self.at, "workingSetBytes": used.working_set})
    }

    fn disk(&self, used: u64) -> Value {
        let (capacity, available) = self.disk;
        json!({
            "time": self.at, "availableBytes": available, "capacityBytes": capacity,
            "usedBytes": used,
        })
    }

    /// `stats/summary`, with what is measured here of upstream's `stats.v1alpha1.Summary`.
    pub fn summary(&self) -> Value {
        let rate = self.usage.nodes.get(&self.node).map(|node| node.used.nanocores);
        let mut memory = self.memory(self.all);
        memory["availableBytes"] = self.memory.1.into();
        let used = self.disk.0.saturating_sub(self.disk.1);
        json!({
            "node": {
                "nodeName": self.node,
                "cpu": self.cpu(self.all, rate),
                "memory": memory,
                "fs": self.disk(used),
                "runtime": {"imageFs": self.disk(used)},
            },
            "pods": self.pods.iter().map(|pod| self.pod(pod)).collect::<Vec<_>>(),
        })
    }

    fn pod(&self, pod: &Known) -> Value {
        let rates = self.usage.pods.get(pod.uid()).map(|pod| &pod.used);
        let rate = |name: &str| Some(rates?.get(name)?.nanocores);
        let containers = pod.containers.iter().map(|(one, used)| {
            json!({
                "name": one.name,
                "startTime": one.since,
                "cpu": self.cpu(*used, rate(&one.name)),
                "memory": self.memory(*used),
                "rootfs": self.disk(pod.written.containers.get(&one.name).copied().unwrap_or(0)),
            })
        });
        let volumes = pod.written.volumes.iter();
        let volumes = volumes.map(|(name, bytes)| json!({"name": name, "usedBytes": bytes}));
        let total = rates.map(|rates| rates.values().map(|amount| amount.nanocores).sum());
        let (name, namespace, uid) = (pod.name(), pod.namespace(), pod.uid());
        json!({
            "podRef": {"name": name, "namespace": namespace, "uid": uid},
            "startTime": pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref()),
            "containers": containers.collect::<Vec<_>>(),
            "cpu": self.cpu(pod.used(), total),
            "memory": self.memory(pod.used()),
            "volume": volumes.collect::<Vec<_>>(),
            "ephemeral-storage": self.disk(pod.written.bytes()),
        })
    }

    /// `metrics/resource`.
    pub fn resources(&self) -> String {
        let mut text = String::new();
        let at = Some(self.at);
        let pods = || {
            self.pods.iter().filter(|pod| !pod.containers.is_empty()).map(|pod| {
                let labels = vec![("namespace", pod.namespace()), ("pod", pod.name())];
                (labels, pod.used())
            })
        };
        let containers = || {
            self.pods.iter().flat_map(|pod| {
                pod.containers.iter().map(|(one, used)| {
                    let (namespace, name) = (pod.namespace(), pod.name());
                    let labels =
                        vec![("container", &*one.name), ("namespace", namespace), ("pod", name)];
                    (labels, *used)
                })
            })
        };
        let all: [(&str, Vec<_>); 3] = [
            ("container", containers().collect()),
            ("node", vec![(Vec::new(), self.all)]),
            ("pod", pods().collect()),
        ];
        for (what, rows) in all {
            let name = format!("{what}_cpu_usage_seconds_total");
            head(&mut text, &name, "counter", "Seconds of processors used.");
            for (labels, used) in &rows {
                sample(&mut text, &name, labels, used.cpu_time.as_secs_f64(), at);
            }
            let name = format!("{what}_memory_working_set_bytes");
            head(&mut text, &name, "gauge", "Bytes of memory in use.");
            for (labels, used) in &rows {
                sample(&mut text, &name, labels, used.working_set, at);
            }
        }
        let name = "container_start_time_seconds";
        head(&mut text, name, "gauge", "When it started, in seconds since 1970.");
        for pod in &self.pods {
            for (one, _) in &pod.containers {
                let (namespace, pod) = (pod.namespace(), pod.name());
                let labels = [("container", &*one.name), ("namespace", namespace), ("pod", pod)];
                sample(&mut text, name, &labels, one.since.as_second(), at);
            }
        }
        head(&mut text, "resource_scrape_error", "gauge", "1 if something was not measured.");
        sample(&mut text, "resource_scrape_error", &[], 0, None);
        text
    }

    /// `metrics/cadvisor`: of containers, and of pods as containers without a name.
    pub fn containers(&self) -> String {
        let mut rows = Vec::new();
        for pod in &self.pods {
            let labels = |container, id| {
                vec![
                    ("container", container),
                    ("id", id),
                    ("namespace", pod.namespace()),
                    ("pod", pod.name()),
                ]
            };
            rows.extend(
                pod.containers.iter().map(|(one, used)| (labels(&*one.name, &*one.id), *used)),
            );
            rows.push((labels("", pod.uid()), pod.used()));
        }
        let mut text = String::new();
        let at = Some(self.at);
        let name = "container_cpu_usage_seconds_total";
        head(&mut text, name, "counter", "Seconds of processors used.");
        for (labels, used) in &rows {
            sample(&mut text, name, labels, used.cpu_time.as_secs_f64(), at);
        }
        let name = "container_memory_working_set_bytes";
        head(&mut text, name, "gauge", "Bytes of memory in use.");
        for (labels, used) in &rows {
            sample(&mut text, name, labels, used.working_set, at);
        }
        head(&mut text, "machine_memory_bytes", "gauge", "Bytes of memory of the machine.");
        sample(&mut text, "machine_memory_bytes", &[], self.memory.0, None);
        text
    }
}
