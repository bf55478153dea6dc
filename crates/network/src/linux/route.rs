//! Links, addresses, routes and neighbours by rtnetlink.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::netlink::{self, Message, Reply, Socket};

/// Marks routes as ours (`ip route` prints `proto 142`; the number is in no registry).
const PROTOCOL: u8 = 142;
const TABLE_MAIN: u8 = 254;
const INET: u8 = 2;
const INET6: u8 = 10;
const UP: u32 = 1;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NET_NS_FD: u16 = 28;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;

const ROUTE_FIXED: usize = 12;
const LINK_FIXED: usize = 16;

/// Address scopes: how far an address or route means something.
pub const SCOPE_GLOBAL: u8 = 0;
/// On this link only.
pub const SCOPE_LINK: u8 = 253;
/// Inside this machine only; never chosen as a source for packets that leave it.
pub const SCOPE_HOST: u8 = 254;

const SCOPE_NOWHERE: u8 = 255;

/// A hardware address.
pub type Mac = [u8; 6];

/// One end of a veth pair to be made.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// Its hardware address; fixed, so that neighbours need not be asked.
    pub mac: Mac,
}

/// An interface as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is for, as [`set_alias`] wrote it down.
    pub alias: String,
    /// Bytes a packet may have.
    pub mtu: u32,
    /// Whether packets get through: it is on, and so is its other end.
    pub running: bool,
}

/// What happens to packets that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// They go on.
    Unicast,
    /// They are for this machine.
    Local,
    /// The sender is told that nobody is there.
    Unreachable,
    /// Anything else (broadcast, multicast, blackhole, …).
    Other,
}

/// A route to be made, or as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where packets want to go.
    pub destination: Ipv4Net,
    /// What happens to them.
    pub kind: RouteKind,
    /// The interface, by number.
    pub interface: Option<u32>,
    /// The next hop.
    pub gateway: Option<Ipv4Addr>,
    /// The source address for packets that start here.
    pub source: Option<Ipv4Addr>,
    /// Among routes to one destination, the lowest is taken.
    pub metric: u32,
}

impl Route {
    /// A route to a neighbour on `interface`.
    pub fn direct(destination: Ipv4Net, interface: u32) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            interface: Some(interface),
            gateway: None,
            source: None,
            metric: 0,
        }
    }

    /// Tells senders at once that nobody is there.
    pub fn unreachable(destination: Ipv4Net, metric: u32) -> Self {
        Self {
            destination,
            kind: RouteKind::Unreachable,
            interface: None,
            gateway: None,
            source: None,
            metric,
        }
    }

    /// Through the neighbour `gateway`.
    pub fn via(mut self, gateway: Ipv4Addr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// With `source` for packets that start here.
    pub fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for Route {
    /// As `ip route` prints it, but the interface is left to the caller who knows names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unreachable => write!(f, "unreachable ")?,
            RouteKind::Local => write!(f, "local ")?,
            RouteKind::Unicast | RouteKind::Other => {}
        }
        write!(f, "{}", self.destination)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))
    }
}

fn link_body(family: u8, index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for number in [index, flags, change] {
        body.extend(number.to_ne_bytes());
    }
    body
}

/// Makes a veth pair: `here`, which is up at once, and `there` in another namespace.
pub fn new_veth(here: End<'_>, there: End<'_>, there_in: BorrowedFd<'_>, mtu: u32) -> Message {
    const INFO_KIND: u16 = 1;
    const INFO_DATA: u16 = 2;
    const VETH_INFO_PEER: u16 = 1;
    let flags = netlink::CREATE | netlink::EXCLUSIVE;
    let mut message = Message::new(NEWLINK, flags, &link_body(0, 0, UP, UP));
    let end = |message: &mut Message, end: End<'_>| {
        message.text(IFLA_IFNAME, end.name).attribute(IFLA_ADDRESS, &end.mac);
        message.native(IFLA_MTU, mtu);
    };
    end(&mut message, here);
    message.nested(IFLA_LINKINFO, |info| {
        info.text(INFO_KIND, "veth").nested(INFO_DATA, |data| {
            data.nested(VETH_INFO_PEER, |peer| {
                peer.raw(&link_body(0, 0, 0, 0));
                end(peer, there);
                // Descriptors are never negative here.
                peer.native(IFLA_NET_NS_FD, there_in.as_raw_fd().unsigned_abs());
            });
        });
    });
    message
}

/// Switches an interface on.
pub fn set_up(index: u32) -> Message {
    Message::new(NEWLINK, 0, &link_body(0, index, UP, UP))
}

/// Writes down what an interface is for, where `ip link` shows it.
pub fn set_alias(index: u32, alias: &str) -> Message {
    let mut message = Message::new(NEWLINK, 0, &link_body(0, index, 0, 0));
    message.text(IFLA_IFALIAS, alias);
    message
}

/// Keeps the kernel from inventing an IPv6 address for the interface when it comes up.
pub fn no_ipv6_address(index: u32) -> Message {
    const ADDR_GEN_MODE: u16 = 8;
    const NONE: u8 = 1;
    let mut message = Message::new(NEWLINK, 0, &link_body(0, index, 0, 0));
    message.nested(IFLA_AF_SPEC, |families| {
        families.nested(u16::from(INET6), |family| {
            family.attribute(ADDR_GEN_MODE, &[NONE]);
        });
    });
    message
}

/// Removes an interface (and its peer).
pub fn delete_link(index: u32) -> Message {
    Message::new(DELLINK, 0, &link_body(0, index, 0, 0))
}

