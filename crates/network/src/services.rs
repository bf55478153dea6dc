//! Where every service address leads: a pure function of Services and EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use coracle_api::addresses::Outside;
use coracle_api::pods::AnyPod;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{ContainerPort, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::NetworkConfig;

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `sessionAffinityConfig.clientIP.timeoutSeconds` when it is not set: three hours.
const AFFINITY_SECONDS: u32 = 10_800;

/// A transport protocol of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Parses the API's `protocol`; missing means TCP, anything unknown is `None`.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// Its number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// An address that clients of a Service use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// ClusterIP, node address, load balancer address or external address.
    pub ip: Ipv4Addr,
    /// Service port or node port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// An address that serves a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// The port on it.
    pub port: u16,
}

/// What stands behind a [`Frontend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Sorted, no duplicates. With none, connections are refused at once.
    pub backends: Vec<Backend>,
    /// With `sessionAffinity: ClientIP`: seconds a client keeps its backend after it was last
    /// seen.
    pub affinity_seconds: Option<u32>,
    /// `loadBalancerSourceRanges`: who may connect; empty means everybody.
    pub sources: Vec<Ipv4Net>,
}

/// Every address of every Service, and what it leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceMap {
    /// Sorted by frontend, so that equal clusters give equal maps.
    pub targets: BTreeMap<Frontend, Target>,
}

/// The service map of the cluster. Headless and ExternalName Services have no address and do not
/// appear. Where two claim one frontend, the first by [`Rank`] has it. Claims on what is not outside
/// (`config.outside()`) are none.
pub fn service_map<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    config: &NetworkConfig,
) -> ServiceMap {
    let slices = slices_by_service(slices);
    let outside = config.outside();
    let mut claims: Claims = api_server(config).into_iter().collect();
    for service in services {
        let of_service = slices.get(&key(&service.metadata)).map_or(&[][..], Vec::as_slice);
        for (at, target) in service_claims(service, of_service, config, &outside) {
            claims.entry(at).or_insert(target);
        }
    }
    let mut targets = BTreeMap::new();
    for ((frontend, _), target) in claims {
        targets.entry(frontend).or_insert(target);
    }
    ServiceMap { targets }
}

/// Who wants which frontend, the first of each first.
pub(crate) type Claims = BTreeMap<(Frontend, Rank), Target>;

/// Whose a frontend is when several claim it: an address that the cluster gave goes before one that
/// somebody wrote down, of those the oldest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    claim: Claim,
    /// Of claims that somebody wrote down.
    since: Option<Time>,
    source: Source,
}

impl Rank {
    /// No other is before it.
    pub(crate) const FIRST: Self =
        Self { claim: Claim::Given, since: None, source: Source::Cluster };
}

/// What a part of the map and of the zone comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The cluster itself: pods need the API whatever anybody wrote into the Service `kubernetes`.
    Cluster,
    /// A Service: namespace and name.
    Service(String, String),
    /// A pod: namespace and name.
    Pod(String, String),
}

/// By what right somebody has an address; the first go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The cluster gave it to this Service alone.
    Given,
    /// Its status names it.
    Balanced,
    /// Its owner named it.
    External,
    /// A pod has it of the node.
    HostPort,
}

/// The frontends that a Service claims, and what they lead to.
pub(crate) fn service_claims(
    service: &Service,
    slices: &[&EndpointSlice],
    config: &NetworkConfig,
    outside: &Outside,
) -> Vec<((Frontend, Rank), Target)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let (namespace, name) = key(&service.metadata);
    let rank = |claim| Rank {
        claim,
        since: service.metadata.creation_timestamp.clone().filter(|_| claim != Claim::Given),
        source: Source::Service(namespace.to_owned(), name.to_owned()),
    };
    let found = frontends(service, spec, slices, config, outside).into_iter();
    found.map(|(claim, frontend, target)| ((frontend, rank(claim)), target)).collect()
}

