//! The host's side of the cluster: one link, a few routes, one table.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use super::namespace::Namespace;
use super::netlink::{Refused, Socket};
use super::ranges::{self, FALLBACK_METRIC, Former, HostRoute};
use super::route::{self, End, Link, Mac, Route, RouteKind};
use super::{forwarding, names, nft, refused, ruleset, unreadable};
use crate::{AskedRanges, NetworkConfig, NetworkError, Ranges};

/// Hardware addresses of the link; known to both ends, so that nobody need ask.
pub const HOST_MAC: Mac = [2, 0, 0x0a, 0xf4, 0, 1];
/// The node's end.
pub const NODE_MAC: Mac = [2, 0, 0x0a, 0xf4, 0, 2];

const DEFAULT_MTU: u32 = 1500;

/// The file of the ranges of pods and of Services.
const RANGES: &str = "ranges";

/// The host's network namespace, and the sockets to change it.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    route: Socket,
    nft: Socket,
}

impl Host {
    /// The namespace of the calling thread.
    pub fn here() -> Result<Self, NetworkError> {
        Ok(Self {
            namespace: Namespace::current()?,
            route: Socket::route().map_err(unreadable("open a route socket"))?,
            nft: Socket::netfilter().map_err(unreadable("open an nftables socket"))?,
        })
    }

    /// Chooses the load balancer range, having checked that no range is taken.
    pub fn check_ranges(&mut self, config: &NetworkConfig) -> Result<Ipv4Net, NetworkError> {
        let link = names::host_link(&config.cluster_name);
        let routes = self.routes().map_err(unreadable("list routes"))?;
        let former = remembered_range(&config.state_dir);
        let chosen = ranges::check(config, former, &link, &routes)?;
        if let Some(former) = former.filter(|former| *former != chosen) {
            self.leave_range(&link, former)?;
        }
        remember(&range_file(&config.state_dir), &[chosen])?;
        Ok(chosen)
    }

    /// The ranges that this cluster has, or from now on.
    pub fn choose_ranges(
        &mut self,
        cluster_name: &str,
        state_dir: &Path,
        asked: AskedRanges,
    ) -> Result<Ranges, NetworkError> {
        self.check_name(cluster_name, state_dir)?;
        let routes = self.routes().map_err(unreadable("list routes"))?;
        let link = names::host_link(cluster_name);
        let (pods, services) = former_ranges(state_dir).unzip();
        let former = Former { pods, services, load_balancers: remembered_range(state_dir) };
        let found = ranges::choose(asked, former, &link, &routes)?;
        remember(&state_dir.join(RANGES), &[found.pods, found.services])?;
        Ok(found)
    }

    /// Refuses a name that another cluster, with its state elsewhere, has on this host.
    pub fn check_name(&mut self, name: &str, state_dir: &Path) -> Result<(), NetworkError> {
        let other = self.find(&names::host_link(name))?.map(|link| link.alias);
        match other.filter(|alias| !alias.is_empty() && *alias != names::host_alias(state_dir)) {
            Some(alias) => Err(NetworkError::NameTaken { name: name.to_owned(), alias }),
            None => Ok(()),
        }
    }

    fn routes(&mut self) -> io::Result<Vec<HostRoute>> {
        let links = route::links(&mut self.route)?;
        let name = |index| links.iter().find(|link| link.index == index);
        let routes = route::routes(&mut self.route)?.into_iter();
        Ok(routes
            .map(|route| {
                let interface = route.interface.and_then(name).map(|link| link.name.clone());
                HostRoute { route, interface }
            })
            .collect())
    }

    /// Bytes a packet may have on the way out: the default route's interface decides.
    pub fn mtu(&mut self) -> Result<u32, NetworkError> {
        let mut look = || -> io::Result<Option<u32>> {
            let links = route::links(&mut self.route)?;
            let routes = route::routes(&mut self.route)?.into_iter();
            let defaults = routes.filter(|route| {
                route.destination.prefix_len() == 0 && route.kind == RouteKind::Unicast
            });
            let index = defaults.min_by_key(|route| route.metric).and_then(|route| route.interface);
            Ok(links.iter().find(|link| Some(link.index) == index).map(|link| link.mtu))
        };
        Ok(look().map_err(unreadable("look up the default route"))?.unwrap_or(DEFAULT_MTU))
    }

