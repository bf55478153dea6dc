//! IPAddresses, which say whose each cluster address is, and the ranges that addresses are in.
//!
//! A Service's address is taken with the write of the Service, so its IPAddress follows it; upstream
//! writes that first, and repairs what then differs. An IPAddress that a user made keeps its address
//! from being given to a Service (`admission::services`).

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::addresses::{MANAGED_BY_ALLOCATOR, follows_service};
use coracle_api::resources::{IP_ADDRESSES, SERVICE_CIDRS, SERVICES};
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::Context;
use crate::finalizers::protect;
use crate::plan::{Because, Plan, Write};
use crate::table::{Controller, itself};
use crate::workload::conditions::{self, Condition};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const STILL_REFERENCED: &str = "There are still IPAddresses referencing the ServiceCIDR, please \
                                remove them or create a new ServiceCIDR";

/// The row of the table for IPAddresses. Keys are those of Services and of IPAddresses.
pub(crate) const ADDRESSES: Controller = Controller {
    name: "ipallocator-repair-controller",
    serial: false,
    watches: &[(SERVICES, service_and_what_it_had), (IP_ADDRESSES, address_and_its_service)],
    decide: |snapshot, key, _| match *key.resource == *SERVICES {
        true => make_missing(snapshot, key),
        false => remove_leaked(snapshot, key),
    },
};

/// The row of the table for ServiceCIDRs.
pub(crate) const RANGES: Controller = Controller {
    name: "service-cidrs-controller",
    serial: false,
    watches: &[(SERVICE_CIDRS, every_range), (IP_ADDRESSES, ranges_that_go)],
    decide: decide_range,
};

fn service_and_what_it_had(event: &Event, _: &Snapshot) -> Vec<Key> {
    let had = event.old.iter().flat_map(|service| addresses(service));
    let mut keys: Vec<_> = had.map(|ip| Key::new(IP_ADDRESSES, "", ip.to_string())).collect();
    keys.push(event.key.clone());
    keys
}

fn address_and_its_service(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let mut keys = itself(event, snapshot);
    keys.extend(parent(&event.last).filter(|_| event.new.is_none()));
    keys
}

/// A range that comes may be what lets another go.
fn every_range(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let others = snapshot.list(SERVICE_CIDRS, None).map(|range| range.key().clone());
    itself(event, snapshot).into_iter().chain(others.filter(|key| *key != event.key)).collect()
}

fn ranges_that_go(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    if event.new.is_some() {
        return Vec::new();
    }
    let ranges = snapshot.list(SERVICE_CIDRS, None);
    ranges.filter(|range| range.metadata().is_deleting()).map(|range| range.key().clone()).collect()
}

/// The cluster addresses of a Service.
fn addresses(service: &Object) -> Vec<IpAddr> {
    let listed = service.value().pointer("/spec/clusterIPs").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    listed.filter_map(|ip| ip.parse().ok()).collect()
}

/// The Service that an IPAddress belongs to.
fn parent(address: &Object) -> Option<Key> {
    let parent = address.value().pointer("/spec/parentRef")?;
    let is_service =
        parent["resource"] == SERVICES && parent["group"].as_str().unwrap_or_default().is_empty();
    let text = |field: &str| parent[field].as_str().unwrap_or_default();
    is_service.then(|| Key::new(SERVICES, text("namespace"), text("name")))
}

/// Makes the IPAddresses that a Service has none of yet.
fn make_missing(snapshot: &Snapshot, key: &Key) -> Plan {
    let Some(service) = snapshot.get(key) else { return Plan::default() };
    let mut plan = Plan::default();
    for ip in addresses(service) {
        match snapshot.find(IP_ADDRESSES, "", &ip.to_string()) {
            None => plan.write(Write::Create(ip_address(service, ip))),
            Some(other) if parent(other).as_ref() != Some(key) => {
                let why = format!("the IPAddress {ip} says that it is another's");
                plan.because = Some(Because::of(other.key().clone(), why));
            }
            Some(_) => {}
        }
    }
    plan
}

fn ip_address(service: &Object, ip: IpAddr) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let (label, value) = MANAGED_BY_ALLOCATOR;
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: family, label: value}},
        "spec": {"parentRef": {
            "group": "", "resource": SERVICES,
            "namespace": service.metadata().namespace, "name": service.metadata().name,
        }},
    })
}

/// Removes an IPAddress of ours whose Service does not have it. One of a user's stays.
fn remove_leaked(snapshot: &Snapshot, key: &Key) -> Plan {
    let Some(address) = snapshot.get(key).filter(|address| follows_service(address)) else {
        return Plan::default();
    };
    let service = parent(address).and_then(|key| snapshot.get(&key));
    let has = |service: &Arc<Object>| {
        let mut held = addresses(service).into_iter();
        held.any(|ip| ip.to_string() == address.metadata().name)
    };
    let leaked = !service.is_some_and(has) && !address.metadata().is_deleting();
    Plan::each(leaked.then(|| Write::delete(address)))
}

