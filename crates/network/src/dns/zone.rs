//! The names of the cluster: a pure function of Services, EndpointSlices and pods.
//!
//! What is published follows Kubernetes' DNS specification and, where that is silent, CoreDNS.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use imbl::OrdMap;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::NetworkConfig;
use crate::services::{is_ready, slices_by_service};
use coracle_api::pods::AnyPod;

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
    /// What makes up the above, and how often each was said.
    said: BTreeMap<(Option<Data>, u32), u32>,
    /// How often a name below it was said.
    below: u32,
}

impl Entry {
    /// Counts one more (or one less) of what is said.
    fn count(&mut self, said: (Option<Data>, u32), more: bool) {
        let count = self.said.entry(said.clone()).or_default();
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.said.remove(&said);
        }
        // The shortest of several lifetimes counts.
        let lifetimes = |with_data: bool| {
            let said = self.said.keys().filter(move |(data, _)| data.is_some() || !with_data);
            said.map(|(_, ttl)| *ttl).min()
        };
        self.ttl = lifetimes(true).or(lifetimes(false)).unwrap_or_default();
        self.data = self.said.keys().filter_map(|(data, _)| data.clone()).collect();
        self.data.dedup();
    }

    fn is_nothing(&self) -> bool {
        self.said.is_empty() && self.below == 0
    }
}

/// One thing that is said about a name; without data, that it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    name: String,
    ttl: u32,
    data: Option<Data>,
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
    entries: OrdMap<String, Entry>,
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
        let mut zone = Self::of_none(config);
        zone.serial = serial;
        let slices = slices_by_service(slices);
        for service in services {
            let ObjectMeta { namespace, name, .. } = &service.metadata;
            let key = namespace.as_deref().zip(name.as_deref());
            let own = key.and_then(|key| slices.get(&key)).map_or(&[][..], Vec::as_slice);
            let facts = service_facts(&zone.domain, service, own);
            facts.iter().for_each(|fact| zone.put(fact));
        }
        for fact in pods.into_iter().flat_map(|pod| pod_facts(&config.cluster_domain, pod)) {
            zone.put(&fact);
        }
        zone
    }

    /// The names that every cluster has.
    pub(crate) fn of_none(config: &NetworkConfig) -> Self {
        let domain = config.cluster_domain.to_ascii_lowercase();
        let reverse = [config.pod_cidr, config.service_cidr];
        let mut zone = Self { domain, serial: 0, reverse, entries: OrdMap::new() };
        let facts = fixed_facts(&zone.domain, config);
        facts.iter().for_each(|fact| zone.put(fact));
        zone
    }

    /// The cluster's domain.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// The same names under another serial number.
    #[must_use]
    pub(crate) fn with_serial(&self, serial: u32) -> Self {
        Self { serial, ..self.clone() }
    }

    /// Something is said, which brings all names above it into being: they exist, if only without
    /// data.
    pub(crate) fn put(&mut self, fact: &Fact) {
        self.change(fact, true);
    }

    /// Something that was said is not said any more.
    pub(crate) fn take(&mut self, fact: &Fact) {
        self.change(fact, false);
    }

    fn change(&mut self, fact: &Fact, more: bool) {
        let entry = self.entries.entry(fact.name.clone()).or_default();
        entry.count((fact.data.clone(), fact.ttl), more);
        let mut gone = Vec::new();
        if entry.is_nothing() {
            gone.push(fact.name.as_str());
        }
        let mut name = fact.name.as_str();
        while let Some((_, above)) = name.split_once('.') {
            if !self.is_ours(above) {
                break;
            }
            name = above;
            let entry = self.entries.entry(above.to_owned()).or_default();
            entry.below =
                if more { entry.below.saturating_add(1) } else { entry.below.saturating_sub(1) };
            if entry.is_nothing() {
                gone.push(above);
            }
        }
        for name in gone {
            self.entries.remove(name);
        }
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
}

/// What is said of every cluster.
fn fixed_facts(domain: &str, config: &NetworkConfig) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add(domain, 0, None);
    facts.add(&format!("svc.{domain}"), 0, None);
    facts.add(&format!("pod.{domain}"), 0, None);
    let server = format!("ns.dns.{domain}");
    facts.add(&server, SERVICE_TTL, Some(Data::Address(config.dns_ip())));
    let version = Data::Text(SPECIFICATION.to_owned());
    facts.add(&format!("dns-version.{domain}"), SERVICE_TTL, Some(version));
    facts.0
}

/// What is said of a Service and its endpoints.
pub(crate) fn service_facts(
    domain: &str,
    service: &Service,
    slices: &[&EndpointSlice],
) -> Vec<Fact> {
    let mut facts = Facts::default();
    let ObjectMeta { namespace, name, .. } = &service.metadata;
    if let (Some(namespace), Some(name), Some(spec)) = (namespace, name, &service.spec) {
        facts.add_service(&format!("{name}.{namespace}.svc.{domain}"), spec, slices);
    }
    facts.0
}

/// What is said of a pod.
pub(crate) fn pod_facts(domain: &str, pod: &Pod) -> Option<Fact> {
    let domain = domain.to_ascii_lowercase();
    let status = pod.status.as_ref()?;
    let ip: Ipv4Addr = status.pod_ip.as_ref()?.parse().ok()?;
    let namespace = pod.metadata.namespace.as_ref()?;
    let name = format!("{}.{namespace}.pod.{domain}", dashed(ip));
    (!pod.has_ended()).then_some(Fact { name, ttl: POD_TTL, data: Some(Data::Address(ip)) })
}

/// What is said, as it is gathered.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, name: &str, ttl: u32, data: Option<Data>) {
        self.0.push(Fact { name: name.to_owned(), ttl, data });
    }

    fn add_service(&mut self, base: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        if spec.type_.as_deref() == Some("ExternalName") {
            let alias = |name: &String| Data::Alias(name.to_ascii_lowercase());
            return self.add(base, SERVICE_TTL, spec.external_name.as_ref().map(alias));
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
