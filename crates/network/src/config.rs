//! What a cluster's network is made from.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use coracle_api::addresses::{self, Outside};
use ipnet::Ipv4Net;

/// Ranges, addresses and places of one cluster's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The cluster's name; interface, table and namespace names derive from it.
    pub cluster_name: String,
    /// The name of the Node object, compared with `nodeName` of endpoints where a Service's
    /// traffic policy is `Local`.
    pub node_name: String,
    /// Directory of the cluster's network state: the pinned namespace, the chosen load balancer
    /// range. Created when missing.
    pub state_dir: PathBuf,
    /// Directory shared by all clusters of the host, gone after a reboot: kernel settings as
    /// they were before the first cluster came up.
    pub run_dir: PathBuf,
    /// Addresses of pods; the last few belong to the link between host and node.
    pub pod_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// Addresses of load balancers; `None` takes the first candidate no route of the host covers.
    pub lb_range: Option<Ipv4Net>,
    /// Port of the API server on the host's end of the cluster link.
    pub api_port: u16,
    /// The DNS domain of the cluster, without dots at its ends.
    pub cluster_domain: String,
    /// Whether `externalIPs` of Services are acted on.
    pub external_ips: bool,
    /// The host's own addresses, as they were when the cluster came up: no Service takes them.
    pub host_addresses: Vec<Ipv4Addr>,
}

/// Ranges as the user wants them; `None` is chosen from those that are free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedRanges {
    /// Addresses of pods.
    pub pods: Option<Ipv4Net>,
    /// Addresses of Services.
    pub services: Option<Ipv4Net>,
    /// Addresses of load balancers.
    pub load_balancers: Option<Ipv4Net>,
}

/// The ranges that a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Addresses of pods.
    pub pods: Ipv4Net,
    /// Addresses of Services.
    pub services: Ipv4Net,
    /// Addresses of load balancers.
    pub load_balancers: Ipv4Net,
}

impl NetworkConfig {
    /// Kubernetes' customary ranges and addresses for the cluster `cluster_name`.
    #[must_use]
    pub fn new(cluster_name: &str, node_name: &str, state_dir: PathBuf) -> Self {
        Self {
            cluster_name: cluster_name.to_owned(),
            node_name: node_name.to_owned(),
            state_dir,
            run_dir: PathBuf::from("/run/coracle"),
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12),
            lb_range: None,
            api_port: 6443,
            cluster_domain: "cluster.local".to_owned(),
            external_ips: false,
            host_addresses: Vec::new(),
        }
    }

    /// ClusterIP of Service `kubernetes`: the first of the range.
    #[must_use]
    pub fn api_ip(&self) -> Ipv4Addr {
        self.service_ip(1)
    }

    /// ClusterIP of the DNS server: the tenth of the range.
    #[must_use]
    pub fn dns_ip(&self) -> Ipv4Addr {
        self.service_ip(10)
    }

    /// What Services may answer on from outside.
    #[must_use]
    pub fn outside(&self) -> Outside {
        let own =
            self.host_addresses.iter().map(|ip| (Ipv4Net::from(*ip), "an address of this host"));
        let ranges = [
            (self.pod_cidr, "in the range of pods and nodes"),
            (self.service_cidr, "in the range of Services"),
        ];
        Outside {
            external_ips: self.external_ips,
            balancers: self.lb_range,
            taken: ranges.into_iter().chain(own).collect(),
        }
    }

    fn service_ip(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.service_cidr.network().to_bits() + number)
    }

    /// The host's address on the cluster link; the API server listens there for pods.
    #[must_use]
    pub fn host_ip(&self) -> Ipv4Addr {
        addresses::host_address(self.pod_cidr)
    }

    /// The node's address: its `InternalIP`, and where node ports answer.
    #[must_use]
    pub fn node_ip(&self) -> Ipv4Addr {
        addresses::node_address(self.pod_cidr)
    }
}
