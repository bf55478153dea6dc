//! The names of the cluster: a pure function of Services, EndpointSlices and pods.
//!
//! What is published follows Kubernetes' DNS specification and, where that is silent, CoreDNS.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::NetworkConfig;
use crate::services::{is_ready, slices_by_service};

/// Version of the DNS specification, published as `dns-version.DOMAIN`.
const SPECIFICATION: &str = "1.1.0";

/// Seconds an answer about a ClusterIP, which does not change, may be kept.
const SERVICE_TTL: u32 = 5;
/// Seconds an answer about pods may be kept.
const POD_TTL: u32 = 1;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Data {
    /// An address.
    Address(Ipv4Addr),
    /// A port on another name.
    Port(u16, String),
    /// Another name to ask for.
    Alias(String),
    /// The name of an address.
    Pointer(String),
    /// Text.
    Text(String),
}

/// All that is known about one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Seconds it may be kept.
    pub ttl: u32,
    /// Sorted; empty for a name that only has names below it.
    pub data: Vec<Data>,
}

/// Every name of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The cluster's domain.
    pub(super) domain: String,
    /// Counts up with the cluster's changes, as the SOA record shows.
    pub(super) serial: u32,
    /// Ranges whose reverse names are ours.
    reverse: [Ipv4Net; 2],
    /// By name, in lower case, without the dot at its end.
    entries: HashMap<String, Entry>,
}

impl Zone {
    /// The zone of a cluster without Services.
    #[must_use]
    pub fn empty(config: &NetworkConfig) -> Self {
        Self::new([], [], [], config, 0)
    }

