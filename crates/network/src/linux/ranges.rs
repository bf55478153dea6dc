//! Which of its address ranges a cluster gets: free on this host, and the same ever after. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::route::{Route, RouteKind};
use crate::{AskedRanges, NetworkConfig, NetworkError};

/// Metric of the routes that catch cluster traffic while there is no link: the last to be taken.
pub const FALLBACK_METRIC: u32 = u32::MAX - 1;

/// Where load balancer addresses come from unless told: the first that is free. The first few lie
/// right behind the service range.
const LOAD_BALANCERS: [Ipv4Net; 7] = [
    net(10, 112, 0, 24),
    net(10, 112, 1, 24),
    net(10, 112, 2, 24),
    net(10, 112, 3, 24),
    net(172, 29, 255, 24),
    net(192, 168, 239, 24),
    net(198, 19, 255, 24),
];

/// Kubernetes' customary ranges; the others are for further clusters on the same host.
const PODS: [Ipv4Net; 6] = [
    net(10, 244, 0, 16),
    net(10, 245, 0, 16),
    net(10, 246, 0, 16),
    net(10, 247, 0, 16),
    net(10, 248, 0, 16),
    net(10, 249, 0, 16),
];
const SERVICES: [Ipv4Net; 6] = [
    net(10, 96, 0, 12),
    net(10, 80, 0, 12),
    net(10, 64, 0, 12),
    net(10, 48, 0, 12),
    net(10, 32, 0, 12),
    net(10, 160, 0, 12),
];

const fn net(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

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

/// A range and how it is called: in messages, and on the command line.
struct Use {
    what: &'static str,
    flag: &'static str,
    candidates: &'static [Ipv4Net],
    /// Longer prefixes leave no room for what the cluster itself needs.
    longest: u8,
}

const FOR_PODS: Use = Use { what: "pod", flag: "--pod-cidr", candidates: &PODS, longest: 26 };
const FOR_SERVICES: Use =
    Use { what: "service", flag: "--service-cidr", candidates: &SERVICES, longest: 27 };
const FOR_LOAD_BALANCERS: Use =
    Use { what: "load balancer", flag: "--lb-range", candidates: &LOAD_BALANCERS, longest: 32 };

/// What the ranges must not overlap.
struct Taken<'a> {
    routes: Vec<&'a HostRoute>,
    ours: Vec<Ipv4Net>,
}

impl<'a> Taken<'a> {
    fn new(link: &str, routes: &'a [HostRoute]) -> Self {
        Self { routes: routes.iter().filter(|route| !route.is_ours(link)).collect(), ours: vec![] }
    }

    /// What is in the way of `range`.
    fn by(&self, range: Ipv4Net) -> Option<String> {
        let overlaps =
            |other: &&Ipv4Net| other.contains(&range.network()) || range.contains(&other.network());
        let route = self.routes.iter().find(|route| route.claims(range));
        let route = route.map(|route| format!("the host's route {}", route.text()));
        route.or_else(|| self.ours.iter().find(overlaps).map(|it| format!("its own range {it}")))
    }

    fn take(&mut self, used_for: &Use, range: Ipv4Net) -> Result<Ipv4Net, NetworkError> {
        let (range, what, flag) = (range.trunc(), used_for.what, used_for.flag);
        if range.prefix_len() > used_for.longest {
            let longest = used_for.longest;
            return Err(NetworkError::RangeTooSmall { what, range, longest, flag });
        }
        if let Some(other) = self.by(range) {
            return Err(NetworkError::RangeTaken { what, range, other, flag });
        }
        self.ours.push(range);
        Ok(range)
    }

