//! Addresses of Services of type LoadBalancer.
//!
//! `ipMode` stays unset: scripts print every field of the first ingress entry and expect an address
//! alone, and the network treats it as the default, `VIP`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use coracle_api::addresses::next_load_balancer_ip;
use coracle_api::resources::SERVICES;
use coracle_api::{Index, Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use crate::plan::{Because, Note, Plan, Step, Write};
use crate::table::Controller;
use crate::{Context, json};

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: "service-controller",
    serial: true,
    watches: &[(SERVICES, it_and_those_without)],
    decide,
};

/// When a Service goes, its address may be what another waits for.
fn it_and_those_without(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    let mut keys = vec![event.key.clone()];
    if event.old.as_ref().is_some_and(|old| address(old).is_some()) {
        let waiting = snapshot.indexed(Index::WaitingForAddress, "", SERVICES, None);
        keys.extend(waiting.map(|service| service.key().clone()));
    }
    keys
}

fn is_balanced(service: &Object) -> bool {
    service.str_at("/spec/type") == Some("LoadBalancer")
        && service.str_at("/spec/loadBalancerClass").is_none()
}

fn address(service: &Object) -> Option<Ipv4Addr> {
    service.str_at("/status/loadBalancer/ingress/0/ip")?.parse().ok()
}

/// Gives the Service at `key` an address, or takes it away.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(service) = snapshot.get(key).filter(|service| !service.metadata().is_deleting())
    else {
        return Plan::default();
    };
    if service.str_at("/spec/loadBalancerClass").is_some() {
        return Plan::default();
    }
    if !is_balanced(service) {
        return withdraw(service);
    }
    let range = context.config.load_balancers;
    let wished = service.str_at("/spec/loadBalancerIP").and_then(|ip| ip.parse().ok());
    let has = address(service).filter(|ip| range.contains(ip));
    if has.is_some() && wished.is_none_or(|ip| Some(ip) == has) {
        return Plan::default();
    }
    // Two that choose the same at once do not both get it: the store refuses the second.
    let used = |ip: Ipv4Addr| snapshot.is_taken(Index::LoadBalancerAddress, &ip.to_string(), key);
    let found = match wished {
        Some(ip) if !range.contains(&ip) => Err(format!("{ip} is not in the range {range}")),
        Some(ip) if used(ip) => Err(format!("{ip} is in use")),
        Some(ip) => Ok(ip),
        None => next_load_balancer_ip(used, range)
            .ok_or_else(|| format!("no address is left in the range {range}")),
    };
    match found {
        Ok(ip) => assign(service, ip),
        Err(why) => failed(service, why),
    }
}

fn assign(service: &Arc<Object>, ip: Ipv4Addr) -> Plan {
    let ingress = json!([{"ip": ip.to_string()}]);
    Plan::of(
        Step::of(write(service, json!({"ingress": ingress})))
            .say(Note::normal(service, "EnsuringLoadBalancer", "Ensuring load balancer"))
            .say(Note::normal(service, "EnsuredLoadBalancer", "Ensured load balancer")),
    )
}

fn failed(service: &Arc<Object>, why: String) -> Plan {
    let message = format!("Error syncing load balancer: failed to ensure load balancer: {why}");
    let notes = vec![Note::warning(service, "SyncLoadBalancerFailed", message)];
    Plan { notes, because: Some(Because::only(why)), ..Plan::default() }
}

/// The Service is of another type now.
fn withdraw(service: &Arc<Object>) -> Plan {
    let mut plan = Plan::default();
    if address(service).is_some() {
        plan.write(write(service, json!({})));
        let reason = "DeletedLoadBalancer";
        plan.notes.push(Note::normal(service, reason, "Deleted load balancer"));
    }
    plan
}

fn write(service: &Object, load_balancer: Value) -> Write {
    Write::status(json::with(service, &["status", "loadBalancer"], load_balancer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const CONTROLLER: &[&str] = &["service-controller"];

    fn service(name: &str, spec: Value) -> Value {
        let metadata = json!({"name": name, "namespace": "default"});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    }

    fn balanced(name: &str) -> Value {
        service(name, json!({"type": "LoadBalancer"}))
    }

    #[test]
    fn services_get_addresses_of_their_own_and_nothing_but_addresses() {
        let mut world = World::new();
        world.create(balanced("a"));
        world.create(balanced("b"));
        world.settle(CONTROLLER);
        let ingress = |name: &str| {
            world.get("services", name).value()["status"]["loadBalancer"]["ingress"].clone()
        };
        assert_eq!(ingress("a"), json!([{"ip": "10.112.0.1"}]));
        assert_eq!(ingress("b"), json!([{"ip": "10.112.0.2"}]));
    }

    #[test]
    fn an_address_that_is_given_back_goes_to_who_waits() {
        let mut world = World::new();
        world.config.load_balancers = "10.112.0.1/32".parse().unwrap();
        world.create(balanced("a"));
        world.settle(CONTROLLER);
        world.create(balanced("b"));
        world.settle(CONTROLLER);
        let note = world.notes.last().unwrap();
        assert!(note.starts_with("SyncLoadBalancerFailed"), "{note}");
        world.edit("services", "a", |service| service["spec"]["type"] = json!("ClusterIP"));
        world.settle(CONTROLLER);
        assert_eq!(address(&world.get("services", "a")), None);
        assert_eq!(address(&world.get("services", "b")), Some([10, 112, 0, 1].into()));
    }

    #[test]
    fn a_wish_is_granted_when_it_can_be() {
        let mut world = World::new();
        let spec = json!({"type": "LoadBalancer", "loadBalancerIP": "10.112.0.9"});
        world.create(service("a", spec.clone()));
        world.create(service("b", spec));
        world.settle(CONTROLLER);
        assert_eq!(address(&world.get("services", "a")), Some([10, 112, 0, 9].into()));
        assert_eq!(address(&world.get("services", "b")), None);
    }
}