    /// Catches everything meant for the cluster, whatever becomes of the link.
    pub fn close_ranges(&mut self, ranges: [Ipv4Net; 3]) -> Result<(), NetworkError> {
        let routes =
            ranges.map(|range| route::add_route(&Route::unreachable(range, FALLBACK_METRIC)));
        self.route.request(routes.to_vec()).map_err(refused("close the cluster's ranges"))
    }

    /// Makes the link between host and node unless it is whole.
    pub fn link(
        &mut self,
        link: &str,
        node: &Namespace,
        node_route: &mut Socket,
        mtu: u32,
    ) -> Result<(), NetworkError> {
        let mut find = || -> io::Result<_> {
            Ok((route::link(&mut self.route, link)?, route::link(node_route, names::UPLINK)?))
        };
        let (here, there) = find().map_err(unreadable("look up the cluster's link"))?;
        if here.is_some() && there.is_some() {
            return Ok(());
        }
        // Half a link is what a killed engine left: its other half hangs in a lost namespace.
        if let Some(half) = here {
            self.remove_link(half.index)?;
        }
        let ends = [End { name: link, mac: HOST_MAC }, End { name: names::UPLINK, mac: NODE_MAC }];
        let make = route::new_veth(ends[0], ends[1], node.file().as_fd(), mtu);
        self.route.request(vec![make]).map_err(refused("make the cluster's link"))?;
        if has_ipv6() {
            let index = self.find(link)?.ok_or(NetworkError::NotUp)?.index;
            let quiet = route::no_ipv6_address(index);
            self.route.request(vec![quiet]).map_err(refused("set up the cluster's link"))?;
        }
        Ok(())
    }

    /// Gives the host its address on the link, and leads the ranges to the node.
    pub fn lead(
        &mut self,
        link: &str,
        alias: &str,
        host_ip: Ipv4Addr,
        node_ip: Ipv4Addr,
        ranges: [Ipv4Net; 3],
    ) -> Result<(), NetworkError> {
        let index = self.find(link)?.ok_or(NetworkError::NotUp)?.index;
        let mut messages = vec![
            route::set_alias(index, alias),
            route::set_up(index),
            route::add_address(index, host_ip, route::SCOPE_GLOBAL),
            route::add_neighbour(index, node_ip, NODE_MAC),
            route::add_route(&Route::direct(node_ip.into(), index).from(host_ip)),
        ];
        messages.extend(ranges.map(|range| {
            route::add_route(&Route::direct(range, index).via(node_ip).from(host_ip))
        }));
        let led = self.route.request(messages);
        led.map_err(refused("lead the cluster's ranges to the node"))?;
        route::settle(&mut self.route, link).map_err(unreadable("wait for the cluster's link"))
    }

    /// Lets pods out, and nobody else in.
    pub fn open_way_out(&mut self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let guard = self.namespace.run(|| forwarding::allow(&config.run_dir))??;
        let (table, link) =
            (names::host_table(&config.cluster_name), names::host_link(&config.cluster_name));
        let batch = ruleset::host_table(&table, &link, config.pod_cidr, guard);
        self.nft.transaction(batch.into_messages()).map_err(refused(&format!("make table {table}")))
    }

    /// Removes all that the functions above made but for what [`Host::close_ranges`] did; goes on
    /// after a failure and tells the first.
    pub fn clear(&mut self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let way_out = self.close_way_out(config);
        let link = self.unlink(&names::host_link(&config.cluster_name));
        way_out.and(link).and(self.restore_forwarding(config))
    }

    fn close_way_out(&mut self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let mut batch = nft::Batch::new(&names::host_table(&config.cluster_name));
        batch.delete_table();
        self.nft.transaction(batch.into_messages()).map_err(refused("delete the cluster's table"))
    }

    fn unlink(&mut self, link: &str) -> Result<(), NetworkError> {
        self.find(link)?.map_or(Ok(()), |link| self.remove_link(link.index))
    }

    fn remove_link(&mut self, index: u32) -> Result<(), NetworkError> {
        let outcome = self.route.request(vec![route::delete_link(index)]);
        outcome.or_else(unless(libc::ENODEV)).map_err(refused("delete the cluster's link"))
    }

