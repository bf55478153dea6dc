//! Which of its address ranges a cluster gets: free on this host, and the same ever after. Pure.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::route::{Route, RouteKind};
use crate::{AskedRanges, NetworkConfig, NetworkError, Ranges};

/// Metric of the routes that catch cluster traffic while there is no link: the last to be taken.
pub const FALLBACK_METRIC: u32 = u32::MAX - 1;

/// What private networks are made of (RFC 1918): where ranges are looked for when the customary ones
/// are taken.
const PRIVATE: [Ipv4Net; 3] = [net_of(10, 0, 8), net_of(172, 16, 12), net_of(192, 168, 16)];

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

const fn net_of(a: u8, b: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length)
}

/// All private ranges of these sizes, the larger first. From the end of each network: their beginnings
/// are what offices and homes use.
fn private(sizes: &'static [u8]) -> impl Iterator<Item = Ipv4Net> {
    let of_size = |size: &u8| {
        let size = *size;
        PRIVATE.iter().filter(move |whole| whole.prefix_len() <= size).flat_map(move |whole| {
            let (base, count) = (whole.network().to_bits(), 1_u32 << (size - whole.prefix_len()));
            (0..count).rev().map(move |number| {
                Ipv4Net::new_assert(Ipv4Addr::from_bits(base + (number << (32 - size))), size)
            })
        })
    };
    sizes.iter().flat_map(of_size)
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

    /// Through our link, or what keeps one of our ranges while we are down.
    fn is_ours(&self, link: &str, ranges: &[Ipv4Net]) -> bool {
        let keeps = self.route.kind == RouteKind::Unreachable
            && self.route.metric == FALLBACK_METRIC
            && ranges.contains(&self.route.destination);
        keeps || self.interface.as_deref() == Some(link)
    }
}

/// A range and how it is called: in messages, and on the command line.
struct Use {
    what: &'static str,
    flag: &'static str,
    candidates: &'static [Ipv4Net],
    /// Of what is looked for when none of the candidates is free.
    sizes: &'static [u8],
    /// Longer prefixes leave no room for what the cluster itself needs.
    longest: u8,
}

const FOR_PODS: Use =
    Use { what: "pod", flag: "--pod-cidr", candidates: &PODS, sizes: &[16, 20, 23], longest: 26 };
const FOR_SERVICES: Use = Use {
    what: "service",
    flag: "--service-cidr",
    candidates: &SERVICES,
    sizes: &[16, 20, 24],
    longest: 27,
};
const FOR_LOAD_BALANCERS: Use = Use {
    what: "load balancer",
    flag: "--lb-range",
    candidates: &LOAD_BALANCERS,
    sizes: &[24, 28],
    longest: 32,
};

/// What the ranges must not overlap.
struct Taken<'a> {
    routes: Vec<&'a HostRoute>,
    ours: Vec<Ipv4Net>,
}

impl<'a> Taken<'a> {
    /// `kept`: ranges that the cluster has had.
    fn new(link: &str, kept: &[Ipv4Net], routes: &'a [HostRoute]) -> Self {
        let others = routes.iter().filter(|route| !route.is_ours(link, kept));
        Self { routes: others.collect(), ours: vec![] }
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

    fn take_first(&mut self, used_for: &Use) -> Option<Ipv4Net> {
        let customary = used_for.candidates.iter().copied();
        let free =
            customary.chain(private(used_for.sizes)).find(|range| self.by(*range).is_none())?;
        self.ours.push(free);
        Some(free)
    }
}

/// The ranges that this cluster has had, each if it had one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Former {
    pub pods: Option<Ipv4Net>,
    pub services: Option<Ipv4Net>,
    pub load_balancers: Option<Ipv4Net>,
}

/// The cluster's ranges: those that are asked for, or that it has had, or the first that are free.
/// Pods and Services keep theirs for ever; load balancers move when theirs has been taken meanwhile.
/// `link` is the cluster's own interface.
pub fn choose(
    asked: AskedRanges,
    former: Former,
    link: &str,
    routes: &[HostRoute],
) -> Result<Ranges, NetworkError> {
    let kept: Vec<Ipv4Net> =
        [former.pods, former.services, former.load_balancers].into_iter().flatten().collect();
    let mut taken = Taken::new(link, &kept, routes);
    let pods = fixed(&FOR_PODS, asked.pods, former.pods)?;
    let services = fixed(&FOR_SERVICES, asked.services, former.services)?;
    // What is wanted goes before what is looked for.
    let pods = pods.map(|range| taken.take(&FOR_PODS, range)).transpose()?;
    let services = services.map(|range| taken.take(&FOR_SERVICES, range)).transpose()?;
    let wanted = asked.load_balancers;
    let balancers = wanted.map(|range| taken.take(&FOR_LOAD_BALANCERS, range)).transpose()?;
    let pods = pods.or_else(|| taken.take_first(&FOR_PODS));
    let services = services.or_else(|| taken.take_first(&FOR_SERVICES));
    let free_again = former.load_balancers.filter(|range| taken.by(*range).is_none());
    let balancers = balancers.or(free_again).or_else(|| taken.take_first(&FOR_LOAD_BALANCERS));
    match (pods, services, balancers) {
        (Some(pods), Some(services), Some(load_balancers)) => {
            Ok(Ranges { pods, services, load_balancers })
        }
        missing => Err(none_free(missing)),
    }
}

