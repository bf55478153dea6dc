//! The objects of simulated nodes: which Nodes are some, what they show, and that they live.

use std::sync::Arc;

use coracle_api::resources::{NODES, PODS};
use coracle_api::{Object, Status, Timestamp, conditions};
use serde_json::{Value, json};

use crate::client::Client;
use crate::node_object::{VERSION, architecture, condition, renew_lease, write_status};

/// The annotation, and its value, that kwok's users give to Nodes without a machine.
const ANNOTATION: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// What the names of those begin with that `up` makes.
const PREFIX: &str = "simulated-";
/// What a simulated node has unless its object says otherwise: as much as kwok's.
const RESOURCES: [(&str, &str); 4] =
    [("cpu", "32"), ("ephemeral-storage", "256Gi"), ("memory", "256Gi"), (PODS, "110")];

/// Whether the Node has no machine.
pub(crate) fn is_simulated(node: &Object) -> bool {
    let (name, value) = ANNOTATION;
    node.metadata().annotations.get(name).is_some_and(|found| found == value)
}

/// Makes the simulated nodes `simulated-1` to `simulated-COUNT`, and removes those that are beyond.
///
/// # Errors
/// The first refusal.
pub(super) async fn set_count(client: &Client, count: u16) -> Result<(), Status> {
    let snapshot = client.api.snapshot();
    for number in 1..=count {
        let name = format!("{PREFIX}{number}");
        if snapshot.find(NODES, "", &name).is_none() {
            client.of_node(&name).create(NODES, new_node(&name)).await?;
        }
    }
    let number = |node: &Object| node.metadata().name.strip_prefix(PREFIX)?.parse::<u32>().ok();
    let beyond = |node: &&Arc<Object>| number(node).is_some_and(|number| number > count.into());
    for node in snapshot.list(NODES, None).filter(|node| is_simulated(node)).filter(beyond) {
        client.delete_node(&node.metadata().name).await?;
    }
    Ok(())
}

fn new_node(name: &str) -> Value {
    let (annotation, value) = ANNOTATION;
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {annotation: value},
            "labels": {
                "kubernetes.io/arch": architecture(),
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "type": "kwok",
            },
        },
    })
}

/// A sign of life: the Node is Ready, and its lease is renewed.
///
/// # Errors
/// Those of the API. A Node that is gone has none.
pub(super) async fn beat(client: &Client, name: &str, address: &str) -> Result<(), Status> {
    let snapshot = client.api.snapshot();
    let Some(node) = snapshot.find(NODES, "", name) else { return Ok(()) };
    if !conditions::is_true(node.value(), "Ready") || node.value()["status"]["nodeInfo"].is_null() {
        let status = status(&node.value()["status"], (name, address), client.now());
        write_status(client, node, status).await?;
    }
    renew_lease(client, name).await
}

fn status(old: &Value, (name, address): (&str, &str), now: Timestamp) -> Value {
    let resources = || RESOURCES.into_iter().collect::<std::collections::BTreeMap<_, _>>();
    let told = |field: &str| Some(old[field].clone()).filter(|told| told.is_object());
    let capacity = told("capacity").unwrap_or_else(|| json!(resources()));
    let allocatable = told("allocatable").unwrap_or_else(|| capacity.clone());
    json!({
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": name},
        ],
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": conditions_of(&old["conditions"], now),
        "nodeInfo": {
            "architecture": architecture(),
            "bootID": "",
            "containerRuntimeVersion": concat!("coracle-simulated://", env!("CARGO_PKG_VERSION")),
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "kubeletVersion": VERSION,
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "simulated",
            "systemUUID": "",
        },
    })
}

fn conditions_of(old: &Value, now: Timestamp) -> Vec<Value> {
    let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
    let all = [
        ("MemoryPressure", false, "KubeletHasSufficientMemory", "it is simulated"),
        ("DiskPressure", false, "KubeletHasNoDiskPressure", "it is simulated"),
        ("PIDPressure", false, "KubeletHasSufficientPID", "it is simulated"),
        ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    ];
    let written =
        |(kind, is_true, reason, message)| condition(old, (kind, is_true), (reason, message), now);
    all.into_iter().map(written).collect()
}