/// The node's ports that lead to a running pod (`hostPort`).
pub(crate) fn pod_claims(pod: &Pod, config: &NetworkConfig) -> Vec<((Frontend, Rank), Target)> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return Vec::new() };
    let ip = status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
    let ours = pod.node_name() == Some(config.node_name.as_str());
    let (Some(ip), true) = (ip, ours && !pod.has_ended() && spec.host_network != Some(true)) else {
        return Vec::new();
    };
    let (namespace, name) = key(&pod.metadata);
    let lead = |port: &ContainerPort, at: Ipv4Addr| {
        let frontend = Frontend {
            ip: at,
            port: port_number(port.host_port?)?,
            protocol: Protocol::parse(port.protocol.as_deref())?,
        };
        let source = Source::Pod(namespace.to_owned(), name.to_owned());
        let rank = Rank { claim: Claim::HostPort, since: None, source };
        let backends = vec![Backend { ip, port: port_number(port.container_port)? }];
        Some(((frontend, rank), Target { backends, affinity_seconds: None, sources: Vec::new() }))
    };
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let everywhere = ports.flat_map(|port| {
        let asked = port.host_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        // An address that is not the node's is another's.
        let own = [config.node_ip(), Ipv4Addr::LOCALHOST].into_iter();
        let meant = own.filter(move |own| asked.is_none_or(|ip| ip.is_unspecified() || ip == *own));
        meant.map(move |at| (port, at))
    });
    everywhere.filter_map(|(port, at)| lead(port, at)).collect()
}

fn key(metadata: &ObjectMeta) -> (&str, &str) {
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// IPv4 slices by namespace and name of the Service they belong to.
pub(crate) fn slices_by_service<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>> {
    let mut by_service: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| slice.address_type == "IPv4") {
        let labels = slice.metadata.labels.as_ref();
        if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) {
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            by_service.entry((namespace, service.as_str())).or_default().push(slice);
        }
    }
    by_service
}

/// Where the API is.
pub(crate) fn api_server(config: &NetworkConfig) -> [((Frontend, Rank), Target); 1] {
    let frontend = Frontend { ip: config.api_ip(), port: 443, protocol: Protocol::Tcp };
    // The first of all: no source sorts before the cluster.
    let backends = vec![Backend { ip: config.host_ip(), port: config.api_port }];
    [((frontend, Rank::FIRST), Target { backends, affinity_seconds: None, sources: Vec::new() })]
}

fn frontends(
    service: &Service,
    spec: &ServiceSpec,
    slices: &[&EndpointSlice],
    config: &NetworkConfig,
    outside: &Outside,
) -> Vec<(Claim, Frontend, Target)> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let inside = Reach::inside(spec, config);
    let outside = Reach::outside(service, spec, config, outside);
    let affinity_seconds = affinity(spec);
    let mut found = Vec::new();
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        for reach in [&inside, &outside] {
            let backends = backends(slices, port, protocol, reach.local_to);
            for (claim, ip, number, sources) in reach.addresses(port) {
                let frontend = Frontend { ip, port: number, protocol };
                let (backends, sources) = (backends.clone(), sources.to_vec());
                found.push((claim, frontend, Target { backends, affinity_seconds, sources }));
            }
        }
    }
    found
}

/// The addresses of a Service that share one traffic policy.
struct Reach<'a> {
    /// At the service port, for everybody, by this right.
    open: (Claim, Vec<Ipv4Addr>),
    /// At the service port, for `sources` only.
    guarded: Vec<Ipv4Addr>,
    sources: Vec<Ipv4Net>,
    /// At the node port.
    node: Option<Ipv4Addr>,
    /// With traffic policy `Local`: the node whose endpoints alone count.
    local_to: Option<&'a str>,
}

impl<'a> Reach<'a> {
    fn inside(spec: &ServiceSpec, config: &'a NetworkConfig) -> Self {
        let open = spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect();
        let local = spec.internal_traffic_policy.as_deref() == Some("Local");
        let local_to = local.then_some(config.node_name.as_str());
        let open = (Claim::Given, open);
        Self { open, guarded: Vec::new(), sources: Vec::new(), node: None, local_to }
    }

