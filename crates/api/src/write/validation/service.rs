//! Services. Addresses and node ports have been allocated when they come here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, dns_label, label_name, port};
use crate::{FieldError, names};

const NONE: &str = "None";
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// A Service, new or changed.
pub fn service(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        let ty = spec.child("type");
        let headless = is_headless(&spec);
        if spec.child("ports").is_empty() && !headless && ty.text() != "ExternalName" {
            errors.required(&spec.child("ports"), "");
        }
        by_type(errors, &spec, headless);
        ports(errors, &spec);
        parts::check_labels(errors, &spec.child("selector"));
        affinity(errors, &spec);
        addresses(errors, &spec);
        errors.one_of(&ty, &TYPES);
        load_balancer(errors, &spec);
        traffic(errors, &spec);
        families(errors, &spec, headless);
    })
}

/// The cluster has addresses of one family; only where none is given may others be named.
fn families(errors: &mut Errors, spec: &Field<'_>, headless: bool) {
    let without = headless && spec.child("selector").is_empty();
    if spec.child("type").text() == "ExternalName" || without {
        return;
    }
    let policy = spec.child("ipFamilyPolicy");
    if policy.text() == "RequireDualStack" {
        errors.invalid(&policy, "this cluster is not configured for dual-stack services");
    }
    for family in spec.child("ipFamilies").items().filter(|family| family.text() == "IPv6") {
        errors.invalid(&family, "not configured on this cluster");
    }
}

fn is_headless(spec: &Field<'_>) -> bool {
    let first = spec.child("clusterIPs").items().next();
    spec.child("clusterIP").text() == NONE || first.is_some_and(|ip| ip.text() == NONE)
}

fn by_type(errors: &mut Errors, spec: &Field<'_>, headless: bool) {
    match spec.child("type").text() {
        ty @ ("LoadBalancer" | "NodePort") if headless => {
            let field = Field::at(&Value::Null, &format!("{}.clusterIPs[0]", spec.path));
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.invalid_as(&field, &NONE.into(), &detail);
        }
        "ExternalName" => {
            let one = spec.child("clusterIP");
            for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let field = spec.child(name);
                if !field.is_empty() || (name == "clusterIPs" && !one.is_empty()) {
                    errors.forbidden(&field, "may not be set for ExternalName services");
                }
            }
            let name = spec.child("externalName");
            match name.text().strip_suffix('.').unwrap_or(name.text()) {
                "" => errors.required(&name, ""),
                text => errors.all_invalid(&name, names::dns1123_subdomain(text)),
            }
        }
        _ => {}
    }
}

fn ports(errors: &mut Errors, spec: &Field<'_>) {
    let list = spec.child("ports");
    let (mut names, mut node_ports, mut numbers) =
        (Unique::new(), BTreeSet::new(), BTreeSet::new());
    for item in list.items() {
        let name = item.child("name");
        if !name.is_empty() {
            dns_label(errors, &name);
            names.check(errors, &name);
        } else if list.len() > 1 {
            errors.required(&name, "");
        }
        let (number, protocol) = (item.child("port"), item.child("protocol"));
        errors.all_invalid(&number, crate::names::port_number(number.int()));
        errors.one_of(&protocol, &["SCTP", "TCP", "UDP"]);
        port(errors, &item.child("targetPort"));
        let app = item.child("appProtocol");
        if app.is_set() {
            label_name(errors, &app);
        }
        let node = item.child("nodePort");
        if node.int() != 0 {
            if spec.child("type").text() == "ClusterIP" {
                errors.forbidden(&node, "may not be used when `type` is 'ClusterIP'");
            }
            if !node_ports.insert((protocol.text(), node.int())) {
                errors.duplicate(&node);
            }
        }
        if !numbers.insert((protocol.text(), number.int())) {
            errors.duplicate(&item);
        }
    }
}

