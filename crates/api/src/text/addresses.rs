//! Which address or port is free: pods, services, node ports, load balancers.
//!
//! Every function takes what is used and answers with the next free one; the caller owns the
//! bookkeeping. Random choice, where Kubernetes chooses at random, is an argument (`spread`).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::Object;

/// The ports a Service of type NodePort or LoadBalancer may take on the node.
pub const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// The label by which an IPAddress follows from a Service, and was not made by a user.
pub const MANAGED_BY_ALLOCATOR: (&str, &str) =
    ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");

/// Whether an IPAddress follows from a Service; if not, no Service may have its address.
#[must_use]
pub fn follows_service(address: &Object) -> bool {
    let (label, value) = MANAGED_BY_ALLOCATOR;
    address.metadata().labels.get(label).is_some_and(|held| held == value)
}

/// Addresses at the end of the pod range that belong to the link between host and node.
const LINK_ADDRESSES: u32 = 4;

/// The host's end of the cluster link: the last usable address of the pod range but one.
#[must_use]
pub fn host_address(pods: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pods.broadcast()) - 1)
}

/// The node's end of the cluster link, which is also the node's address (`InternalIP`).
#[must_use]
pub fn node_address(pods: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pods.broadcast()) - 2)
}

/// The next free pod address after `last`, going round, so that an address just given back is
/// the last one to be handed out again. `None` when the range is full.
#[must_use]
pub fn next_pod_ip(
    used: impl Fn(Ipv4Addr) -> bool,
    pods: Ipv4Net,
    last: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    // The network address and the one after it (a gateway in other networks) stay unused.
    let first = u32::from(pods.network()) + 2;
    let end = u32::from(pods.broadcast()) - (LINK_ADDRESSES - 1);
    let start = last.map_or(first, |ip| u32::from(ip).wrapping_add(1));
    go_round(|n| used(n.into()), first..=end.checked_sub(1)?, start).map(Ipv4Addr::from)
}

/// A free ClusterIP. As upstream, the low part of the range is left to people who choose an
/// address themselves, until the rest is used up; where to start looking is `spread`.
#[must_use]
pub fn next_service_ip(
    used: impl Fn(Ipv4Addr) -> bool,
    services: Ipv4Net,
    spread: u64,
) -> Option<Ipv4Addr> {
    let (first, end) = (u32::from(services.network()) + 1, u32::from(services.broadcast()));
    let range = first..=end.checked_sub(1)?;
    let band = static_band(end - first, 16, 256, 16);
    upper_then_lower(|n| used(n.into()), range, band, spread).map(Ipv4Addr::from)
}

/// A free node port, with the same courtesy to people who choose one themselves.
#[must_use]
pub fn next_node_port(used: impl Fn(u16) -> bool, spread: u64) -> Option<u16> {
    let range = u32::from(*NODE_PORTS.start())..=u32::from(*NODE_PORTS.end());
    let size = range.end() - range.start() + 1;
    let taken = |n: u32| u16::try_from(n).map_or(true, &used);
    let port = upper_then_lower(taken, range, static_band(size, 16, 128, 32), spread)?;
    u16::try_from(port).ok()
}

/// The lowest free load balancer address.
#[must_use]
pub fn next_load_balancer_ip(used: impl Fn(Ipv4Addr) -> bool, range: Ipv4Net) -> Option<Ipv4Addr> {
    range.hosts().find(|ip| !used(*ip))
}

/// How many of the first addresses are for static use: `size / step`, within `min` and `max`;
/// none in a range too small to share (KEP-3070 and KEP-3668).
fn static_band(size: u32, min: u32, max: u32, step: u32) -> u32 {
    if size < min { 0 } else { (size / step).clamp(min, max) }
}

fn upper_then_lower(
    used: impl Fn(u32) -> bool,
    range: RangeInclusive<u32>,
    band: u32,
    spread: u64,
) -> Option<u32> {
    let split = (range.start() + band).min(*range.end());
    let upper = split..=*range.end();
    let width = u64::from(upper.end() - upper.start()) + 1;
    // The remainder is smaller than the width, which came from 32 bits.
    let start = split + u32::try_from(spread % width).unwrap_or(0);
    go_round(&used, upper, start)
        .or_else(|| (*range.start()..split).find(|candidate| !used(*candidate)))
}

/// The first unused number at or after `start`, wrapping within `range`.
fn go_round(used: impl Fn(u32) -> bool, range: RangeInclusive<u32>, start: u32) -> Option<u32> {
    let start = if range.contains(&start) { start } else { *range.start() };
    (start..=*range.end()).chain(*range.start()..start).find(|candidate| !used(*candidate))
}

/// Which addresses a Service may answer on beside those that the cluster gives it. Whoever may write
/// a Service could otherwise take another's traffic (CVE-2020-8554).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Whether `spec.externalIPs` are acted on.
    pub external_ips: bool,
    /// Where the cluster gives load balancers their addresses.
    pub balancers: Option<Ipv4Net>,
    /// Of the cluster and of its host, with what each is.
    pub taken: Vec<(Ipv4Net, &'static str)>,
}

