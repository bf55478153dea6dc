//! Addresses and node ports of Services: taken when the Service is written, so that the answer to
//! the client shows them, and given back with it.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use coracle_api::addresses::{
    NODE_PORTS, Outside, follows_service, next_node_port, next_service_ip,
};
use coracle_api::index::node_port;
use coracle_api::resources::{IP_ADDRESSES, SERVICES};
use coracle_api::{FieldError, Index, Key, Status};
use coracle_store::Snapshot;
use serde_json::{Map, Value, json};

use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, text};
use crate::pipeline::write::WriteEnv;

/// Gives a Service what its type needs and takes what it does not.
pub(super) fn allocate(
    attributes: &mut Attributes<'_>,
    service: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let create = attributes.is(Operation::Create, SERVICES);
    if !create && !attributes.is(Operation::Update, SERVICES) {
        return Ok(());
    }
    let own = text(service, "/metadata/name").to_owned();
    if let Some(old) = attributes.old {
        keep_allocated(service, old.value());
        drop_inapplicable(service, old.value());
    }
    let key = Key::new(SERVICES, attributes.request.namespace.as_str(), own.as_str());
    let used = Used { snapshot: attributes.snapshot, key };
    let errors: Vec<FieldError> = cluster_ip(service, &used, env)
        .into_iter()
        .chain(node_ports(service, &used, env))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&attributes.request.kind, &own, &errors))
}

/// Says which addresses that were written down lead nowhere, and why.
pub(super) fn warn_of_addresses(
    attributes: &mut Attributes<'_>,
    service: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let is_service = attributes.request.kind.group_resource() == SERVICES;
    if is_service && attributes.operation != Operation::Delete {
        attributes.warnings.extend(ignored_addresses(service, &env.cluster.outside));
    }
    Ok(())
}

fn ignored_addresses(service: &Value, outside: &Outside) -> Vec<String> {
    type Refuses = fn(&Outside, Ipv4Addr) -> Option<&'static str>;
    let list = |pointer: &str| service.pointer(pointer).and_then(Value::as_array);
    let external = list("/spec/externalIPs").into_iter().flatten();
    let external =
        external.enumerate().map(|(index, ip)| (format!("spec.externalIPs[{index}]"), ip));
    let ingress = list("/status/loadBalancer/ingress").into_iter().flatten().enumerate();
    let ingress =
        ingress.map(|(index, it)| (format!("status.loadBalancer.ingress[{index}].ip"), &it["ip"]));
    let by = |refuses: Refuses| {
        move |(field, ip): (String, &Value)| {
            let ip: Ipv4Addr = ip.as_str()?.parse().ok()?;
            let why = refuses(outside, ip)?;
            Some(format!("{field}: no traffic is taken for {ip}, which is {why}"))
        }
    };
    let external = external.filter_map(by(Outside::refuses_external));
    external.chain(ingress.filter_map(by(Outside::refuses_balancer))).collect()
}

/// What other Services have. Should one of them get it meanwhile, the commit is refused and
/// another is chosen.
struct Used<'a> {
    snapshot: &'a Snapshot,
    key: Key,
}

