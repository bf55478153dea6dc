//! EndpointSlices: at most a hundred endpoints each, as many as it takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) use coracle_api::resources::ENDPOINT_SLICES as RESOURCE;
use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Map, Value, json};

use super::backends::{Backend, Backends, Port, Prefers, ZONE};
use super::{SERVICES, services_of_pod};
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints in a slice.
pub(super) const ENDPOINTS_MAX: usize = 100;

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "endpoint-slice-controller",
    serial: false,
    watches: &[
        (SERVICES, itself),
        (PODS, services_of_pod),
        (RESOURCE, service_of),
        (NODES, when_a_node_is_elsewhere),
    ],
    decide,
};

fn service_of(event: &Event, _: &Snapshot) -> Vec<Key> {
    let key = |name| Key::new(SERVICES, event.key.namespace.clone(), name);
    service_name(&event.last, MANAGER).map(key).into_iter().collect()
}

/// The Services of the pods on a node that comes, goes, or is in another zone now.
fn when_a_node_is_elsewhere(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let zone = |node: &Option<Arc<Object>>| {
        node.as_ref().and_then(|node| node.metadata().labels.get(ZONE).cloned())
    };
    let stays = event.old.is_some() == event.new.is_some();
    if stays && zone(&event.old) == zone(&event.new) {
        return Vec::new();
    }
    let pods = snapshot.indexed(Index::PodNode, &event.key.name, PODS, None);
    let services = pods.flat_map(|pod| {
        let metadata = pod.metadata();
        snapshot.selecting(SERVICES, &metadata.namespace, &metadata.labels)
    });
    let mut keys: Vec<_> = services.map(|service| service.key().clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The Service of a slice that `manager` manages.
pub(super) fn service_name<'a>(slice: &'a Object, manager: &str) -> Option<&'a str> {
    let labels = &slice.metadata().labels;
    let is_managed = labels.get(MANAGED_BY).is_some_and(|by| by == manager);
    labels.get(SERVICE_NAME).map(String::as_str).filter(|_| is_managed)
}

/// Writes the slices of the Service at `key`; when it is gone, the garbage collector takes them.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some(service) = snapshot.get(key).filter(|service| !service.metadata().is_deleting())
    else {
        return Plan::default();
    };
    let Some(backends) = Backends::of(snapshot, service) else { return Plan::default() };
    Plan::each(reconcile(snapshot, service, MANAGER, slices(&backends)))
}

/// The writes that make the slices which `owner` has by `manager` the `wanted` ones.
pub(super) fn reconcile(
    snapshot: &Snapshot,
    owner: &Object,
    manager: &str,
    wanted: Vec<Value>,
) -> Vec<Write> {
    let is_managed = |slice: &&Arc<Object>| {
        *slice.key().resource == *RESOURCE
            && service_name(slice, manager).is_some()
            && !slice.metadata().is_deleting()
    };
    let stored = snapshot.dependents(&owner.metadata().uid).filter(is_managed);
    let mut stored: VecDeque<_> = stored.collect();
    let mut writes = Vec::new();
    for wanted in wanted {
        // The type of a slice's addresses stays what it is.
        let alike = |slice: &&Arc<Object>| slice.value()["addressType"] == wanted["addressType"];
        match stored.iter().position(alike).and_then(|at| stored.remove(at)) {
            None => writes.push(Write::Create(wanted)),
            Some(slice) => writes.extend(change(slice, &wanted)),
        }
    }
    writes.extend(stored.into_iter().map(|slice| Write::delete(slice)));
    writes
}

fn change(stored: &Object, wanted: &Value) -> Option<Write> {
    let mut value = stored.value().clone();
    for field in ["endpoints", "ports"] {
        let is_same = stored.value()[field] == wanted[field]
            || (is_nothing(&stored.value()[field]) && is_nothing(&wanted[field]));
        if !is_same {
            value[field] = wanted[field].clone();
        }
    }
    value["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
    (value != *stored.value()).then_some(Write::Update(value))
}

fn is_nothing(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// What the Service's slices should say; one that says nothing when there is no pod. What is on a node
/// that there is not is told of only where all are told of.
fn slices(backends: &Backends) -> Vec<Value> {
    let mut groups: BTreeMap<&[Port], Vec<&Backend>> = BTreeMap::new();
    let is_told = |it: &&Backend| it.is_on_node || backends.publishes_not_ready;
    for backend in backends.all.iter().filter(is_told) {
        groups.entry(&backend.ports).or_default().push(backend);
    }
    let chunks = groups.iter().flat_map(|(ports, group)| {
        group.chunks(ENDPOINTS_MAX).map(move |chunk| slice(backends, ports, chunk))
    });
    let slices: Vec<_> = chunks.collect();
    if slices.is_empty() { vec![slice(backends, &[], &[])] } else { slices }
}

fn slice(backends: &Backends, ports: &[Port], chunk: &[&Backend]) -> Value {
    let endpoints = chunk.iter().map(|it| endpoint(it, backends)).collect();
    let ports = ports.iter().map(|port| port.to_json(true)).collect();
    let by = (&*backends.service, MANAGER);
    slice_of(by, backends.labels(), "IPv4", endpoints, ports)
}

/// A slice of the Service that has its owner's name, by `manager`.
pub(super) fn slice_of(
    (owner, manager): (&Object, &str),
    mut labels: Map<String, Value>,
    family: &str,
    endpoints: Vec<Value>,
    ports: Vec<Value>,
) -> Value {
    let metadata = owner.metadata();
    labels.insert(SERVICE_NAME.into(), json!(metadata.name));
    labels.insert(MANAGED_BY.into(), json!(manager));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", metadata.name),
            "namespace": metadata.namespace,
            "labels": labels,
            "ownerReferences": [json::controller_reference(owner)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn endpoint(backend: &Backend, of: &Backends) -> Value {
    let ready = of.publishes_not_ready || (backend.is_ready && !backend.is_terminating);
    let mut endpoint = json!({
        "addresses": [backend.address],
        "conditions": {
            "ready": ready,
            "serving": backend.is_ready,
            "terminating": backend.is_terminating,
        },
        "targetRef": backend.target,
    });
    json::set(&mut endpoint, &["hostname"], json!(backend.hostname));
    json::set(&mut endpoint, &["nodeName"], json!(backend.node));
    json::set(&mut endpoint, &["zone"], json!(backend.zone));
    if ready {
        json::set(&mut endpoint, &["hints"], hints(backend, of.prefers));
    }
    endpoint
}

/// Who is to use an endpoint; `null` for everybody.
fn hints(backend: &Backend, prefers: Prefers) -> Value {
    let whose = |name: &Option<String>, does: bool| {
        name.as_ref().filter(|_| does).map(|name| json!([{"name": name}]))
    };
    let mut hints = json!({});
    for (field, whose) in [
        ("forNodes", whose(&backend.node, prefers == Prefers::Node)),
        ("forZones", whose(&backend.zone, prefers != Prefers::Nothing)),
    ] {
        json::set(&mut hints, &[field], json!(whose));
    }
    if hints == json!({}) { Value::Null } else { hints }
}
