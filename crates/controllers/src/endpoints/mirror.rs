//! EndpointSlices of Endpoints that somebody made for a Service without a selector: only slices are
//! followed, and there are still charts and tools that know Endpoints alone.

use std::sync::Arc;

use coracle_api::resources::ENDPOINTS;
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Map, Value, json};

use super::slices::{self, ENDPOINTS_MAX};
use super::{SERVICES, pairs};
use crate::plan::Plan;
use crate::table::{Controller, itself};
use crate::{Context, json};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Whoever sets it on Endpoints makes the slices too.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// What `kubectl apply` keeps of the Endpoints is none of the slices'.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "endpoint-slice-mirroring-controller",
    serial: false,
    watches: &[(ENDPOINTS, itself), (SERVICES, of_same_name), (slices::RESOURCE, of_slice)],
    decide,
};

fn of_same_name(event: &Event, _: &Snapshot) -> Vec<Key> {
    vec![Key::new(ENDPOINTS, event.key.namespace.clone(), event.key.name.clone())]
}

fn of_slice(event: &Event, _: &Snapshot) -> Vec<Key> {
    slices::service_name(&event.last, MANAGER)
        .map(|name| Key::new(ENDPOINTS, event.key.namespace.clone(), name))
        .into_iter()
        .collect()
}

/// Writes the slices of the Endpoints at `key`; with them, the garbage collector takes the slices.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let Some(endpoints) = snapshot.get(key).filter(|it| !it.metadata().is_deleting()) else {
        return Plan::default();
    };
    let service = snapshot.find(SERVICES, &key.namespace, &key.name);
    let skips = endpoints.metadata().labels.get(SKIP).is_some_and(|skips| skips == "true");
    let is_mirrored = service.is_some_and(|service| pairs(service).is_none()) && !skips;
    let wanted = if is_mirrored { mirrored(endpoints) } else { Vec::new() };
    Plan::each(slices::reconcile(snapshot, endpoints, MANAGER, wanted))
}

/// What the slices should say.
fn mirrored(endpoints: &Arc<Object>) -> Vec<Value> {
    let subsets = endpoints.value()["subsets"].as_array().into_iter().flatten();
    let mut wanted = Vec::new();
    for subset in subsets {
        let ready = addresses(subset, "addresses").map(|address| endpoint(address, true));
        let not_ready = addresses(subset, "notReadyAddresses").map(|it| endpoint(it, false));
        let (six, four): (Vec<_>, Vec<_>) = ready.chain(not_ready).partition(is_ipv6);
        for (family, all) in [("IPv4", four), ("IPv6", six)] {
            let chunks = all.chunks(ENDPOINTS_MAX);
            wanted.extend(chunks.map(|chunk| slice(endpoints, family, chunk, &subset["ports"])));
        }
    }
    wanted
}

fn addresses<'a>(subset: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    subset[field].as_array().into_iter().flatten()
}

fn is_ipv6(endpoint: &Value) -> bool {
    endpoint["addresses"][0].as_str().is_some_and(|ip| ip.contains(':'))
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        json::set(&mut endpoint, &[field], address[field].clone());
    }
    endpoint
}

fn slice(endpoints: &Object, family: &str, chunk: &[Value], ports: &Value) -> Value {
    let metadata = endpoints.metadata();
    let text = |(k, v): (&String, &String)| (k.clone(), json!(v));
    let labels = metadata.labels.iter().map(text).collect();
    let mut annotations: Map<_, _> = metadata.annotations.iter().map(text).collect();
    annotations.remove(LAST_APPLIED);
    let ports = ports.as_array().into_iter().flatten().map(named).collect();
    let by = (endpoints, MANAGER);
    let mut slice = slices::slice_of(by, labels, family, chunk.to_vec(), ports);
    if !annotations.is_empty() {
        slice["metadata"]["annotations"] = annotations.into();
    }
    slice
}

/// In slices the name is there even when it is empty.
fn named(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"].is_null() {
        port["name"] = json!("");
    }
    port
}
