//! Ingresses, their classes, network policies, addresses and ranges of Services.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, immutable};
use crate::{FieldError, names};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_MAX: usize = 250;
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];

/// An Ingress.
pub fn ingress(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let (backend, rules) = (spec.child("defaultBackend"), spec.child("rules"));
        if rules.is_empty() && !backend.is_set() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.invalid_as(&spec, &Value::Null, why);
        }
        if backend.is_set() {
            check_backend(errors, &backend);
        }
        for rule in rules.items() {
            check_rule(errors, &rule);
        }
        for tls in spec.child("tls").items() {
            for host in tls.child("hosts").items() {
                errors.all_invalid(&host, host_name(host.text()));
            }
            let secret = tls.child("secretName");
            if !secret.is_empty() {
                parts::dns_subdomain(errors, &secret);
            }
        }
        let class = spec.child("ingressClassName");
        if class.is_set() {
            parts::dns_subdomain(errors, &class);
        }
    })
}

/// A new Ingress, on top of [`ingress`].
pub fn ingress_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let annotation = root.descend(&["metadata", "annotations"]).child(CLASS_ANNOTATION);
        let class = root.descend(&["spec", "ingressClassName"]);
        if annotation.is_set() && class.is_set() && annotation.text() != class.text() {
            let place = Field::at(annotation.value, "annotations").child("");
            let place = Field { path: format!("{}{CLASS_ANNOTATION}", place.path), ..annotation };
            errors.invalid(&place, "must match `ingressClassName` when both are specified");
        }
    })
}

/// A change of an Ingress's status.
pub fn ingress_status(new: &Value, _old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let balancer = Field::root(new).descend(&["status", "loadBalancer", "ingress"]);
        for entry in balancer.items() {
            let (ip, host) = (entry.child("ip"), entry.child("hostname"));
            if !ip.is_empty() {
                errors.all_invalid(&ip, names::ip_address(ip.text()));
            }
            if !host.is_empty() {
                parts::dns_subdomain(errors, &host);
                not_an_address(errors, &host);
            }
        }
    })
}

fn not_an_address(errors: &mut Errors, host: &Field<'_>) {
    if host.text().parse::<IpAddr>().is_ok() {
        errors.invalid(host, "must be a DNS name, not an IP address");
    }
}

fn host_name(host: &str) -> Vec<String> {
    if host.contains('*') {
        names::wildcard_subdomain(host)
    } else {
        names::dns1123_subdomain(host)
    }
}

fn check_rule(errors: &mut Errors, rule: &Field<'_>) {
    let host = rule.child("host");
    if !host.is_empty() {
        not_an_address(errors, &host);
        errors.all_invalid(&host, host_name(host.text()));
    }
    let http = rule.child("http");
    if !http.is_set() {
        return;
    }
    if http.child("paths").is_empty() {
        errors.required(&http.child("paths"), "");
    }
    for path in http.child("paths").items() {
        check_path(errors, &path);
    }
}

fn check_path(errors: &mut Errors, entry: &Field<'_>) {
    let (kind, path) = (entry.child("pathType"), entry.child("path"));
    if !kind.is_set() {
        errors.required(&kind, "pathType must be specified");
        return;
    }
    let is_absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !is_absolute {
                errors.invalid_as(&path, &path.text().into(), "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(part) {
                    errors.invalid(&path, format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if path.text().ends_with(end) {
                    errors.invalid(&path, format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !is_absolute {
                errors.invalid(&path, "must be an absolute path");
            }
        }
        _ => errors.not_supported(&kind, &PATH_TYPES),
    }
    check_backend(errors, &entry.child("backend"));
}

fn check_backend(errors: &mut Errors, backend: &Field<'_>) {
    let (service, resource) = (backend.child("service"), backend.child("resource"));
    let refuse = |errors: &mut Errors, why| errors.invalid_as(backend, &"".into(), why);
    match (service.is_set(), resource.is_set()) {
        (true, true) => refuse(errors, "cannot set both resource and service backends"),
        (false, false) => refuse(errors, "resource or service backend is required"),
        (false, true) => typed_reference(errors, &resource),
        (true, false) => {
            let name = service.child("name");
            if name.is_empty() {
                errors.required(&name, "");
            } else {
                parts::dns_label(errors, &name);
            }
            backend_port(errors, backend, &service.child("port"));
        }
    }
}

fn backend_port(errors: &mut Errors, backend: &Field<'_>, port: &Field<'_>) {
    let (name, number) = (port.child("name"), port.child("number"));
    match (!name.is_empty(), number.int() != 0) {
        (true, true) => {
            errors.invalid_as(backend, &"".into(), "cannot set both port name & port number");
        }
        (true, false) => errors.all_invalid(&name, names::port_name(name.text())),
        (false, true) => errors.all_invalid(&number, names::port_number(number.int())),
        (false, false) => errors.required(backend, "port name or number is required"),
    }
}

/// A `TypedLocalObjectReference`.
fn typed_reference(errors: &mut Errors, reference: &Field<'_>) {
    let group = reference.child("apiGroup");
    if group.is_set() {
        parts::dns_subdomain(errors, &group);
    }
    for name in ["kind", "name"] {
        parts::required_segment(errors, &reference.child(name));
    }
}

/// An IngressClass.
pub fn ingress_class(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let controller = spec.child("controller");
        if controller.is_empty() {
            errors.required(&controller, "");
        } else {
            if controller.text().len() > CONTROLLER_MAX {
                errors.too_long(&controller.path, CONTROLLER_MAX);
            }
            errors.all_invalid(&controller, names::domain_prefixed_path(controller.text()));
        }
        let parameters = spec.child("parameters");
        if parameters.is_set() {
            typed_reference(errors, &parameters);
            parameters_scope(errors, &parameters);
        }
    })
}

fn parameters_scope(errors: &mut Errors, parameters: &Field<'_>) {
    let (scope, namespace) = (parameters.child("scope"), parameters.child("namespace"));
    match scope.text() {
        _ if !scope.is_set() => errors.required(&scope, ""),
        "Namespace" if !namespace.is_set() => {
            errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => parts::dns_label(errors, &namespace),
        "Cluster" if namespace.is_set() => {
            errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        _ => errors.not_supported(&scope, &["Cluster", "Namespace"]),
    }
}

/// A change of an IngressClass: its controller stays.
pub fn ingress_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let controller = |object| Field::root(object).descend(&["spec", "controller"]);
        immutable(errors, &controller(new), &controller(old));
    })
}

