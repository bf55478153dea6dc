//! Endpoints and EndpointSlices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::parts::{self, Unique, dns_label, dns_subdomain, label_name};
use crate::{FieldError, FieldErrorKind, names};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
/// Endpoints of a slice, and addresses of an endpoint.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;

/// Endpoints.
pub fn endpoints(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        for subset in Field::root(object).child("subsets").items() {
            let lists = ["addresses", "notReadyAddresses"].map(|name| subset.child(name));
            if lists.iter().all(Field::is_empty) {
                errors.required(&subset, "must specify `addresses` or `notReadyAddresses`");
            }
            for address in lists.iter().flat_map(Field::items) {
                let ip = address.child("ip");
                errors.all_invalid(&ip, names::ip_address(ip.text()));
                endpoint(errors, &address);
                usable(errors, &ip);
            }
            let ports = subset.child("ports");
            for port in ports.items() {
                let name = port.child("name");
                if ports.len() > 1 {
                    errors.require_text(&name);
                }
                self::port(errors, &port);
                let number = port.child("port");
                errors.all_invalid(&number, names::port_number(number.int()));
            }
        }
    })
}

/// An EndpointSlice.
pub fn endpoint_slice(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let root = Field::root(object);
        let kind = root.child("addressType");
        errors.one_of(&kind, ADDRESS_TYPES);
        let endpoints = root.child("endpoints");
        if at_most(errors, &endpoints, ENDPOINTS_MAX) {
            endpoints.items().for_each(|endpoint| in_slice(errors, &endpoint, kind.text()));
        }
        let mut names = Unique::new();
        for port in root.child("ports").items() {
            self::port(errors, &port);
            names.check(errors, &port.child("name"));
            let number = port.child("port");
            if number.is_set() {
                errors.all_invalid(&number, names::port_number(number.int()));
            }
        }
    })
}

/// A change of an EndpointSlice, on top of [`endpoint_slice`].
pub fn endpoint_slice_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let kind = |object| Field::root(object).child("addressType");
    Errors::of(|errors| parts::immutable(errors, &kind(new), &kind(old)))
}

fn in_slice(errors: &mut Errors, endpoint: &Field<'_>, kind: &str) {
    let addresses = endpoint.child("addresses");
    if addresses.is_empty() {
        errors.required(&addresses, "must contain at least 1 address");
    } else if at_most(errors, &addresses, ADDRESSES_MAX) {
        for address in addresses.items() {
            let text = address.text();
            match kind {
                "IPv4" if text.parse::<Ipv4Addr>().is_err() => {
                    errors.invalid(&address, "must be a valid IPv4 address");
                }
                "IPv6" if text.parse::<Ipv6Addr>().is_err() => {
                    errors.invalid(&address, "must be a valid IPv6 address");
                }
                "IPv4" | "IPv6" => usable(errors, &address),
                "FQDN" => dns_subdomain(errors, &address),
                _ => {}
            }
        }
    }
    self::endpoint(errors, endpoint);
}

fn at_most(errors: &mut Errors, list: &Field<'_>, max: usize) -> bool {
    let fits = list.len() <= max;
    if !fits {
        let kind = FieldErrorKind::TooMany(list.len(), max);
        errors.0.push(FieldError { field: list.path.clone(), kind, detail: String::new() });
    }
    fits
}

/// What both kinds say of an endpoint besides its addresses.
fn endpoint(errors: &mut Errors, endpoint: &Field<'_>) {
    let (hostname, node) = (endpoint.child("hostname"), endpoint.child("nodeName"));
    if !hostname.is_empty() {
        dns_label(errors, &hostname);
    }
    if node.is_set() {
        dns_subdomain(errors, &node);
    }
}

/// What both kinds say of a port besides its number.
fn port(errors: &mut Errors, port: &Field<'_>) {
    let (name, application) = (port.child("name"), port.child("appProtocol"));
    if !name.is_empty() {
        dns_label(errors, &name);
    }
    errors.one_of(&port.child("protocol"), PROTOCOLS);
    if application.is_set() {
        label_name(errors, &application);
    }
}

/// An address that a Service may lead to: nobody is to reach the node itself through one.
fn usable(errors: &mut Errors, field: &Field<'_>) {
    let Ok(ip) = field.text().parse::<IpAddr>() else { return };
    let (loopback, link, multicast) = match ip {
        IpAddr::V4(ip) => {
            (ip.is_loopback(), ip.is_link_local(), matches!(ip.octets(), [224, 0, 0, _]))
        }
        IpAddr::V6(ip) => {
            let [first, ..] = ip.segments();
            (ip.is_loopback(), ip.is_unicast_link_local(), first & 0xff0f == 0xff02)
        }
    };
    if ip.is_unspecified() {
        errors.invalid(field, format!("may not be unspecified ({ip})"));
    }
    let ranges = [
        (loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    for (_, why) in ranges.iter().filter(|(is_inside, _)| *is_inside) {
        errors.invalid(field, *why);
    }
}
