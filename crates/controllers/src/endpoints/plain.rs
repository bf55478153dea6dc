//! Endpoints: the older form, one object a Service.

use std::collections::BTreeMap;

use coracle_api::resources::{ENDPOINTS as RESOURCE, PODS};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Map, Value, json};

use super::backends::{Backend, Backends, Port};
use super::{SERVICES, services_of_pod};
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: MANAGER,
    serial: false,
    watches: &[(SERVICES, itself), (PODS, services_of_pod), (RESOURCE, service_of)],
    decide,
};

fn service_of(event: &Event, _: &Snapshot) -> Vec<Key> {
    vec![Key::new(SERVICES, event.key.namespace.clone(), event.key.name.clone())]
}

/// Writes the Endpoints of the Service at `key`.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, _: &Context<'_>) -> Plan {
    let stored = snapshot.find(RESOURCE, &key.namespace, &key.name);
    let Some(service) = snapshot.get(key) else {
        let ours = stored.filter(|endpoints| is_ours(endpoints));
        return Plan::each(ours.map(|endpoints| Write::delete(endpoints)));
    };
    let Some(backends) = Backends::of(snapshot, service) else { return Plan::default() };
    let mut labels = backends.labels();
    labels.insert(MANAGED_BY.into(), json!(MANAGER));
    let (labels, subsets) = (Value::Object(labels), Value::Array(subsets(&backends)));
    let write = match stored {
        None => Some(Write::Create(json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": service.metadata().name,
                "namespace": service.metadata().namespace,
                "labels": labels,
            },
            "subsets": subsets,
        }))),
        Some(stored) => {
            let mut value = json::with(stored, &["subsets"], subsets);
            json::set(&mut value, &["metadata", "labels"], labels);
            (value != *stored.value()).then_some(Write::Update(value))
        }
    };
    Plan::each(write)
}

fn is_ours(endpoints: &Object) -> bool {
    endpoints.metadata().labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER)
}

/// Addresses by their ports: pods may resolve a named port differently.
fn subsets(backends: &Backends) -> Vec<Value> {
    let mut groups: BTreeMap<&[Port], [Vec<&Backend>; 2]> = BTreeMap::new();
    let portless = backends.service.value()["spec"]["ports"].as_array().is_none_or(Vec::is_empty);
    for backend in &backends.all {
        let known = backends.publishes_not_ready || !backend.is_terminating;
        if known && (!backend.ports.is_empty() || (portless && backends.is_headless)) {
            let ready = backend.is_ready || backends.publishes_not_ready;
            groups.entry(&backend.ports).or_default()[usize::from(!ready)].push(backend);
        }
    }
    let subset = |(ports, [ready, not_ready]): (&[Port], [Vec<&Backend>; 2])| {
        let mut subset = Map::new();
        for (field, backends) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            if !backends.is_empty() {
                subset.insert(field.into(), addresses(backends));
            }
        }
        if !ports.is_empty() {
            let ports: Vec<_> = ports.iter().map(|port| port.to_json(false)).collect();
            subset.insert("ports".into(), Value::Array(ports));
        }
        Value::Object(subset)
    };
    groups.into_iter().map(subset).collect()
}

fn addresses(mut backends: Vec<&Backend>) -> Value {
    backends.sort_by(|a, b| a.address.cmp(&b.address));
    let address = |backend: &&Backend| {
        let mut address = json!({"ip": backend.address, "targetRef": backend.target});
        json::set(&mut address, &["hostname"], json!(backend.hostname));
        json::set(&mut address, &["nodeName"], json!(backend.node));
        address
    };
    backends.iter().map(address).collect()
}