/// Gives an interface the address `ip`/32.
pub fn add_address(index: u32, ip: Ipv4Addr, scope: u8) -> Message {
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    let mut body = vec![INET, 32, 0, scope];
    body.extend(index.to_ne_bytes());
    let mut message = Message::new(NEWADDR, netlink::CREATE | netlink::REPLACE, &body);
    message.attribute(LOCAL, &ip.octets()).attribute(ADDRESS, &ip.octets());
    message
}

/// Writes down the hardware address of a neighbour for good.
pub fn add_neighbour(index: u32, ip: Ipv4Addr, mac: Mac) -> Message {
    const PERMANENT: u16 = 0x80;
    let mut body = vec![INET, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(PERMANENT.to_ne_bytes());
    body.extend([0, 0]);
    let mut message = Message::new(NEWNEIGH, netlink::CREATE | netlink::REPLACE, &body);
    message.attribute(1, &ip.octets()).attribute(2, &mac);
    message
}

/// Makes a route in the main table, in place of one with the same destination and metric.
pub fn add_route(route: &Route) -> Message {
    route_message(NEWROUTE, netlink::CREATE | netlink::REPLACE, route)
}

/// Removes a route of ours from the main table; what `route` leaves open is not compared.
pub fn delete_route(route: &Route) -> Message {
    route_message(DELROUTE, 0, route)
}

fn route_message(kind: u16, flags: u16, route: &Route) -> Message {
    const ONLINK: u32 = 4;
    let type_ = if route.kind == RouteKind::Unreachable { 7 } else { 1 };
    let scope = match (kind, route.kind, route.gateway) {
        (DELROUTE, ..) => SCOPE_NOWHERE, // any
        (_, RouteKind::Unicast, None) => SCOPE_LINK,
        _ => SCOPE_GLOBAL,
    };
    let mut body =
        vec![INET, route.destination.prefix_len(), 0, 0, TABLE_MAIN, PROTOCOL, scope, type_];
    // The gateway is a neighbour though no network of the interface holds it.
    body.extend(if route.gateway.is_some() { ONLINK } else { 0 }.to_ne_bytes());
    let mut message = Message::new(kind, flags, &body);
    message.attribute(RTA_DST, &route.destination.network().octets());
    for (attribute, address) in [(RTA_GATEWAY, route.gateway), (RTA_PREFSRC, route.source)] {
        if let Some(address) = address {
            message.attribute(attribute, &address.octets());
        }
    }
    if let Some(interface) = route.interface {
        message.native(RTA_OIF, interface);
    }
    message.native(RTA_PRIORITY, route.metric);
    message
}

/// Every IPv4 route of the namespace, of all tables.
pub fn routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut body = [0; ROUTE_FIXED];
    body[0] = INET;
    let replies = socket.dump(Message::new(GETROUTE, 0, &body))?;
    Ok(replies.iter().filter_map(parse_route).collect())
}

fn parse_route(reply: &Reply) -> Option<Route> {
    let (prefix, type_) = (*reply.body.get(1)?, *reply.body.get(7)?);
    let kind = match type_ {
        1 => RouteKind::Unicast,
        2 => RouteKind::Local,
        7 => RouteKind::Unreachable,
        _ => RouteKind::Other,
    };
    let destination = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, prefix).ok()?;
    let mut route =
        Route { destination, kind, interface: None, gateway: None, source: None, metric: 0 };
    for (kind, value) in reply.attributes(ROUTE_FIXED) {
        let address = || value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
        match kind {
            RTA_DST => route.destination = Ipv4Net::new(address()?, prefix).ok()?,
            RTA_GATEWAY => route.gateway = address(),
            RTA_PREFSRC => route.source = address(),
            RTA_OIF => route.interface = Some(netlink::native_u32(value)),
            RTA_PRIORITY => route.metric = netlink::native_u32(value),
            _ => {}
        }
    }
    Some(route)
}

/// The interface called `name`, or `None`.
pub fn link(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    const SKIP_STATISTICS: u32 = 8;
    let mut message = Message::new(GETLINK, 0, &link_body(0, 0, 0, 0));
    message.text(IFLA_IFNAME, name).native(IFLA_EXT_MASK, SKIP_STATISTICS);
    match socket.get(message) {
        Ok(reply) => Ok(parse_link(&reply)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until packets get through the interface called `name`. When the other end of a link is
/// switched on, the kernel tells this one in the background and drops packets until then; newer
/// kernels get it done when somebody asks.
pub fn settle(socket: &mut Socket, name: &str) -> io::Result<()> {
    const STEP: Duration = Duration::from_millis(1);
    for _ in 0..1000 {
        if link(socket, name)?.is_some_and(|link| link.running) {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Every interface of the namespace.
pub fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let replies = socket.dump(Message::new(GETLINK, 0, &link_body(0, 0, 0, 0)))?;
    Ok(replies.iter().filter_map(parse_link).collect())
}

fn parse_link(reply: &Reply) -> Option<Link> {
    const OPERATIONAL: [u8; 1] = [6];
    let index = netlink::native_u32(reply.body.get(4..8)?);
    let text = |value: &[u8]| {
        String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
    };
    let (name, alias) = (String::new(), String::new());
    let mut link = Link { index, name, alias, mtu: 0, running: false };
    for (kind, value) in reply.attributes(LINK_FIXED) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_OPERSTATE => link.running = value == OPERATIONAL,
            IFLA_MTU => link.mtu = netlink::native_u32(value),
            _ => {}
        }
    }
    Some(link)
}
