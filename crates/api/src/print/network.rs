//! Cells of services, endpoints and ingresses.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::fields::{at_most, items, number, or, str_at, strings, text, text_or};

/// How many addresses, ports or hosts a cell shows.
const MAX: usize = 3;

pub(crate) fn cluster_ip(service: &Value, _: Timestamp) -> Value {
    text_or(service, "/spec/clusterIPs/0", "<none>").into()
}

pub(crate) fn external_ip(service: &Value, _: Timestamp) -> Value {
    let own: Vec<&str> = strings(service, "/spec/externalIPs", "").collect();
    match str_at(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").into(),
        "LoadBalancer" => {
            let balancer = addresses(service);
            let all = balancer.iter().map(String::as_str).chain(own).collect::<Vec<_>>();
            or(all.join(","), "<pending>").into()
        }
        "ClusterIP" | "NodePort" => or(own.join(","), "<none>").into(),
        _ => "<unknown>".into(),
    }
}

/// Addresses or names that a load balancer gave, in ascending order.
fn addresses(object: &Value) -> BTreeSet<String> {
    let ingress = items(object, "/status/loadBalancer/ingress").iter();
    ingress
        .map(|ingress| text_or(ingress, "/ip", str_at(ingress, "/hostname")))
        .filter(|address| !address.is_empty())
        .collect()
}

/// `80/TCP` or `80:30080/TCP`.
pub(crate) fn service_ports(service: &Value, _: Timestamp) -> Value {
    let port = |port: &Value| {
        let protocol = str_at(port, "/protocol");
        match number(port, "/nodePort") {
            0 => format!("{}/{protocol}", number(port, "/port")),
            node_port => format!("{}:{node_port}/{protocol}", number(port, "/port")),
        }
    };
    let ports: Vec<String> = items(service, "/spec/ports").iter().map(port).collect();
    or(ports.join(","), "<none>").into()
}

/// Every ready address with every port.
pub(crate) fn endpoints(endpoints: &Value, _: Timestamp) -> Value {
    let mut all = Vec::new();
    for subset in items(endpoints, "/subsets") {
        let ips = || strings(subset, "/addresses", "ip");
        let ports = items(subset, "/ports");
        if ports.is_empty() {
            all.extend(ips().map(str::to_string));
        }
        for port in ports {
            all.extend(ips().map(|ip| host_port(ip, number(port, "/port"))));
        }
    }
    or(at_most(MAX, &all, ","), "<none>").into()
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(crate) fn slice_ports(slice: &Value, _: Timestamp) -> Value {
    let ports = items(slice, "/ports").iter();
    let names: Vec<String> = ports
        .map(|port| text_or(port, "/port", str_at(port, "/name")))
        .map(|port| or(port, "*"))
        .collect();
    or(at_most(MAX, &names, ","), "<unset>").into()
}

pub(crate) fn slice_endpoints(slice: &Value, _: Timestamp) -> Value {
    let endpoints = items(slice, "/endpoints").iter();
    let all: Vec<String> = endpoints
        .flat_map(|endpoint| strings(endpoint, "/addresses", ""))
        .map(str::to_string)
        .collect();
    or(at_most(MAX, &all, ","), "<unset>").into()
}

pub(crate) fn ingress_hosts(ingress: &Value, _: Timestamp) -> Value {
    let hosts = strings(ingress, "/spec/rules", "host").filter(|host| !host.is_empty());
    let hosts: Vec<String> = hosts.map(str::to_string).collect();
    or(at_most(MAX, &hosts, ","), "*").into()
}

pub(crate) fn load_balancer_addresses(object: &Value, _: Timestamp) -> Value {
    addresses(object).into_iter().collect::<Vec<_>>().join(",").into()
}

pub(crate) fn ingress_ports(ingress: &Value, _: Timestamp) -> Value {
    if items(ingress, "/spec/tls").is_empty() { "80".into() } else { "80, 443".into() }
}

pub(crate) fn ingress_class_name(class: &Value, _: Timestamp) -> Value {
    let default = &class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"];
    let mark = if default == "true" { " (default)" } else { "" };
    format!("{}{mark}", str_at(class, "/metadata/name")).into()
}

pub(crate) fn ingress_class_parameters(class: &Value, _: Timestamp) -> Value {
    let Some(parameters) = class.pointer("/spec/parameters").filter(|value| !value.is_null())
    else {
        return "<none>".into();
    };
    let group = str_at(parameters, "/apiGroup");
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}{dot}{group}/{}", str_at(parameters, "/kind"), str_at(parameters, "/name")).into()
}

/// Whose address it is: `services/default/web`.
pub(crate) fn ip_parent(address: &Value, _: Timestamp) -> Value {
    let Some(parent) = address.pointer("/spec/parentRef") else { return "<none>".into() };
    let group = str_at(parent, "/group");
    let dot = if group.is_empty() { "" } else { "." };
    let resource = format!("{}{dot}{group}", str_at(parent, "/resource")).to_lowercase();
    let namespace = str_at(parent, "/namespace");
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{resource}{slash}{namespace}/{}", str_at(parent, "/name")).into()
}