impl Outside {
    /// Why a load balancer's address in a Service's status is not acted on; `None` when it is.
    #[must_use]
    pub fn refuses_balancer(&self, ip: Ipv4Addr) -> Option<&'static str> {
        let taken = self.taken.iter().find(|(range, _)| range.contains(&ip));
        special(ip).or(taken.map(|(_, what)| *what))
    }

    /// Why one of `spec.externalIPs` is not acted on; `None` when it is.
    #[must_use]
    pub fn refuses_external(&self, ip: Ipv4Addr) -> Option<&'static str> {
        let balanced = self.balancers.is_some_and(|range| range.contains(&ip));
        let balanced = balanced.then_some("in the range of load balancers");
        let off = (!self.external_ips).then_some(EXTERNAL_IPS_OFF);
        off.or(balanced).or_else(|| self.refuses_balancer(ip))
    }
}

/// Why no external address is acted on.
pub const EXTERNAL_IPS_OFF: &str = "external, and the cluster was started without --external-ips";

fn special(ip: Ipv4Addr) -> Option<&'static str> {
    match ip {
        _ if ip.is_loopback() => Some("a loopback address"),
        _ if ip.is_link_local() => Some("a link-local address"),
        _ if ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast() => {
            Some("no address of a single host")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_link_has_the_end_of_the_pod_range() {
        let pods = net("10.244.0.0/16");
        assert_eq!(host_address(pods), ip("10.244.255.254"));
        assert_eq!(node_address(pods), ip("10.244.255.253"));
    }

    #[test]
    fn pod_addresses_go_round_and_skip_used_ones() {
        let pods = net("10.244.0.0/16");
        assert_eq!(next_pod_ip(|_| false, pods, None), Some(ip("10.244.0.2")));
        assert_eq!(next_pod_ip(|_| false, pods, Some(ip("10.244.0.7"))), Some(ip("10.244.0.8")));
        let used = |candidate| candidate == ip("10.244.0.8");
        assert_eq!(next_pod_ip(used, pods, Some(ip("10.244.0.7"))), Some(ip("10.244.0.9")));
        let last = Some(ip("10.244.255.251"));
        assert_eq!(next_pod_ip(|_| false, pods, last), Some(ip("10.244.0.2")));
        assert_eq!(next_pod_ip(|_| true, pods, None), None);
    }

    #[test]
    fn chosen_service_addresses_leave_the_low_band_alone() {
        let services = net("10.96.0.0/12");
        assert_eq!(next_service_ip(|_| false, services, 0), Some(ip("10.96.1.1")));
        let full = |candidate: Ipv4Addr| candidate >= ip("10.96.1.1");
        assert_eq!(next_service_ip(full, services, 9), Some(ip("10.96.0.1")));
        assert_eq!(next_service_ip(|_| true, services, 9), None);
    }

    #[test]
    fn node_ports_start_above_their_static_band() {
        assert_eq!(next_node_port(|_| false, 0), Some(30086));
        assert_eq!(next_node_port(|port| port >= 30086, 5), Some(30000));
        assert_eq!(next_node_port(|_| true, 5), None);
    }

    #[test]
    fn load_balancer_addresses_are_the_lowest_free() {
        let range = net("10.112.0.0/24");
        assert_eq!(next_load_balancer_ip(|_| false, range), Some(ip("10.112.0.1")));
        let used = |candidate| candidate == ip("10.112.0.1");
        assert_eq!(next_load_balancer_ip(used, range), Some(ip("10.112.0.2")));
        assert_eq!(next_load_balancer_ip(|_| true, range), None);
    }

    proptest! {
        #[test]
        fn a_small_range_is_handed_out_whole_and_never_twice(prefix in 25u8..29, spread: u64) {
            let range = Ipv4Net::new(ip("10.9.8.0"), prefix).unwrap();
            let mut services = BTreeSet::new();
            while let Some(next) = next_service_ip(|n| services.contains(&n), range, spread) {
                prop_assert!(services.insert(next));
            }
            prop_assert_eq!(services.len(), range.hosts().count());

            let mut pods = BTreeSet::new();
            let mut last = None;
            while let Some(next) = next_pod_ip(|n| pods.contains(&n), range, last) {
                prop_assert!(pods.insert(next));
                last = Some(next);
            }
            prop_assert!(!pods.contains(&host_address(range)));
            prop_assert!(!pods.contains(&node_address(range)));
            prop_assert!(pods.iter().all(|pod| range.contains(pod)));
            prop_assert_eq!(pods.len(), (1 << (32 - prefix)) - 6);
        }
    }

    #[test]
    fn nobody_elses_address_is_taken_from_outside() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let outside = Outside {
            external_ips: true,
            balancers: Some(net("10.112.0.0/24")),
            taken: vec![
                (net("10.244.0.0/16"), "in the range of pods"),
                (net("192.0.2.5/32"), "an address of this host"),
            ],
        };
        for (ip, balancer, external) in [
            ("198.51.100.1", None, None),
            ("10.112.0.7", None, Some("in the range of load balancers")),
            ("10.244.3.3", Some("in the range of pods"), Some("in the range of pods")),
            ("192.0.2.5", Some("an address of this host"), Some("an address of this host")),
            ("127.0.0.1", Some("a loopback address"), Some("a loopback address")),
            ("169.254.1.1", Some("a link-local address"), Some("a link-local address")),
            ("0.0.0.0", Some("no address of a single host"), Some("no address of a single host")),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(outside.refuses_balancer(ip), balancer, "{ip}");
            assert_eq!(outside.refuses_external(ip), external, "{ip}");
        }
        let off = Outside { external_ips: false, ..outside };
        assert_eq!(off.refuses_external("198.51.100.1".parse().unwrap()), Some(EXTERNAL_IPS_OFF));
    }
}