fn decide_range(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(range) = snapshot.get(key) else { return Plan::default() };
    let user = |range: &Object| {
        let held = sole_address(snapshot, range)?;
        Some(Because::of(held.key().clone(), "an IPAddress is only in this range".to_owned()))
    };
    let mut plan = protect(range, FINALIZER, user);
    if plan.writes_nothing() {
        plan.write_each(condition(range, plan.because.is_some(), context));
    }
    plan
}

/// An IPAddress that is in this range and in none that stays.
fn sole_address<'a>(snapshot: &'a Snapshot, range: &Object) -> Option<&'a Arc<Object>> {
    let stays = |other: &&Arc<Object>| !other.metadata().is_deleting();
    let others: Vec<_> = snapshot.list(SERVICE_CIDRS, None).filter(stays).collect();
    let mut all = snapshot.list(IP_ADDRESSES, None);
    all.find(|address| {
        let Ok(ip) = address.metadata().name.parse() else { return false };
        contains(range, ip) && !others.iter().any(|other| contains(other, ip))
    })
}

fn contains(range: &Object, ip: IpAddr) -> bool {
    ranges(range).any(|net| net.contains(&ip))
}

fn ranges(range: &Object) -> impl Iterator<Item = IpNet> {
    let listed = range.value().pointer("/spec/cidrs").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|cidr| cidr.as_str()?.parse().ok())
}

/// What `status.conditions` should say and does not.
fn condition(range: &Object, is_held: bool, context: &Context<'_>) -> Option<Write> {
    let own = context.config.services.trunc();
    let ready = if range.metadata().is_deleting() {
        is_held.then(|| Condition::new("Ready", "False", "Terminating", STILL_REFERENCED))?
    } else if range.metadata().name == "kubernetes" {
        Condition::new("Ready", "True", "", "Kubernetes default Service CIDR is ready")
    } else if ranges(range).all(|net| IpNet::from(own).contains(&net)) {
        Condition::new("Ready", "True", "", "Kubernetes Service CIDR is ready")
    } else {
        let why = format!("Services of this cluster get addresses of {own} only");
        Condition::new("Ready", "False", "NotServed", why)
    };
    conditions::told(range, ready.value(), context.now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const BOTH: &[&str] = &["ipallocator-repair-controller", "service-cidrs-controller"];

    fn service(name: &str, ip: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": ip, "clusterIPs": [ip]},
        })
    }

    fn range(name: &str, cidr: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": name}, "spec": {"cidrs": [cidr]},
        })
    }

    fn made_by_a_user(name: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": name},
            "spec": {"parentRef": {"resource": "others", "name": "x"}},
        })
    }

    fn held(world: &World) -> Vec<String> {
        world.names(IP_ADDRESSES)
    }

    #[test]
    fn each_cluster_address_has_an_ip_address_as_long_as_its_service_has_it() {
        let mut world = World::new();
        world.create(service("a", "10.96.0.10"));
        world.create(service("none", "None"));
        world.create(made_by_a_user("10.96.0.99"));
        world.settle(BOTH);
        assert_eq!(held(&world), ["10.96.0.10", "10.96.0.99"]);
        let address = world.get(IP_ADDRESSES, "10.96.0.10");
        assert_eq!(address.value()["spec"]["parentRef"]["name"], "a");
        let key = address.key().clone();
        world.remove(&key);
        world.settle(BOTH);
        assert_eq!(held(&world), ["10.96.0.10", "10.96.0.99"], "it is made again");
        world.delete("services", "a", None);
        world.settle(BOTH);
        assert_eq!(held(&world), ["10.96.0.99"]);
    }

    #[test]
    fn a_range_goes_when_no_address_is_only_in_it() {
        let mut world = World::new();
        world.create(range("kubernetes", "10.96.0.0/12"));
        world.create(range("other", "192.168.7.0/24"));
        world.create(made_by_a_user("192.168.7.3"));
        world.settle(BOTH);
        let ready = |world: &World, name: &str| {
            world.get(SERVICE_CIDRS, name).value()["status"]["conditions"][0].clone()
        };
        assert_eq!(ready(&world, "kubernetes")["status"], "True");
        assert_eq!(ready(&world, "other")["reason"], "NotServed");
        world.delete(SERVICE_CIDRS, "other", None);
        world.settle(BOTH);
        assert_eq!(ready(&world, "other")["message"], STILL_REFERENCED);
        world.create(range("again", "192.168.0.0/16"));
        world.settle(BOTH);
        assert_eq!(world.names(SERVICE_CIDRS), ["again", "kubernetes"]);
    }
}