impl Used<'_> {
    fn address(&self, address: &str) -> bool {
        self.snapshot.is_taken(Index::ClusterAddress, address, &self.key)
            || self
                .snapshot
                .find(IP_ADDRESSES, "", address)
                .is_some_and(|held| !follows_service(held))
    }

    fn port(&self, protocol: &str, number: u16) -> bool {
        self.snapshot.is_taken(Index::NodePort, &node_port(protocol, number), &self.key)
    }

    fn any_port(&self, number: u16) -> bool {
        ["TCP", "UDP", "SCTP"].iter().any(|protocol| self.port(protocol, number))
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

fn service_type(service: &Value) -> &str {
    match text(service, "/spec/type") {
        "" => "ClusterIP",
        ty => ty,
    }
}

fn has_node_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// What the client left out of an update, as `kubectl replace` does, is what it was.
fn keep_allocated(service: &mut Value, old: &Value) {
    let still_has_address =
        service_type(service) != "ExternalName" && service_type(old) != "ExternalName";
    if still_has_address {
        for field in ["clusterIP", "clusterIPs"] {
            let kept = &old["spec"][field];
            let missing = match &service["spec"][field] {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            let other_says = ["clusterIP", "clusterIPs"].iter().any(|other| {
                *other != field
                    && !service["spec"][*other].is_null()
                    && service["spec"][*other] != old["spec"][*other]
            });
            if missing && !other_says && !kept.is_null() {
                let kept = kept.clone();
                map_at(service, "spec").insert(field.into(), kept);
            }
        }
    }
    if has_node_ports(service) {
        let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in each_port(service) {
            let same =
                |old: &&Value| old["port"] == port["port"] && protocol(old) == protocol(port);
            if number(&port["nodePort"]).is_none()
                && let Some(kept) =
                    old_ports.iter().find(same).and_then(|old| number(&old["nodePort"]))
            {
                port["nodePort"] = kept.into();
            }
        }
        if number(&service["spec"]["healthCheckNodePort"]).is_none()
            && let Some(kept) = number(&old["spec"]["healthCheckNodePort"])
            && wants_health_check(service)
        {
            map_at(service, "spec").insert("healthCheckNodePort".into(), kept.into());
        }
    }
}

/// What only the type before could have goes with it, unless the client changed it too and so means
/// it.
fn drop_inapplicable(service: &mut Value, old: &Value) {
    type Applies = fn(&Value) -> bool;
    let fields: [(&str, Applies); 4] = [
        ("externalTrafficPolicy", is_reached_from_outside),
        ("healthCheckNodePort", wants_health_check),
        ("allocateLoadBalancerNodePorts", is_load_balancer),
        ("loadBalancerClass", is_load_balancer),
    ];
    for (field, applies) in fields {
        let same = service["spec"][field] == old["spec"][field];
        if applies(old) && !applies(service) && same {
            map_at(service, "spec").remove(field);
        }
    }
}

fn is_load_balancer(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
}

fn is_reached_from_outside(service: &Value) -> bool {
    let has_addresses = || service["spec"]["externalIPs"].as_array().is_some_and(|a| !a.is_empty());
    match service_type(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => has_addresses(),
        _ => false,
    }
}

fn each_port(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn wants_health_check(service: &Value) -> bool {
    service_type(service) == "LoadBalancer"
        && text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn cluster_ip(service: &mut Value, used: &Used<'_>, env: &mut WriteEnv<'_>) -> Option<FieldError> {
    if service_type(service) == "ExternalName" {
        // One that is asked for where it cannot be is refused (`validation::service`).
        if used.snapshot.get(&used.key).is_some() {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                map_at(service, "spec").remove(field);
            }
        }
        return None;
    }
    let asked = match text(service, "/spec/clusterIP") {
        "" => text(service, "/spec/clusterIPs/0"),
        asked => asked,
    }
    .to_owned();
    let range = env.cluster.services;
    let address = match asked.as_str() {
        "None" => asked,
        "" => {
            let taken = |ip: Ipv4Addr| used.address(&ip.to_string());
            match next_service_ip(taken, range, env.entropy.number()) {
                Some(ip) => ip.to_string(),
                None => return Some(no_address(service, "range is full")),
            }
        }
        _ => match check_asked(&asked, used, env) {
            Ok(()) => asked,
            Err(why) => {
                return Some(no_address(service, &format!("failed to allocate IP {asked}: {why}")));
            }
        },
    };
    let spec = map_at(service, "spec");
    spec.insert("clusterIP".into(), address.clone().into());
    spec.insert("clusterIPs".into(), json!([address]));
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
    None
}

fn default(spec: &mut Map<String, Value>, field: &str, value: Value) {
    if spec.get(field).is_none_or(Value::is_null) {
        spec.insert(field.into(), value);
    }
}

fn check_asked(asked: &str, used: &Used<'_>, env: &WriteEnv<'_>) -> Result<(), String> {
    let range = env.cluster.services;
    let inside = asked
        .parse::<Ipv4Addr>()
        .is_ok_and(|ip| range.contains(&ip) && ip != range.network() && ip != range.broadcast());
    if !inside {
        return Err(format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
        ));
    }
    if used.address(asked) {
        return Err("provided IP is already allocated".into());
    }
    Ok(())
}

fn no_address(service: &Value, why: &str) -> FieldError {
    let asked = match &service["spec"]["clusterIPs"] {
        Value::Null => json!([text(service, "/spec/clusterIP")]),
        asked => asked.clone(),
    };
    FieldError::invalid("spec.clusterIPs", &asked, why)
}

fn node_ports(service: &mut Value, used: &Used<'_>, env: &mut WriteEnv<'_>) -> Vec<FieldError> {
    if !has_node_ports(service) {
        // A client that turns a Service into a ClusterIP need not take its node ports out.
        if service_type(service) == "ClusterIP" || service_type(service) == "ExternalName" {
            each_port(service).for_each(|port| {
                if let Some(fields) = port.as_object_mut() {
                    fields.remove("nodePort");
                }
            });
        }
        return Vec::new();
    }
    let mut errors = Vec::new();
    let mut own: HashSet<(String, u16)> = HashSet::new();
    // Ports that differ in protocol alone may share a number, as upstream gives them.
    let mut by_port: Vec<(Value, u16)> = Vec::new();
    for (index, port) in each_port(service).enumerate() {
        let protocol = protocol(port);
        let shared = by_port.iter().find(|(same, _)| *same == port["port"]).map(|(_, n)| *n);
        let chosen = match number(&port["nodePort"]) {
            Some(asked) => match check_port(asked, &protocol, used, &own) {
                Ok(()) => asked,
                Err(why) => {
                    let field = format!("spec.ports[{index}].nodePort");
                    errors.push(FieldError::invalid(field, &json!(asked), why));
                    continue;
                }
            },
            None => {
                let free = |n: u16| !own.contains(&(protocol.clone(), n));
                let taken = |n: u16| used.any_port(n) || own.iter().any(|(_, other)| *other == n);
                let again = shared.filter(|n| free(*n));
                match again.or_else(|| next_node_port(taken, env.entropy.number())) {
                    Some(chosen) => chosen,
                    None => {
                        let field = format!("spec.ports[{index}].nodePort");
                        let why = "failed to allocate a nodePort: range is full";
                        errors.push(FieldError::invalid(field, &json!(0), why));
                        continue;
                    }
                }
            }
        };
        port["nodePort"] = chosen.into();
        by_port.push((port["port"].clone(), chosen));
        own.insert((protocol, chosen));
    }
    if wants_health_check(service) && number(&service["spec"]["healthCheckNodePort"]).is_none() {
        let taken = |n: u16| used.any_port(n) || own.iter().any(|(_, other)| *other == n);
        if let Some(chosen) = next_node_port(taken, env.entropy.number()) {
            map_at(service, "spec").insert("healthCheckNodePort".into(), chosen.into());
        }
    }
    errors
}

fn check_port(
    asked: u16,
    protocol: &str,
    used: &Used<'_>,
    own: &HashSet<(String, u16)>,
) -> Result<(), String> {
    if !NODE_PORTS.contains(&asked) {
        let (low, high) = (NODE_PORTS.start(), NODE_PORTS.end());
        return Err(format!(
            "provided port is not in the valid range. The range of valid ports is {low}-{high}"
        ));
    }
    if used.port(protocol, asked) || own.contains(&(protocol.to_owned(), asked)) {
        return Err("provided port is already allocated".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_nowhere_are_said() {
        let service = json!({
            "spec": {"externalIPs": ["10.244.1.1", "203.0.113.9"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}, {"hostname": "x"}]}},
        });
        let outside = Outside {
            external_ips: true,
            taken: vec![("10.244.0.0/16".parse().unwrap(), "in the range of pods")],
            ..Outside::default()
        };
        assert_eq!(
            ignored_addresses(&service, &outside),
            [
                "spec.externalIPs[0]: no traffic is taken for 10.244.1.1, which is in the range of pods",
                "status.loadBalancer.ingress[0].ip: no traffic is taken for 127.0.0.1, which is a \
                 loopback address",
            ]
        );
        let off = ignored_addresses(&service, &Outside::default());
        assert_eq!(off.len(), 3, "{off:?}");
        assert!(off[1].ends_with("started without --external-ips"), "{off:?}");
    }
}
