//! Inside the node: its addresses, its pods' links, its Services.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ipnet::Ipv4Net;

use super::elements::{Chooser, Elements, SERVICES};
use super::host::{HOST_MAC, has_ipv6, unless};
use super::namespace::Namespace;
use super::netlink::{Message, Socket};
use super::route::{self, End, Link, Mac, Route, RouteKind};
use super::ruleset::{self, NodeFacts};
use super::{conntrack, lock, names, nft, refused, unreadable};
use crate::{NetworkConfig, NetworkError, PodLink, PolicyTable, ServiceMap};

/// Every pod's next hop; the same for all, for each has a link of its own.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The node's end of every pod's link.
const GATEWAY_MAC: Mac = [2, 0, 0x0a, 0xf4, 0, 3];
/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Settings inside the node's namespace; the host's own are not touched by them.
const SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    // A host port on 127.0.0.1 leads to a pod; the rules keep everybody else off that address.
    ("/proc/sys/net/ipv4/conf/all/route_localnet", "1"),
    // A pod may only send from its own address.
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "1"),
    // Who asks for what is not there shall know at once, however often it asks.
    ("/proc/sys/net/ipv4/icmp_ratelimit", "0"),
    // Host to Service to host goes in and out by one link; that is no detour to complain about.
    ("/proc/sys/net/ipv4/conf/all/send_redirects", "0"),
    ("/proc/sys/net/ipv4/conf/default/send_redirects", "0"),
];

/// Links of the node and of pods get no IPv6 address by themselves; where there is no IPv6, there
/// is no such setting.
const NO_IPV6: (&str, &str) = ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");

/// The node's namespace, and the sockets to change it.
#[derive(Debug)]
pub struct Node {
    namespace: Namespace,
    route: Mutex<Socket>,
    /// For removals, which take the kernel long; they must not keep others waiting.
    removals: Mutex<Socket>,
    services: Mutex<Services>,
    facts: NodeFacts,
    mtu: u32,
}

#[derive(Debug)]
struct Services {
    nft: Socket,
    /// `None`: what the kernel holds is not known, and the next map is written whole.
    held: Option<Held>,
}

#[derive(Debug, Default)]
struct Held {
    elements: Elements,
    choosers: BTreeSet<Chooser>,
}

impl Node {
    /// The node in `namespace`, with the settings it needs.
    pub fn new(
        namespace: Namespace,
        config: &NetworkConfig,
        lb_range: Ipv4Net,
        mtu: u32,
    ) -> Result<Self, NetworkError> {
        // Before there are interfaces, for some settings are inherited by those yet to come.
        namespace.run(write_settings)??;
        let open = || -> io::Result<[Socket; 3]> {
            Ok([Socket::route()?, Socket::route()?, Socket::netfilter()?])
        };
        let [route, removals, nft] =
            namespace.run(open)?.map_err(unreadable("open sockets inside the node"))?;
        Ok(Self {
            namespace,
            route: Mutex::new(route),
            removals: Mutex::new(removals),
            services: Mutex::new(Services { nft, held: None }),
            facts: NodeFacts {
                node_ip: config.node_ip(),
                dns_ip: config.dns_ip(),
                service_cidr: config.service_cidr,
                lb_range,
            },
            mtu,
        })
    }

    /// The node's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Runs `work` with the socket for links and routes.
    pub fn with_route<T>(&self, work: impl FnOnce(&Namespace, &mut Socket) -> T) -> T {
        work(&self.namespace, &mut lock(&self.route))
    }

    /// Addresses and routes of the node itself.
    pub fn prepare(&self, host_ip: Ipv4Addr, pods: Ipv4Net) -> Result<(), NetworkError> {
        let mut socket = lock(&self.route);
        let uplink = find(&mut socket, names::UPLINK)?.ok_or(NetworkError::NotUp)?.index;
        let node_ip = self.facts.node_ip;
        let everywhere = Ipv4Net::default();
        let messages = vec![
            route::set_up(LOOPBACK),
            route::add_address(LOOPBACK, GATEWAY, route::SCOPE_HOST),
            route::add_address(LOOPBACK, self.facts.dns_ip, route::SCOPE_HOST),
            route::set_up(uplink),
            route::add_address(uplink, node_ip, route::SCOPE_GLOBAL),
            route::add_neighbour(uplink, host_ip, HOST_MAC),
            route::add_route(&Route::direct(host_ip.into(), uplink).from(node_ip)),
            route::add_route(&Route::direct(everywhere, uplink).via(host_ip).from(node_ip)),
            // Addresses without a pod; by default they would go to the host, and back, and back.
            route::add_route(&Route::unreachable(pods, 0)),
        ];
        socket.request(messages).map_err(refused("set up the node"))?;
        route::settle(&mut socket, names::UPLINK).map_err(unreadable("wait for the node's link"))
    }

    /// Makes the table of Services unless it is there: pods that outlived an engine keep theirs
    /// until the first map comes.
    pub fn prepare_services(&self) -> Result<(), NetworkError> {
        let mut services = lock(&self.services);
        if services.nft.get(nft::get_set(names::NODE_TABLE, SERVICES)).is_ok() {
            return Ok(());
        }
        let batch = ruleset::node_table(&self.facts);
        services
            .nft
            .transaction(batch.into_messages())
            .map_err(refused("make the node's table"))?;
        services.held = Some(Held::default());
        Ok(())
    }

