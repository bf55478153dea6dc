//! What a kubelet serves of its own, to `nodes/proxy` and on the node's port: pods, what they use,
//! health.
//!
//! Nothing is measured while nobody asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use coracle_api::Status;
use coracle_api::resources::PODS;
use coracle_api::text::prometheus::{MEDIA_TYPE, head, sample};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::context::Context;
use crate::evictions::own_limits::Written;
use crate::meter::{APART_MIN, Running, Sample};
use crate::readings::{Known, Measured};
use crate::reserve;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Context {
    /// What is at `path`: its type, and itself.
    ///
    /// # Errors
    /// 404 for what is not there.
    pub async fn door(self: &Arc<Self>, path: &str) -> Result<(&'static str, Bytes), Status> {
        let json = |value: Value| Ok((JSON, Bytes::from(value.to_string())));
        match path.trim_matches('/') {
            "healthz" | "healthz/ping" | "healthz/log" | "healthz/syncloop" => {
                Ok((PLAIN, Bytes::from_static(b"ok")))
            }
            PODS => json(self.pod_list(|_| true)),
            "runningpods" => json(self.pod_list(|pod| pod["status"]["phase"] == "Running")),
            "configz" => json(json!({"kubeletconfig": {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "clusterDNS": [self.dns.address.to_string()],
                "clusterDomain": self.dns.domain,
                "maxPods": self.config.max_pods,
            }})),
            "stats/summary" => json(self.measured(true).await.summary()),
            "metrics" => Ok((MEDIA_TYPE, self.counted().into())),
            "metrics/resource" => Ok((MEDIA_TYPE, self.measured(false).await.resources().into())),
            "metrics/cadvisor" => Ok((MEDIA_TYPE, self.measured(false).await.containers().into())),
            _ => Err(Status::no_such_path()),
        }
    }

    fn pod_list(&self, is_meant: impl Fn(&Value) -> bool) -> Value {
        let snapshot = self.client.api.snapshot();
        let pods = self.pods(&snapshot).map(|pod| pod.value().clone()).filter(|pod| is_meant(pod));
        let items: Vec<Value> = pods.collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn counted(&self) -> String {
        let running = self.running();
        let pods: BTreeSet<_> = running.iter().map(|one| &one.pod).collect();
        let mut text = String::new();
        head(&mut text, "kubelet_running_pods", "gauge", "Pods that run.");
        sample(&mut text, "kubelet_running_pods", &[], pods.len(), None);
        head(&mut text, "kubelet_running_containers", "gauge", "Containers, by their state.");
        let state = [("container_state", "running")];
        sample(&mut text, "kubelet_running_containers", &state, running.len(), None);
        text
    }

    /// What runs now; what it has on the disk only if asked to.
    async fn measured(self: &Arc<Self>, with_disk: bool) -> Arc<Measured> {
        let mut last = self.readings.of(with_disk).lock().await;
        if let Some(measured) = &*last
            && measured.taken.elapsed() < APART_MIN
        {
            return Arc::clone(measured);
        }
        let measured = Arc::new(self.read_all(with_disk).await);
        *last = Some(Arc::clone(&measured));
        measured
    }

    async fn read_all(self: &Arc<Self>, with_disk: bool) -> Measured {
        let usage = self.usage().await;
        let mut running = self.running();
        let Sample { time, all, mut containers, .. } = self.sample(&running).await;
        let mut pods = Vec::new();
        for object in self.living() {
            let Ok(pod) = object.view::<Pod>() else { continue };
            let uid = &object.metadata().uid;
            let own: Vec<Running> = running.extract_if(.., |one| one.pod == *uid).collect();
            let known = own.into_iter().filter_map(|one| Some((containers.remove(&one.id)?, one)));
            let known = known.map(|(used, one)| (one, used)).collect();
            let written = if with_disk { self.written(&object).await } else { Written::default() };
            pods.push(Known { pod, written, containers: known });
        }
        let disk = rustix::fs::statvfs(&self.places.data).map_or((0, 0), |disk| {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            (bytes(disk.f_blocks), bytes(disk.f_bavail))
        });
        let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
        let available = reserve::meminfo("MemAvailable:");
        let memory = (bytes(reserve::memory_of_machine()), bytes(available));
        let node = self.config.name.clone();
        let taken = Instant::now();
        Measured { node, taken, at: time, all: all.unwrap_or_default(), usage, pods, disk, memory }
    }
}