    /// The zone of a cluster. `serial` should grow from zone to zone; the store's revision does.
    pub fn new<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        pods: impl IntoIterator<Item = &'a Pod>,
        config: &NetworkConfig,
        serial: u32,
    ) -> Self {
        let domain = config.cluster_domain.to_ascii_lowercase();
        let reverse = [config.pod_cidr, config.service_cidr];
        let mut zone = Self { domain, serial, reverse, entries: HashMap::new() };
        zone.add_fixed(config);
        let slices = slices_by_service(slices);
        for service in services {
            let metadata = &service.metadata;
            let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
                continue;
            };
            let own = slices.get(&(namespace.as_str(), name.as_str()));
            if let Some(spec) = &service.spec {
                let base = format!("{name}.{namespace}.svc.{}", zone.domain);
                zone.add_service(&base, spec, own.map_or(&[], Vec::as_slice));
            }
        }
        for pod in pods {
            zone.add_pod(pod);
        }
        for entry in zone.entries.values_mut() {
            entry.data.sort();
            entry.data.dedup();
        }
        zone
    }

    /// What is known about `name` (lower case, no dot at its end); `None` if it does not exist.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Whether we alone know about `name`.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        is_below(name, &self.domain)
            || reversed(name).is_some_and(|ip| self.reverse.iter().any(|net| net.contains(&ip)))
    }

    fn add_fixed(&mut self, config: &NetworkConfig) {
        let domain = self.domain.clone();
        self.add(&domain, 0, None);
        self.add(&format!("svc.{domain}"), 0, None);
        self.add(&format!("pod.{domain}"), 0, None);
        let server = format!("ns.dns.{domain}");
        self.add(&server, SERVICE_TTL, Some(Data::Address(config.dns_ip())));
        let version = Data::Text(SPECIFICATION.to_owned());
        self.add(&format!("dns-version.{domain}"), SERVICE_TTL, Some(version));
    }

    fn add_service(&mut self, base: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        if spec.type_.as_deref() == Some("ExternalName") {
            let target =
                spec.external_name.iter().map(|name| Data::Alias(name.to_ascii_lowercase()));
            return self.add(base, SERVICE_TTL, target);
        }
        let address: Option<Ipv4Addr> = spec.cluster_ip.as_ref().and_then(|ip| ip.parse().ok());
        // As CoreDNS: a headless name without endpoints does not exist, nor any below it.
        if let Some(ip) = address {
            self.add_cluster_ip(base, ip, spec);
        }
        let unready_too = spec.publish_not_ready_addresses == Some(true);
        for slice in slices {
            let endpoints = slice.endpoints.iter().flatten();
            for endpoint in endpoints.filter(|endpoint| unready_too || is_ready(endpoint)) {
                self.add_endpoint(base, endpoint, slice, address.is_none());
            }
        }
    }

    fn add_cluster_ip(&mut self, base: &str, ip: Ipv4Addr, spec: &ServiceSpec) {
        self.add(base, SERVICE_TTL, Some(Data::Address(ip)));
        self.add(&reverse_name(ip), SERVICE_TTL, Some(Data::Pointer(base.to_owned())));
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let found = PortName { name: port.name.as_deref(), protocol: port.protocol.as_deref() };
            self.add_port(base, SERVICE_TTL, found, Data::Port(number, base.to_owned()));
        }
    }

    /// An endpoint has a name of its own, below its Service's; in a headless Service it also is
    /// what the Service's name stands for.
    fn add_endpoint(
        &mut self,
        base: &str,
        endpoint: &Endpoint,
        slice: &EndpointSlice,
        headless: bool,
    ) {
        let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else {
            return;
        };
        let hostname = endpoint.hostname.as_ref().filter(|name| !name.is_empty());
        let label = hostname.map_or_else(|| dashed(ip), |name| name.to_ascii_lowercase());
        let own = format!("{label}.{base}");
        self.add(&own, POD_TTL, Some(Data::Address(ip)));
        self.add(&reverse_name(ip), POD_TTL, Some(Data::Pointer(own.clone())));
        if !headless {
            return;
        }
        self.add(base, POD_TTL, Some(Data::Address(ip)));
        for port in slice.ports.iter().flatten() {
            let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else {
                continue;
            };
            let found = PortName { name: port.name.as_deref(), protocol: port.protocol.as_deref() };
            self.add_port(base, POD_TTL, found, Data::Port(number, own.clone()));
        }
    }

    fn add_port(&mut self, base: &str, ttl: u32, port: PortName<'_>, data: Data) {
        self.add(base, ttl, Some(data.clone()));
        if let Some(name) = port.name.filter(|name| !name.is_empty()) {
            let protocol = port.protocol.unwrap_or("TCP").to_ascii_lowercase();
            let name = name.to_ascii_lowercase();
            self.add(&format!("_{name}._{protocol}.{base}"), ttl, Some(data));
        }
    }

    fn add_pod(&mut self, pod: &Pod) {
        let status = pod.status.as_ref();
        let ip = status.and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
        let (Some(ip), Some(namespace)) = (ip, &pod.metadata.namespace) else { return };
        let phase = status.and_then(|status| status.phase.as_deref());
        if !matches!(phase, Some("Succeeded" | "Failed")) {
            let name = format!("{}.{namespace}.pod.{}", dashed(ip), self.domain);
            self.add(&name, POD_TTL, Some(Data::Address(ip)));
        }
    }

    /// Adds to a name, which brings all names above it into being: they exist, if only without
    /// data. The shortest of several lifetimes counts.
    fn add(&mut self, name: &str, ttl: u32, data: impl IntoIterator<Item = Data>) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.ttl = if entry.data.is_empty() { ttl } else { entry.ttl.min(ttl) };
        entry.data.extend(data);
        let mut above = name;
        while let Some((_, rest)) = above.split_once('.') {
            above = rest;
            if self.entries.contains_key(above) || !self.is_ours(above) {
                break;
            }
            self.entries.insert(above.to_owned(), Entry::default());
        }
    }
}

/// A port's name and protocol, as far as they are given.
struct PortName<'a> {
    name: Option<&'a str>,
    protocol: Option<&'a str>,
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `10.244.0.5` as a label.
fn dashed(ip: Ipv4Addr) -> String {
    ip.to_string().replace('.', "-")
}

/// `5.0.244.10.in-addr.arpa`.
fn reverse_name(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The address of a whole reverse name.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let ip: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [d, c, b, a] = ip.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}
