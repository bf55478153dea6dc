//! The Node object and its lease: what the node is, and that it lives.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::conditions;
use coracle_api::resources::{LEASES, NODES};
use coracle_api::{Object, Status, Subresource, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::Client;
use crate::context::Context;
use crate::evictions::pressure::{DISK_PRESSURE, MEMORY_PRESSURE};
use crate::pods::fields::Allocatable;
use crate::reserve;

/// How often the lease is renewed, and how long it lasts.
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u32 = 40;
/// The pause before a status is written again that was refused: twice as long each time.
const AGAIN: Duration = Duration::from_millis(200);
/// Renewals between two looks at the whole status: five minutes.
const STATUS_EVERY: u32 = 30;
/// The Kubernetes release whose kubelet this is like.
pub(crate) const VERSION: &str = "v1.37.0";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// As many images as a node's status names.
const IMAGES_MAX: usize = 50;
/// A kubelet's port, on the node's address.
pub const KUBELET_PORT: u16 = 10250;

/// What the node has for pods.
pub(crate) fn allocatable(data: &Path) -> Allocatable {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let (disk, _) = disk_bytes(data);
    Allocatable {
        milli_cpu: i64::try_from(cores).unwrap_or(1) * 1000,
        memory: reserve::memory_for_pods(reserve::memory_of_machine()),
        ephemeral_storage: i64::try_from(disk).unwrap_or(i64::MAX),
    }
}

/// Bytes of the disk in all, and free.
fn disk_bytes(path: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(path) {
        Ok(found) => (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize),
        Err(_) => (0, 0),
    }
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Context {
    fn labels(&self) -> Value {
        json!({
            "beta.kubernetes.io/arch": architecture(),
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture(),
            "kubernetes.io/hostname": self.config.name,
            "kubernetes.io/os": "linux",
            "node-role.kubernetes.io/control-plane": "",
        })
    }

    fn new_node(&self) -> Value {
        let range = self.pod_cidr.to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.config.name,
                "labels": self.labels(),
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "spec": {"podCIDR": range, "podCIDRs": [range]},
        })
    }

    fn resources(&self, memory: i64) -> Value {
        let all = &self.allocatable;
        json!({
            "cpu": (all.milli_cpu / 1000).to_string(),
            "ephemeral-storage": format!("{}Ki", all.ephemeral_storage / 1024),
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": format!("{}Ki", memory / 1024),
            "pods": self.config.max_pods.to_string(),
        })
    }

    fn shown_images(&self) -> Value {
        let images = self.images.list().unwrap_or_else(|error| {
            tracing::warn!(%error, "the images cannot be listed");
            Vec::new()
        });
        let shown = images.iter().take(IMAGES_MAX).map(|image| {
            let names: Vec<_> = image.pulled_as.iter().chain(&image.names).collect();
            json!({"names": names, "sizeBytes": image.size})
        });
        shown.collect()
    }

    /// Whether images came or went since the Node was written, or others wrote of its resources.
    fn has_news(&self) -> bool {
        let snapshot = self.client.api.snapshot();
        let Some(node) = snapshot.find(NODES, "", &self.config.name) else { return false };
        let status = &node.value()["status"];
        let resources = with_foreign(self.resources(self.allocatable.memory), status);
        let pressure = self.pressure().conditions();
        let is_told = |name: &str| {
            let told = conditions::is_true(node.value(), name);
            told == pressure.contains(name)
        };
        status["allocatable"] != resources
            || status["images"] != self.shown_images()
            || ![DISK_PRESSURE, MEMORY_PRESSURE].into_iter().all(is_told)
    }

    fn status(&self, old: &Value, now: Timestamp) -> Value {
        json!({
            "addresses": [
                {"type": "InternalIP", "address": self.link.node_ip.to_string()},
                {"type": "Hostname", "address": self.config.name},
            ],
            "capacity": with_foreign(self.resources(reserve::memory_of_machine()), old),
            "allocatable": with_foreign(self.resources(self.allocatable.memory), old),
            "conditions": self.conditions(&old["conditions"], now),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "images": self.shown_images(),
            "runtimeHandlers": runtime_handlers(),
            "nodeInfo": {
                "architecture": architecture(),
                "bootID": line_of("/proc/sys/kernel/random/boot_id"),
                "containerRuntimeVersion": concat!("coracle://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": line_of("/proc/sys/kernel/osrelease"),
                "kubeProxyVersion": "",
                "kubeletVersion": VERSION,
                "machineID": line_of("/etc/machine-id"),
                "operatingSystem": "linux",
                "osImage": os_image(),
                "systemUUID": line_of("/sys/class/dmi/id/product_uuid"),
            },
        })
    }

    fn conditions(&self, old: &Value, now: Timestamp) -> Vec<Value> {
        let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
        let pressure = self.pressure().conditions();
        let low_disk = pressure.contains(DISK_PRESSURE);
        let low_memory = pressure.contains(MEMORY_PRESSURE);
        let pressure = |kind: &str, low: bool, word: &str, what: &str| {
            let (reason, message) = match low {
                true => {
                    (format!("KubeletHas{}", word.replace("No", "")), format!("kubelet has {what}"))
                }
                false => (format!("KubeletHas{word}"), format!("kubelet has {what}")),
            };
            (kind.to_owned(), low, reason, message)
        };
        let memory = if low_memory {
            pressure("MemoryPressure", true, "InsufficientMemory", "insufficient memory available")
        } else {
            pressure("MemoryPressure", false, "SufficientMemory", "sufficient memory available")
        };
        let disk = if low_disk {
            pressure("DiskPressure", true, "DiskPressure", "disk pressure")
        } else {
            pressure("DiskPressure", false, "NoDiskPressure", "no disk pressure")
        };
        let pids = pressure("PIDPressure", false, "SufficientPID", "sufficient PID available");
        let ready = (
            "Ready".to_owned(),
            true,
            "KubeletReady".to_owned(),
            "kubelet is posting ready status".to_owned(),
        );
        [memory, disk, pids, ready]
            .into_iter()
            .map(|(kind, is_true, reason, message)| {
                condition(old, (&kind, is_true), (&reason, &message), now)
            })
            .collect()
    }

    /// Makes the Node what it is now, but for what others wrote.
    async fn write_node(&self) -> Result<(), Status> {
        let snapshot = self.client.api.snapshot();
        let object = match snapshot.find(NODES, "", &self.config.name) {
            Some(object) => Arc::clone(object),
            None => self.client.create(NODES, self.new_node()).await?,
        };
        let status = self.status(&object.value()["status"], self.client.now());
        write_status(&self.client, &object, status).await
    }

    /// A sign of life; a Node that was deleted comes back at once.
    async fn beat(&self) -> Result<(), Status> {
        match self.is_known() {
            true => renew_lease(&self.client, &self.config.name).await,
            false => self.write_node().await,
        }
    }

    /// Whether the Node is there.
    fn is_known(&self) -> bool {
        self.client.api.snapshot().find(NODES, "", &self.config.name).is_some()
    }
}

/// A condition of a Node as its kubelet writes it, after those that it has.
pub(crate) fn condition(
    old: &[Value],
    (kind, is_true): (&str, bool),
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Value {
    let new = json!({
        "type": kind,
        "status": if is_true { "True" } else { "False" },
        "lastHeartbeatTime": seconds(now),
        "reason": reason,
        "message": message,
    });
    conditions::dated(old, new, &seconds(now))
}

/// Writes what a Node is now over its status, but for what others wrote there.
pub(crate) async fn write_status(
    client: &Client,
    node: &Object,
    status: Value,
) -> Result<(), Status> {
    let mut body = node.value().clone();
    match (body["status"].as_object_mut(), status) {
        (Some(old), Value::Object(new)) => old.extend(new),
        (_, new) => body["status"] = new,
    }
    client.update(NODES, Some(Subresource::Status), body).await.map(drop)
}

/// Renews the lease of the node, or makes it; nothing where the Node is gone.
pub(crate) async fn renew_lease(client: &Client, name: &str) -> Result<(), Status> {
    let snapshot = client.api.snapshot();
    let time = format!("{:.6}", client.now());
    let Some(node) = snapshot.find(NODES, "", name) else { return Ok(()) };
    if let Some(lease) = snapshot.find(LEASES, LEASE_NAMESPACE, name) {
        let mut body = lease.value().clone();
        body["spec"]["renewTime"] = time.into();
        return client.update(LEASES, None, body).await.map(drop);
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": LEASE_NAMESPACE,
            "ownerReferences":
                [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata().uid}],
        },
        "spec":
            {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": time},
    });
    client.create(LEASES, lease).await.map(drop)
}