/// One sentence for all that is missing.
fn none_free(found: (Option<Ipv4Net>, Option<Ipv4Net>, Option<Ipv4Net>)) -> NetworkError {
    let all = [
        (found.0, "pods", FOR_PODS.flag),
        (found.1, "Services", FOR_SERVICES.flag),
        (found.2, "load balancers", FOR_LOAD_BALANCERS.flag),
    ];
    let missing: Vec<_> = all.into_iter().filter(|(found, ..)| found.is_none()).collect();
    let join = |words: Vec<&str>| words.join(" and ");
    NetworkError::NoRange {
        what: join(missing.iter().map(|(_, what, _)| *what).collect()),
        flags: join(missing.iter().map(|(.., flag)| *flag).collect()),
    }
}

/// The range that is asked for, which must be the one of the first start.
fn fixed(
    used_for: &Use,
    asked: Option<Ipv4Net>,
    former: Option<Ipv4Net>,
) -> Result<Option<Ipv4Net>, NetworkError> {
    match (asked.map(|range| range.trunc()), former) {
        (Some(range), Some(former)) if range != former => {
            Err(NetworkError::RangeFixed { what: used_for.what, former, range })
        }
        (asked, former) => Ok(asked.or(former)),
    }
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
    let (pods, services) = (Some(config.pod_cidr), Some(config.service_cidr));
    let asked = AskedRanges { pods, services, load_balancers: config.lb_range };
    let (pods, services) = (asked.pods, asked.services);
    let former = Former { pods, services, load_balancers: former };
    Ok(choose(asked, former, link, routes)?.load_balancers)
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
        assert_eq!(check_with(&taken), Ok("10.255.255.0/24".to_owned()));
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
        let asked = AskedRanges { pods: pods.map(range), ..AskedRanges::default() };
        let (pods, services) = former.map(|(a, b)| (range(a), range(b))).unzip();
        let former = Former { pods, services, load_balancers: None };
        choose(asked, former, "cor-test", routes)
            .map(|found| (found.pods.to_string(), found.services.to_string()))
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
    fn any_number_of_clusters_finds_room() {
        let mut routes = vec![route("192.168.1.0/24", "eth0"), route("172.17.0.0/16", "docker0")];
        for number in 0..100 {
            let name = format!("cor-{number}");
            let found = choose(AskedRanges::default(), Former::default(), "cor-new", &routes)
                .unwrap_or_else(|error| panic!("cluster {number}: {error}"));
            for range in [found.pods, found.services, found.load_balancers] {
                let known =
                    PRIVATE.iter().chain(&LOAD_BALANCERS).any(|whole| whole.contains(&range));
                assert!(known, "{range}");
                routes.push(route(&range.to_string(), &name));
            }
        }
    }

    #[test]
    fn one_sentence_names_all_that_is_missing() {
        let all: Vec<HostRoute> =
            PRIVATE.iter().map(|range| route(&range.to_string(), "tun0")).collect();
        let error = choose(AskedRanges::default(), Former::default(), "cor-test", &all);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("pods and Services") && error.contains("--pod-cidr"), "{error}");
        assert!(error.contains("--service-cidr") && !error.contains("--lb-range"), "{error}");
    }

    #[test]
    fn the_ranges_of_a_cluster_that_is_down_stay_its_own() {
        let kept = Route::unreachable("10.244.0.0/16".parse().unwrap(), FALLBACK_METRIC);
        let routes = [HostRoute { route: kept, interface: None }];
        let other = choose_with(None, None, &routes).unwrap();
        assert_eq!(other.0, "10.245.0.0/16");
        let own = choose_with(None, Some(("10.244.0.0/16", "10.96.0.0/12")), &routes).unwrap();
        assert_eq!(own.0, "10.244.0.0/16");
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
