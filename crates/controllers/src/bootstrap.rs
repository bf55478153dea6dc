//! What a cluster has before anybody asks for it.

use std::sync::Arc;

use coracle_api::resources::{
    ENDPOINT_SLICES, ENDPOINTS, FLOW_SCHEMAS, NAMESPACES, PRIORITY_CLASSES,
    PRIORITY_LEVEL_CONFIGURATIONS, SERVICE_CIDRS, SERVICES, STORAGE_CLASSES,
};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::plan::{Plan, Write};
use crate::table::Controller;
use crate::volumes::PROVISIONER_NAME;
use crate::{Config, Context, flow_control, json};

const NAMES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The row of the table: what somebody deletes of it is made again at once.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "bootstrap-controller",
    serial: false,
    watches: &[
        (NAMESPACES, when_it_goes),
        (PRIORITY_CLASSES, when_it_goes),
        (STORAGE_CLASSES, when_it_goes),
        (SERVICES, when_it_goes),
        (SERVICE_CIDRS, when_it_goes),
        (FLOW_SCHEMAS, when_it_is_other),
        (PRIORITY_LEVEL_CONFIGURATIONS, when_it_is_other),
        (ENDPOINTS, when_it_differs),
        (ENDPOINT_SLICES, when_it_differs),
    ],
    decide: |snapshot, _, context: &Context<'_>| bootstrap(snapshot, context.config),
};

/// All that a cluster begins with is one question.
fn when_it_goes(event: &Event, _: &Snapshot) -> Vec<Key> {
    if event.new.is_none() { vec![Key::new(NAMESPACES, "", "")] } else { Vec::new() }
}

fn when_it_is_other(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_other = |new: &Arc<Object>| {
        let generation = |object: &Arc<Object>| object.metadata().generation;
        event.old.as_ref().is_some_and(|old| generation(old) != generation(new))
    };
    let concerns = event.new.as_ref().is_none_or(is_other);
    if concerns { vec![Key::new(NAMESPACES, "", "")] } else { Vec::new() }
}

fn when_it_differs(event: &Event, _: &Snapshot) -> Vec<Key> {
    let is_ours = ["kubernetes", "kube-dns"].contains(&&*event.key.name);
    if is_ours { vec![Key::new(NAMESPACES, "", "")] } else { Vec::new() }
}

/// The plan that brings a cluster to where it begins: what is missing is made, and the endpoints of
/// the API and the DNS are put right. Empty when all is there.
pub fn bootstrap(snapshot: &Snapshot, config: &Config) -> Plan {
    let mut plan = Plan::default();
    let namespaces = NAMES
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let wanted = namespaces.into_iter().chain(priority_classes()).chain([standard_class()]);
    let services = [service_range(config), kubernetes_service(config), dns_service(config)];
    for value in wanted.chain(services) {
        if find(snapshot, &value).is_none() {
            plan.write(Write::Create(value));
        }
    }
    for value in flow_control::objects() {
        match find(snapshot, &value) {
            None => plan.write(Write::Create(value)),
            Some(stored) if !flow_control::follows(stored.value()) => {}
            Some(stored) if covers(&stored.value()["spec"], &value["spec"]) => {}
            Some(stored) => {
                plan.write(Write::Update(json::with(stored, &["spec"], value["spec"].clone())));
            }
        }
    }
    for value in endpoints(config) {
        match find(snapshot, &value) {
            None => plan.write(Write::Create(value)),
            Some(stored) => plan.write_each(repair(stored, &value)),
        }
    }
    plan
}

/// What is made at the start: the resource under which each kind is stored.
fn resource(kind: &str) -> &'static str {
    match kind {
        "Namespace" => NAMESPACES,
        "PriorityClass" => PRIORITY_CLASSES,
        "StorageClass" => STORAGE_CLASSES,
        "Service" => SERVICES,
        "ServiceCIDR" => SERVICE_CIDRS,
        "FlowSchema" => FLOW_SCHEMAS,
        "PriorityLevelConfiguration" => PRIORITY_LEVEL_CONFIGURATIONS,
        "Endpoints" => ENDPOINTS,
        _ => ENDPOINT_SLICES,
    }
}

fn find<'a>(snapshot: &'a Snapshot, value: &Value) -> Option<&'a Arc<Object>> {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    snapshot.find(resource(kind), text("namespace"), text("name"))
}