/// The one runtime, as pods without a RuntimeClass and with one name it.
fn runtime_handlers() -> [Value; 2] {
    let features = json!({"recursiveReadOnlyMounts": coracle_runtime::can_forbid_recursively()});
    ["", "runc"].map(|name| json!({"name": name, "features": features}))
}

/// The node's own resources, and those that others have written into its capacity: what they say
/// there is, is there to be asked for.
fn with_foreign(own: Value, old: &Value) -> Value {
    let Value::Object(mut all) = own else { return own };
    for (name, amount) in old["capacity"].as_object().into_iter().flatten() {
        all.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    Value::Object(all)
}

fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// Keeps the Node and its lease, for ever; `told` becomes true when the Node is Ready. A webhook may
/// refuse the one, and the other is a sign of life all the same.
pub(crate) async fn run(context: Arc<Context>, told: watch::Sender<bool>) {
    tokio::join!(keep_node(&context, &told), keep_lease(&context, told.subscribe()));
}

async fn keep_node(context: &Context, told: &watch::Sender<bool>) {
    let (mut beats, mut pause) = (0u32, AGAIN);
    loop {
        if beats.is_multiple_of(STATUS_EVERY) || context.has_news() {
            match context.write_node().await {
                Ok(()) => drop(told.send_replace(true)),
                // A controller was faster.
                Err(error) if error.code == 409 => continue,
                Err(error) => {
                    tracing::warn!(%error, "the node's status is refused");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(RENEW);
                    continue;
                }
            }
        }
        (beats, pause) = (beats.wrapping_add(1), AGAIN);
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = context.pressure_changed.notified() => {}
        }
    }
}

async fn keep_lease(context: &Context, mut written: watch::Receiver<bool>) {
    loop {
        // A new Node has its lease as soon as it is there; one that was there goes on living.
        let is_there = context.is_known() || written.wait_for(|written| *written).await.is_ok();
        if is_there && let Err(error) = context.beat().await {
            tracing::warn!(%error, "the node's lease is refused");
        }
        tokio::time::sleep(RENEW).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_there_is_stays_and_the_nodes_own_is_its_own() {
        let old = json!({
            "capacity": {"cpu": "64", "example.com/dongle": "2"},
            "allocatable": {"example.com/gone": "1"},
        });
        let all = with_foreign(json!({"cpu": "2"}), &old);
        assert_eq!(all, json!({"cpu": "2", "example.com/dongle": "2"}));
        assert_eq!(with_foreign(json!({"cpu": "2"}), &Value::Null), json!({"cpu": "2"}));
    }
}