    /// Makes these what the kernel holds.
    pub fn apply(&self, map: &ServiceMap, policies: &PolicyTable) -> Result<(), NetworkError> {
        let mut services = lock(&self.services);
        // Taken out, so that after a failure nothing is believed about the kernel.
        let (mut batch, mut held) = match services.held.take() {
            Some(held) => (nft::Batch::new(names::NODE_TABLE), held),
            None => (ruleset::node_table(&self.facts), Held::default()),
        };
        let change = held.elements.change(map, policies);
        ruleset::apply(&mut batch, &change, |chooser| held.choosers.contains(chooser));
        services
            .nft
            .transaction(batch.into_messages())
            .map_err(refused("apply Services and policies"))?;
        conntrack::forget(&mut services.nft, &change.lost)
            .map_err(unreadable("forget flows to lost backends"))?;
        held.choosers.extend(change.choosers.iter().cloned());
        held.elements.accept(change);
        services.held = Some(held);
        Ok(())
    }

    /// Links a pod's namespace to the node.
    pub fn attach(&self, pod: &PodLink) -> Result<(), NetworkError> {
        let inside = Namespace::open(&pod.netns)?;
        let name = names::pod_link(&pod.uid);
        let link = self.pod_link(&name, &inside, pod)?;
        let mac = pod_mac(pod.ip);
        let to_pod = Route::direct(pod.ip.into(), link.index).from(self.facts.node_ip);
        let messages = vec![
            route::set_alias(link.index, &format!("pod {}", pod.uid)),
            route::add_neighbour(link.index, pod.ip, mac),
            route::add_route(&to_pod),
        ];
        inside.run(|| set_up_pod(pod.ip))??;
        let mut socket = lock(&self.route);
        socket.request(messages).map_err(refused("lead to the pod"))?;
        route::settle(&mut socket, &name).map_err(unreadable("wait for the pod's link"))
    }

    /// The node's end of the pod's link, made if need be.
    fn pod_link(
        &self,
        name: &str,
        inside: &Namespace,
        pod: &PodLink,
    ) -> Result<Link, NetworkError> {
        let mut socket = lock(&self.route);
        if let Some(link) = find(&mut socket, name)? {
            if inside.run(pod_interface)??.is_some() {
                return Ok(link);
            }
            // Its other end is in a namespace that is about to vanish, with the pod's last sandbox.
            let outcome = socket.request(vec![route::delete_link(link.index)]);
            outcome.or_else(unless(libc::ENODEV)).map_err(refused("delete a stale pod link"))?;
        }
        let here = End { name, mac: GATEWAY_MAC };
        let there = End { name: names::POD_INTERFACE, mac: pod_mac(pod.ip) };
        let make = route::new_veth(here, there, inside.file().as_fd(), self.mtu);
        socket.request(vec![make]).map_err(refused("make a pod link"))?;
        find(&mut socket, name)?.ok_or(NetworkError::NotUp)
    }

    /// Takes a pod off the network: nobody reaches it from now on; its link goes in the
    /// background.
    pub fn detach(self: Arc<Self>, uid: &str) -> Result<(), NetworkError> {
        let name = names::pod_link(uid);
        let index = {
            let mut socket = lock(&self.route);
            let Some(link) = find(&mut socket, &name)? else { return Ok(()) };
            let routes = route::routes(&mut socket).map_err(unreadable("list routes"))?;
            let to_pod = routes.iter().filter(|route| {
                route.interface == Some(link.index) && route.kind == RouteKind::Unicast
            });
            for route in to_pod {
                let outcome = socket.request(vec![route::delete_route(route)]);
                outcome.or_else(unless(libc::ESRCH)).map_err(refused("delete a pod's route"))?;
            }
            link.index
        };
        let remove = move || {
            let outcome = lock(&self.removals).request(vec![route::delete_link(index)]);
            // With the pod's namespace the kernel removes the link by itself.
            if let Err(refused) = outcome.or_else(unless(libc::ENODEV)) {
                tracing::warn!(link = name, error = %refused.source, "pod link stays");
            }
        };
        let thread = std::thread::Builder::new().name("unlink".to_owned()).spawn(remove);
        thread.map(drop).map_err(unreadable("start a thread that deletes a link"))
    }
}

fn write_settings() -> Result<(), NetworkError> {
    let settings = SETTINGS.into_iter().chain(has_ipv6().then_some(NO_IPV6));
    for (path, value) in settings {
        let path = Path::new(path);
        fs::write(path, value)
            .map_err(|source| NetworkError::State { path: path.to_owned(), source })?;
    }
    Ok(())
}

/// Inside the pod: its interface, if it has one.
fn pod_interface() -> Result<Option<Link>, NetworkError> {
    let mut socket = Socket::route().map_err(unreadable("open a socket inside the pod"))?;
    find(&mut socket, names::POD_INTERFACE)
}

/// Inside the pod: address, neighbour and routes, in one go.
fn set_up_pod(ip: Ipv4Addr) -> Result<(), NetworkError> {
    let mut socket = Socket::route().map_err(unreadable("open a socket inside the pod"))?;
    let link = find(&mut socket, names::POD_INTERFACE)?.ok_or(NetworkError::NotUp)?;
    let mut messages: Vec<Message> = Vec::new();
    if has_ipv6() {
        messages.push(route::no_ipv6_address(link.index));
    }
    let everywhere = Ipv4Net::default();
    messages.extend([
        route::set_up(LOOPBACK),
        route::set_up(link.index),
        route::add_address(link.index, ip, route::SCOPE_GLOBAL),
        route::add_neighbour(link.index, GATEWAY, GATEWAY_MAC),
        route::add_route(&Route::direct(GATEWAY.into(), link.index)),
        route::add_route(&Route::direct(everywhere, link.index).via(GATEWAY)),
    ]);
    socket.request(messages).map_err(refused("set up the pod's interface"))?;
    route::settle(&mut socket, names::POD_INTERFACE).map_err(unreadable("wait for the pod's link"))
}

/// A pod's hardware address, from its address.
fn pod_mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetworkError> {
    route::link(socket, name).map_err(unreadable("look up a link"))
}