/// The addresses and ports of stored endpoints, when they are not the right ones.
fn repair(stored: &Object, wanted: &Value) -> Option<Write> {
    let fields = ["subsets", "endpoints", "ports"];
    let mut value = stored.value().clone();
    for field in fields.iter().filter(|field| !covers(&stored.value()[**field], &wanted[**field])) {
        json::set(&mut value, &[field], wanted[*field].clone());
    }
    (value != *stored.value()).then_some(Write::Update(value))
}

/// Whether `stored` says all that `wanted` says; the server may have filled in more.
fn covers(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(k, v)| stored.get(k).is_some_and(|stored| covers(stored, v)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(s, w)| covers(s, w))
        }
        _ => stored == wanted,
    }
}

fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, description: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        })
    };
    [
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to \
             another node if necessary.",
        ),
    ]
}

/// The default class: directories on the node of the first consumer, see `volumes`.
fn standard_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER_NAME,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}

/// Where Services get their addresses from.
fn service_range(config: &Config) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [config.services.trunc().to_string()]},
    })
}

fn kubernetes_service(config: &Config) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": config.api_service_ip().to_string(),
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": config.api_port}],
        },
    })
}

fn dns_service(config: &Config) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": config.dns_service_ip().to_string(),
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
                {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
            ],
        },
    })
}

/// Endpoints and EndpointSlice of the two Services, which have no pods to select.
fn endpoints(config: &Config) -> [Value; 4] {
    let api = config.api_address.to_string();
    let api_ports = json!([{"name": "https", "port": config.api_port, "protocol": "TCP"}]);
    let dns = config.dns_address.to_string();
    let dns_ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    [
        plain("default", "kubernetes", &api, &api_ports),
        slice("default", "kubernetes", &api, &api_ports),
        plain("kube-system", "kube-dns", &dns, &dns_ports),
        slice("kube-system", "kube-dns", &dns, &dns_ports),
    ]
}

fn plain(namespace: &str, name: &str, address: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
    })
}

fn slice(namespace: &str, name: &str, address: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn what_is_missing_is_made_once_and_wrong_addresses_are_put_right() {
        let mut world = World::new();
        let plan = bootstrap(&world.store.snapshot(), &world.config);
        world.carry_out(&plan);
        assert_eq!(world.names("namespaces").len(), 4);
        assert!(bootstrap(&world.store.snapshot(), &world.config).writes_nothing());
        world.config.api_address = [10, 1, 2, 3].into();
        let plan = bootstrap(&world.store.snapshot(), &world.config);
        world.carry_out(&plan);
        let endpoints = world.get("endpoints", "kubernetes");
        assert_eq!(endpoints.value()["subsets"][0]["addresses"][0]["ip"], "10.1.2.3");
        let slice = world.get("endpointslices.discovery.k8s.io", "kubernetes");
        assert_eq!(slice.value()["endpoints"][0]["addresses"][0], "10.1.2.3");
        assert!(bootstrap(&world.store.snapshot(), &world.config).writes_nothing());
    }

    #[test]
    fn levels_are_put_right_unless_somebody_says_that_they_are_theirs() {
        let mut world = World::new();
        let plan = bootstrap(&world.store.snapshot(), &world.config);
        world.carry_out(&plan);
        let shares = |world: &World, name: &str| {
            let level = world.get(PRIORITY_LEVEL_CONFIGURATIONS, name);
            level.value()["spec"]["limited"]["nominalConcurrencyShares"].as_u64()
        };
        for (name, follows, expected) in [
            ("workload-low", "true", 100),
            ("workload-high", "false", 7),
            // What everything else depends on is nobody's to change.
            ("catch-all", "false", 5),
        ] {
            world.edit(PRIORITY_LEVEL_CONFIGURATIONS, name, |level| {
                level["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] =
                    follows.into();
                level["spec"]["limited"]["nominalConcurrencyShares"] = 7.into();
            });
            assert_eq!(shares(&world, name), Some(7));
            let plan = bootstrap(&world.store.snapshot(), &world.config);
            world.carry_out(&plan);
            assert_eq!(shares(&world, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_is_deleted_comes_back_at_once() {
        let mut world = World::new();
        let plan = bootstrap(&world.store.snapshot(), &world.config);
        world.carry_out(&plan);
        for (resource, name) in [
            ("services", "kubernetes"),
            (SERVICE_CIDRS, "kubernetes"),
            ("endpoints", "kubernetes"),
            ("storageclasses.storage.k8s.io", "standard"),
        ] {
            world.delete(resource, name, None);
            assert!(world.find(resource, name).is_none());
            world.settle(&["bootstrap-controller"]);
            assert!(world.find(resource, name).is_some(), "{resource} {name}");
        }
    }
}