fn affinity(errors: &mut Errors, spec: &Field<'_>) {
    let affinity = spec.child("sessionAffinity");
    errors.one_of(&affinity, &["ClientIP", NONE]);
    let config = spec.child("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.descend(&["clientIP", "timeoutSeconds"]);
            if !timeout.is_set() {
                errors.required(&timeout, "when session affinity type is ClientIP");
            } else if !(1..=86_400).contains(&timeout.int()) {
                errors.invalid(&timeout, "must be greater than 0 and less than 86400");
            }
        }
        NONE if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn addresses(errors: &mut Errors, spec: &Field<'_>) {
    if spec.child("type").text() == "ExternalName" {
        return;
    }
    let (one, list) = (spec.child("clusterIP"), spec.child("clusterIPs"));
    if list.len() > 2 {
        errors.invalid(&list, "may only hold up to 2 values");
    }
    for (index, ip) in list.items().enumerate() {
        if ip.text() == NONE {
            if index > 0 || list.len() > 1 {
                errors.invalid(&list, "'None' must be the first and only value");
            }
        } else {
            errors.all_invalid(&ip, names::ip_address(ip.text()));
        }
        if index == 0 && ip.text() != one.text() {
            errors.invalid(&list, "first value must match `clusterIP`");
        }
    }
    if list.is_empty() && !one.is_empty() && one.text() != NONE {
        errors.all_invalid(&one, names::ip_address(one.text()));
    }
    let families = spec.child("ipFamilies");
    for family in families.items() {
        errors.one_of_if_set(&family, &["IPv4", "IPv6"]);
    }
    errors.one_of_if_set(
        &spec.child("ipFamilyPolicy"),
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
    );
    for ip in spec.child("externalIPs").items() {
        errors.all_invalid(&ip, names::ip_address(ip.text()));
    }
}

fn load_balancer(errors: &mut Errors, spec: &Field<'_>) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let is_balancer = spec.child("type").text() == "LoadBalancer";
    let ranges = spec.child("loadBalancerSourceRanges");
    let shown = Field::at(ranges.value, &format!("{}.LoadBalancerSourceRanges", spec.path));
    if !ranges.is_empty() && !is_balancer {
        errors.forbidden(&shown, ONLY);
    }
    for range in shown.items() {
        if range.text().trim().parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.invalid(&range, detail);
        }
    }
    for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        let field = spec.child(name);
        if field.is_set() && !is_balancer {
            errors.forbidden(&field, ONLY);
        }
    }
}

fn traffic(errors: &mut Errors, spec: &Field<'_>) {
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let ty = spec.child("type").text();
    let external = spec.child("externalTrafficPolicy");
    let is_external = matches!(ty, "NodePort" | "LoadBalancer")
        || (ty == "ClusterIP" && !spec.child("externalIPs").is_empty());
    if is_external {
        errors.one_of(&external, &POLICIES);
    } else if !external.is_empty() {
        errors.invalid(&external, "may only be set for externally-accessible services");
    }
    let health = spec.child("healthCheckNodePort");
    if health.int() != 0 {
        if ty == "LoadBalancer" && external.text() == "Local" {
            errors.all_invalid(&health, names::port_number(health.int()));
        } else {
            errors.invalid(
                &health,
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            );
        }
    }
    let internal = spec.child("internalTrafficPolicy");
    errors.one_of_if_set(&internal, &POLICIES);
    errors.one_of_if_set(
        &spec.child("trafficDistribution"),
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
    );
}

/// A change of a Service, on top of [`service`].
pub fn service_update(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let (new, old) = (Field::root(new).child("spec"), Field::root(old).child("spec"));
        let is_name = |spec: &Field<'_>| spec.child("type").text() == "ExternalName";
        if !is_name(&new) && !is_name(&old) {
            for (name, shown) in [("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")] {
                unchanged(errors, &new.child(name), &old.child(name), shown);
            }
        }
        let (class, was) = (new.child("loadBalancerClass"), old.child("loadBalancerClass"));
        let balances = |spec: &Field<'_>| spec.child("type").text() == "LoadBalancer";
        if balances(&new) && balances(&old) && class.value != was.value {
            errors.invalid(&class, "may not change once set");
        }
        let (health, was) = (new.child("healthCheckNodePort"), old.child("healthCheckNodePort"));
        if health.int() != was.int() && health.int() != 0 && was.int() != 0 {
            errors.forbidden(&health, "field is immutable");
        }
    })
}

/// A second address or family may come and go; those that are there stay.
fn unchanged(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>, what: &str) {
    for (index, was) in old.items().enumerate() {
        let path = format!("{}[{index}]", new.path);
        let field = Field::at(&Value::Null, &path);
        match new.items().nth(index) {
            Some(now) if now.value == was.value => {}
            Some(_) => errors.invalid_as(&field, new.value, "may not change once set"),
            None if index == 0 => {
                let detail = format!("primary {what} can not be unset");
                errors.invalid_as(&field, new.value, &detail);
            }
            None => {}
        }
    }
}