/// A NetworkPolicy.
pub fn network_policy(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        parts::selector(errors, &spec.child("podSelector"));
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.child(direction).items() {
                for port in rule.child("ports").items() {
                    policy_port(errors, &port);
                }
                for peer in rule.child(peers).items() {
                    policy_peer(errors, &peer);
                }
            }
        }
        let types = spec.child("policyTypes");
        if types.len() > 2 {
            errors.invalid(&types, "may not specify more than two policyTypes");
            return;
        }
        for kind in types.items() {
            errors.one_of_if_set(&kind, &["Ingress", "Egress"]);
        }
    })
}

fn policy_port(errors: &mut Errors, entry: &Field<'_>) {
    errors.one_of_if_set(&entry.child("protocol"), &["TCP", "UDP", "SCTP"]);
    let (port, end) = (entry.child("port"), entry.child("endPort"));
    match port.value {
        Value::Null if end.is_set() => {
            errors.invalid(&end, "may not be specified when `port` is not specified");
        }
        Value::Null => {}
        Value::String(name) => {
            if end.is_set() {
                errors.invalid(&end, "may not be specified when `port` is non-numeric");
            }
            errors.all_invalid(&port, names::port_name(name));
        }
        _ => {
            errors.all_invalid(&port, names::port_number(port.int()));
            if end.is_set() {
                if end.int() < port.int() {
                    errors.invalid(&end, "must be greater than or equal to `port`");
                }
                errors.all_invalid(&end, names::port_number(end.int()));
            }
        }
    }
}

fn policy_peer(errors: &mut Errors, peer: &Field<'_>) {
    let mut peers = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        let selector = peer.child(selector);
        if selector.is_set() {
            peers += 1;
            parts::selector(errors, &selector);
        }
    }
    let block = peer.child("ipBlock");
    if block.is_set() {
        peers += 1;
        ip_block(errors, &block);
    }
    if peers == 0 {
        errors.required(peer, "must specify a peer");
    } else if peers > 1 && block.is_set() {
        errors.forbidden(peer, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(errors: &mut Errors, block: &Field<'_>) {
    let cidr = block.child("cidr");
    if cidr.is_empty() {
        errors.required(&cidr, "");
        return;
    }
    errors.all_invalid(&cidr, names::cidr(cidr.text()));
    let Ok(range) = cidr.text().parse::<IpNet>() else { return };
    for except in block.child("except").items() {
        errors.all_invalid(&except, names::cidr(except.text()));
        let Ok(part) = except.text().parse::<IpNet>() else { continue };
        if !range.contains(&part.addr()) || range.prefix_len() >= part.prefix_len() {
            errors.invalid(&except, "must be a strict subset of `cidr`");
        }
    }
}

/// An IPAddress.
pub fn ip_address(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let parent = Field::root(object).descend(&["spec", "parentRef"]);
        if !parent.is_set() {
            errors.required(&parent, "");
            return;
        }
        let (group, namespace) = (parent.child("group"), parent.child("namespace"));
        if !group.is_empty() {
            parts::dns_subdomain(errors, &group);
        }
        for name in ["resource", "name"] {
            parts::required_segment(errors, &parent.child(name));
        }
        if !namespace.is_empty() {
            errors.all_invalid(&namespace, names::path_segment(namespace.text(), false));
        }
    })
}

/// A change of an IPAddress: its parent stays.
pub fn ip_address_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let parent = |object| Field::root(object).descend(&["spec", "parentRef"]);
        immutable(errors, &parent(new), &parent(old));
    })
}

/// A new ServiceCIDR. What was accepted once stays as it is, so only new ones are checked.
pub fn service_cidr_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| ranges(errors, &Field::root(object).descend(&["spec", "cidrs"])))
}

fn ranges(errors: &mut Errors, cidrs: &Field<'_>) {
    match cidrs.len() {
        0 => return errors.required(cidrs, "at least one CIDR required"),
        1 | 2 => {}
        _ => return errors.invalid(cidrs, "may only hold up to 2 values"),
    }
    for cidr in cidrs.items() {
        errors.all_invalid(&cidr, names::cidr(cidr.text()));
    }
    let parsed: Vec<IpNet> = cidrs.items().filter_map(|c| c.text().parse().ok()).collect();
    if let [IpNet::V4(_), IpNet::V4(_)] | [IpNet::V6(_), IpNet::V6(_)] = parsed.as_slice() {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(cidrs, why);
    }
}

/// A change of a ServiceCIDR: a second family may be added, and nothing else.
pub fn service_cidr_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let cidrs = |object| Field::root(object).descend(&["spec", "cidrs"]);
        let (new, old) = (cidrs(new), cidrs(old));
        let is_grown = (old.len(), new.len()) == (1, 2);
        if !is_grown && old.len() != new.len() {
            errors.invalid(&new, "field is immutable");
            return;
        }
        for (new, old) in new.items().zip(old.items()) {
            immutable(errors, &new, &old);
        }
        if is_grown {
            ranges(errors, &new);
        }
    })
}