    /// Gives the cluster's ranges back to the host.
    pub fn open_ranges(&mut self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let ranges =
            [Some(config.pod_cidr), Some(config.service_cidr), remembered_range(&config.state_dir)];
        for range in ranges.into_iter().flatten() {
            self.remove_route(&Route::unreachable(range, FALLBACK_METRIC))?;
        }
        Ok(())
    }

    /// The load balancer range is another one from now on.
    fn leave_range(&mut self, link: &str, former: Ipv4Net) -> Result<(), NetworkError> {
        if let Some(link) = self.find(link)? {
            self.remove_route(&Route::direct(former, link.index))?;
        }
        self.remove_route(&Route::unreachable(former, FALLBACK_METRIC))
    }

    fn remove_route(&mut self, route: &Route) -> Result<(), NetworkError> {
        let outcome = self.route.request(vec![route::delete_route(route)]);
        outcome.or_else(unless(libc::ESRCH)).map_err(refused("remove a route of the cluster"))
    }

    fn find(&mut self, link: &str) -> Result<Option<Link>, NetworkError> {
        route::link(&mut self.route, link).map_err(unreadable("look up a link"))
    }

    fn restore_forwarding(&mut self, config: &NetworkConfig) -> Result<(), NetworkError> {
        let links = route::links(&mut self.route).map_err(unreadable("list links"))?;
        if links.iter().any(|link| link.name.starts_with(names::LINK_PREFIX)) {
            return Ok(()); // another cluster still needs it
        }
        self.namespace.run(|| forwarding::restore(&config.run_dir))?
    }
}

/// Whether the calling thread's namespace knows IPv6.
pub fn has_ipv6() -> bool {
    fs::exists("/proc/sys/net/ipv6").unwrap_or(false)
}

/// Takes one error for success: what was to go is gone.
pub fn unless(code: i32) -> impl FnOnce(Refused) -> Result<(), Refused> {
    move |refused| {
        if refused.source.raw_os_error() == Some(code) { Ok(()) } else { Err(refused) }
    }
}

/// The ranges of pods and of Services at the last start.
pub fn former_ranges(state_dir: &Path) -> Option<(Ipv4Net, Ipv4Net)> {
    let ranges = remembered(&state_dir.join(RANGES))?;
    Some((*ranges.first()?, *ranges.get(1)?))
}

fn range_file(state_dir: &Path) -> PathBuf {
    state_dir.join("lb-range")
}

/// The load balancer range of the last time.
fn remembered_range(state_dir: &Path) -> Option<Ipv4Net> {
    remembered(&range_file(state_dir))?.first().copied()
}

/// All ranges of the last start.
pub fn last_ranges(state_dir: &Path) -> Vec<Ipv4Net> {
    let ranges = former_ranges(state_dir).into_iter().flat_map(|(pods, services)| [pods, services]);
    ranges.chain(remembered_range(state_dir)).collect()
}

/// The addresses that the calling thread's namespace answers on, from the kernel's routing table.
pub fn own_addresses() -> Vec<Ipv4Addr> {
    let table = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap_or_default();
    local_addresses(&table)
}

/// Lines `|-- ADDRESS`, each followed by what it is.
fn local_addresses(table: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None::<Ipv4Addr>);
    for line in table.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.ends_with("host LOCAL") {
            found.extend(last.take());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Ranges, a line each; a file that cannot be read or parsed counts as none.
fn remembered(file: &Path) -> Option<Vec<Ipv4Net>> {
    fs::read_to_string(file).ok()?.lines().map(|line| line.parse().ok()).collect()
}

fn remember(file: &Path, ranges: &[Ipv4Net]) -> Result<(), NetworkError> {
    let text: String = ranges.iter().map(|range| format!("{range}\n")).collect();
    let write = || {
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        fs::write(file, text)
    };
    write().map_err(|source| NetworkError::State { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_those_that_the_kernel_delivers_here() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            Local:\n     |-- 192.0.2.5\n        /32 host LOCAL\n     |-- 192.0.2.255\n\
            \x20       /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
            \x20    |-- 192.0.2.5\n        /32 host LOCAL\n";
        let expected = [[127, 0, 0, 1], [192, 0, 2, 5]].map(Ipv4Addr::from);
        assert_eq!(local_addresses(table), expected);
    }
}