    fn outside(
        service: &Service,
        spec: &ServiceSpec,
        config: &'a NetworkConfig,
        outside: &Outside,
    ) -> Self {
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        let on_node = balanced || spec.type_.as_deref() == Some("NodePort");
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let ranges = spec.load_balancer_source_ranges.iter().flatten();
        let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        let external = external.filter(|ip| outside.refuses_external(*ip).is_none());
        let mut guarded = if balanced { ingress_addresses(service) } else { Vec::new() };
        guarded.retain(|ip| outside.refuses_balancer(*ip).is_none());
        Self {
            open: (Claim::External, external.collect()),
            guarded,
            sources: ranges.filter_map(|range| range.trim().parse().ok()).collect(),
            node: on_node.then(|| config.node_ip()),
            local_to: local.then_some(config.node_name.as_str()),
        }
    }

    fn addresses(&self, port: &ServicePort) -> Vec<(Claim, Ipv4Addr, u16, &[Ipv4Net])> {
        let mut addresses = Vec::new();
        if let Some(number) = port_number(port.port) {
            let (claim, open) = &self.open;
            addresses.extend(open.iter().map(|ip| (*claim, *ip, number, &[][..])));
            let guarded = self.guarded.iter();
            addresses.extend(guarded.map(|ip| (Claim::Balanced, *ip, number, &self.sources[..])));
        }
        if let (Some(ip), Some(number)) = (self.node, port.node_port.and_then(port_number)) {
            addresses.push((Claim::Given, ip, number, &[][..]));
        }
        addresses
    }
}

/// A port between 1 and 65535; 0 means "none" in the API.
pub(crate) fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// Addresses a load balancer answers on. With `ipMode: Proxy` traffic must go through the load
/// balancer itself, so those are not ours.
fn ingress_addresses(service: &Service) -> Vec<Ipv4Addr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    ingress
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect()
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client.and_then(|client| client.timeout_seconds);
    Some(seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_SECONDS))
}

/// Ready endpoints of one port; when none is ready, those that still serve while they terminate.
fn backends(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    protocol: Protocol,
    local_to: Option<&str>,
) -> Vec<Backend> {
    let eligible = |endpoint: &&Endpoint| match local_to {
        Some(node) => endpoint.node_name.as_deref() == Some(node),
        None => true,
    };
    let choose = |state: fn(&Endpoint) -> bool| -> BTreeSet<Backend> {
        let mut chosen = BTreeSet::new();
        for slice in slices {
            let Some(number) = slice_port(slice, port, protocol) else { continue };
            let endpoints = slice.endpoints.iter().flatten().filter(eligible);
            chosen.extend(
                endpoints
                    .filter(|endpoint| state(endpoint))
                    .flat_map(|endpoint| endpoint.addresses.first())
                    .filter_map(|ip| Some(Backend { ip: ip.parse().ok()?, port: number })),
            );
        }
        chosen
    };
    let ready = choose(is_ready);
    let chosen = if ready.is_empty() { choose(serves_while_terminating) } else { ready };
    chosen.into_iter().collect()
}

/// The number under which `slice` serves the Service's port (same name, same protocol).
fn slice_port(slice: &EndpointSlice, port: &ServicePort, protocol: Protocol) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let same = slice.ports.iter().flatten().find(|candidate| {
        candidate.name.as_deref().unwrap_or_default() == name
            && Protocol::parse(candidate.protocol.as_deref()) == Some(protocol)
    })?;
    port_number(same.port?)
}

/// A missing condition counts as ready, as the API says.
pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn serves_while_terminating(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    let serving = conditions.and_then(|conditions| conditions.serving);
    let terminating = conditions.and_then(|conditions| conditions.terminating);
    serving.unwrap_or_else(|| is_ready(endpoint)) && terminating == Some(true)
}

#[cfg(test)]
mod tests;
