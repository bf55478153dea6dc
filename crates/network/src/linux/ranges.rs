//! Whether the cluster's ranges are free on this host. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::route::{Route, RouteKind};
use crate::{NetworkConfig, NetworkError};

/// Metric of the routes that catch cluster traffic while there is no link: the last to be taken.
pub const FALLBACK_METRIC: u32 = u32::MAX - 1;

/// Where load balancer addresses come from unless told: the first that is free. The first lies
/// right behind the service range.
const LOAD_BALANCERS: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 112, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 29, 255, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 239, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 255, 0), 24),
];

/// A route of the host with the name of its interface.
#[derive(Debug, Clone)]
pub struct HostRoute {
    /// The route.
    pub route: Route,
    /// Its interface, if it has one.
    pub interface: Option<String>,
}

impl HostRoute {
    fn text(&self) -> String {
        let interface = self.interface.as_ref();
        format!("{}{}", self.route, interface.map_or(String::new(), |name| format!(" dev {name}")))
    }

    /// Default routes, whole or in the halves and quarters that VPNs split them into, cover
    /// everything and claim nothing.
    fn claims(&self, range: Ipv4Net) -> bool {
        let destination = self.route.destination;
        destination.prefix_len() > 2
            && (destination.contains(&range.network()) || range.contains(&destination.network()))
    }

    fn is_ours(&self, link: &str) -> bool {
        self.interface.as_deref() == Some(link)
            || (self.route.kind == RouteKind::Unreachable && self.route.metric == FALLBACK_METRIC)
    }
}

/// The ranges of pods and Services are the same in every cluster, so only one fits on a host.
const STOP_THE_OTHER: &str = "stop the cluster or program that uses it";

/// Checks the ranges of `config` against the host's routes and answers with the load balancer
/// range: the one asked for, else `former` (addresses already given out stay good), else the
/// first free candidate. `link` is the cluster's own interface.
pub fn check(
    config: &NetworkConfig,
    former: Option<Ipv4Net>,
    link: &str,
    routes: &[HostRoute],
) -> Result<Ipv4Net, NetworkError> {
    let foreign: Vec<&HostRoute> = routes.iter().filter(|route| !route.is_ours(link)).collect();
    let in_the_way = |range: Ipv4Net| foreign.iter().find(|route| route.claims(range));
    let free = |what, range, remedy| match in_the_way(range) {
        Some(route) => Err(NetworkError::RangeTaken { what, range, route: route.text(), remedy }),
        None => Ok(range),
    };
    free("pod", config.pod_cidr, STOP_THE_OTHER)?;
    free("service", config.service_cidr, STOP_THE_OTHER)?;
    let within = |range: &Ipv4Net, other: &Ipv4Net| {
        other.contains(&range.network()) || range.contains(&other.network())
    };
    if let Some(range) = config.lb_range {
        for (what, own) in [("pod", config.pod_cidr), ("service", config.service_cidr)] {
            if within(&range, &own) {
                return Err(NetworkError::RangesOverlap { range, what, own });
            }
        }
        return free("load balancer", range, "choose another range with --lb-range");
    }
    former
        .into_iter()
        .chain(LOAD_BALANCERS)
        .filter(|range| !within(range, &config.pod_cidr) && !within(range, &config.service_cidr))
        .find(|range| in_the_way(*range).is_none())
        .ok_or_else(|| NetworkError::NoLoadBalancerRange {
            tried: LOAD_BALANCERS.map(|range| range.to_string()).join(", "),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, interface: &str) -> HostRoute {
        let route = Route::direct(destination.parse().unwrap(), 2);
        HostRoute { route, interface: Some(interface.to_owned()) }
    }

    fn check_with(routes: &[HostRoute]) -> Result<String, String> {
        let config = NetworkConfig::new("test", "node", "/nowhere".into());
        check(&config, None, "cor-test", routes)
            .map(|range| range.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_ordinary_host_has_room() {
        let routes = [route("0.0.0.0/0", "eth0"), route("192.0.2.0/24", "eth0")];
        assert_eq!(check_with(&routes), Ok("10.112.0.0/24".to_owned()));
        // A VPN that takes everything takes nothing in particular.
        assert!(check_with(&[route("0.0.0.0/1", "tun0"), route("128.0.0.0/1", "tun0")]).is_ok());
    }

    #[test]
    fn a_route_in_the_way_is_named_with_the_way_out() {
        let error = check_with(&[route("10.0.0.0/8", "tun0")]).unwrap_err();
        assert_eq!(
            error,
            "the pod range 10.244.0.0/16 clashes with the host's route 10.0.0.0/8 dev tun0; stop the \
             cluster or program that uses it or remove that route"
        );
        let error = check_with(&[route("10.100.0.0/24", "docker0")]).unwrap_err();
        assert!(error.contains("service range") && error.contains("stop the cluster"), "{error}");
    }

    #[test]
    fn another_cluster_is_in_the_way_and_what_we_left_is_not() {
        assert!(check_with(&[route("10.244.0.0/16", "cor-other")]).is_err());
        assert!(check_with(&[route("10.244.0.0/16", "cor-test")]).is_ok());
        let left = Route::unreachable("10.244.0.0/16".parse().unwrap(), FALLBACK_METRIC);
        assert!(check_with(&[HostRoute { route: left, interface: None }]).is_ok());
    }

    #[test]
    fn load_balancers_take_the_next_free_candidate() {
        assert_eq!(check_with(&[route("10.112.0.0/16", "wg0")]), Ok("172.29.255.0/24".to_owned()));
        let taken: Vec<HostRoute> =
            LOAD_BALANCERS.iter().map(|range| route(&range.to_string(), "wg0")).collect();
        assert!(check_with(&taken).unwrap_err().contains("--lb-range"));
    }

    #[test]
    fn a_load_balancer_range_within_the_clusters_own_is_refused() {
        for range in ["10.96.0.0/16", "10.244.7.0/24", "10.0.0.0/8"] {
            let mut config = NetworkConfig::new("test", "node", "/nowhere".into());
            config.lb_range = Some(range.parse().unwrap());
            let error = check(&config, None, "cor-test", &[]).unwrap_err().to_string();
            assert!(error.contains("choose another with --lb-range"), "{range}: {error}");
        }
    }

    #[test]
    fn a_range_once_taken_is_kept() {
        let config = NetworkConfig::new("test", "node", "/nowhere".into());
        let former = Some("172.29.255.0/24".parse().unwrap());
        assert_eq!(check(&config, former, "cor-test", &[]).ok(), former);
    }
}