    fn take_first(&mut self, used_for: &Use) -> Result<Ipv4Net, NetworkError> {
        let free = used_for.candidates.iter().find(|range| self.by(**range).is_none());
        let free = free.copied().ok_or_else(|| NetworkError::NoRange {
            what: used_for.what,
            tried: used_for
                .candidates
                .iter()
                .map(Ipv4Net::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            flag: used_for.flag,
        })?;
        self.take(used_for, free)
    }
}

/// The ranges of pods and of Services: those of the cluster's first start, when they were asked for
/// or else the first that were free. `link` is the cluster's own interface.
pub fn choose(
    asked: AskedRanges,
    former: Option<(Ipv4Net, Ipv4Net)>,
    link: &str,
    routes: &[HostRoute],
) -> Result<(Ipv4Net, Ipv4Net), NetworkError> {
    let mut taken = Taken::new(link, routes);
    let mut one = |used_for: &Use, asked: Option<Ipv4Net>, former: Option<Ipv4Net>| match (
        asked.map(|range| range.trunc()),
        former,
    ) {
        (Some(range), Some(former)) if range != former => {
            Err(NetworkError::RangeFixed { what: used_for.what, former, range })
        }
        (Some(range), _) | (None, Some(range)) => taken.take(used_for, range),
        (None, None) => taken.take_first(used_for),
    };
    let pods = one(&FOR_PODS, asked.pods, former.map(|former| former.0))?;
    let services = one(&FOR_SERVICES, asked.services, former.map(|former| former.1))?;
    Ok((pods, services))
}

/// Checks the ranges of `config` against the host's routes and answers with the load balancer
/// range: the one asked for, else `former` (addresses already given out stay good), else the
/// first free candidate. `link` is the cluster's own interface.
pub fn check(
    config: &NetworkConfig,
    former: Option<Ipv4Net>,
    link: &str,
    routes: &[HostRoute],
) -> Result<Ipv4Net, NetworkError> {
    let mut taken = Taken::new(link, routes);
    taken.take(&FOR_PODS, config.pod_cidr)?;
    taken.take(&FOR_SERVICES, config.service_cidr)?;
    match (config.lb_range, former.filter(|range| taken.by(*range).is_none())) {
        (Some(range), _) | (None, Some(range)) => taken.take(&FOR_LOAD_BALANCERS, range),
        (None, None) => taken.take_first(&FOR_LOAD_BALANCERS),
    }
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
            "the pod range 10.244.0.0/16 overlaps the host's route 10.0.0.0/8 dev tun0: free it, or \
             give a new cluster another range with --pod-cidr"
        );
        let error = check_with(&[route("10.100.0.0/24", "docker0")]).unwrap_err();
        assert!(error.contains("service range") && error.contains("--service-cidr"), "{error}");
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
        assert_eq!(check_with(&[route("10.112.0.0/24", "wg0")]), Ok("10.112.1.0/24".to_owned()));
        assert_eq!(check_with(&[route("10.112.0.0/16", "wg0")]), Ok("172.29.255.0/24".to_owned()));
        let taken: Vec<HostRoute> =
            LOAD_BALANCERS.iter().map(|range| route(&range.to_string(), "wg0")).collect();
        assert!(check_with(&taken).unwrap_err().contains("--lb-range"));
    }

    #[test]
    fn a_range_once_taken_is_kept() {
        let config = NetworkConfig::new("test", "node", "/nowhere".into());
        let former = Some("172.29.255.0/24".parse().unwrap());
        assert_eq!(check(&config, former, "cor-test", &[]).ok(), former);
    }

    fn choose_with(
        pods: Option<&str>,
        former: Option<(&str, &str)>,
        routes: &[HostRoute],
    ) -> Result<(String, String), String> {
        let range = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let asked = AskedRanges { pods: pods.map(range), services: None };
        let former = former.map(|(pods, services)| (range(pods), range(services)));
        choose(asked, former, "cor-test", routes)
            .map(|(pods, services)| (pods.to_string(), services.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_second_cluster_gets_ranges_of_its_own_and_keeps_them() {
        let pair = |pods: &str, services: &str| Ok((pods.to_owned(), services.to_owned()));
        let first = pair("10.244.0.0/16", "10.96.0.0/12");
        assert_eq!(choose_with(None, None, &[]), first);
        let other = [route("10.244.0.0/16", "cor-other"), route("10.96.0.0/12", "cor-other")];
        let second = pair("10.245.0.0/16", "10.80.0.0/12");
        assert_eq!(choose_with(None, None, &other), second);
        let former = Some(("10.245.0.0/16", "10.80.0.0/12"));
        assert_eq!(choose_with(None, former, &[]), second, "also when the other is gone");
        let error = choose_with(Some("10.1.0.0/16"), former, &[]).unwrap_err();
        assert!(error.contains("10.245.0.0/16") && error.contains("coracle delete"), "{error}");
    }

    #[test]
    fn ranges_that_cannot_work_are_refused() {
        let error = choose_with(Some("10.1.0.0/30"), None, &[]).unwrap_err();
        assert!(error.contains("/26"), "{error}");
        let config = NetworkConfig {
            service_cidr: "10.244.128.0/20".parse().unwrap(),
            ..NetworkConfig::new("test", "node", "/nowhere".into())
        };
        let error = check(&config, None, "cor-test", &[]).unwrap_err().to_string();
        assert!(error.contains("its own range 10.244.0.0/16"), "{error}");
    }
}
