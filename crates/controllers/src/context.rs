//! What decisions know beside the objects: the time and the cluster's configuration.

use std::net::Ipv4Addr;

use coracle_api::{Gates, Given, Quantity, Status, Timestamp};
use ipnet::Ipv4Net;

use crate::memory::Memory;

/// What the engine was configured with, as far as decisions need it. Never changes while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's certificate authority, in PEM: what pods verify the API with.
    pub ca_bundle: String,
    /// The authority, in PEM, of what the API shows other API servers that it hands requests to.
    pub front_proxy_ca: String,
    /// Where the API answers inside the cluster: the endpoint of the Service `kubernetes`.
    pub api_address: Ipv4Addr,
    /// Port at [`Config::api_address`].
    pub api_port: u16,
    /// Where the cluster's DNS answers: the endpoint of the Service `kube-dns`.
    pub dns_address: Ipv4Addr,
    /// ClusterIPs; the first is the API's, the tenth the DNS's.
    pub services: Ipv4Net,
    /// What Services of type LoadBalancer get their addresses from.
    pub load_balancers: Ipv4Net,
    /// How many bytes a volume of the class `standard` may have, with all that its file system
    /// needs: the largest file that the data directory can hold.
    pub largest_volume: u64,
    /// What is switched on.
    pub gates: Gates,
}

impl Config {
    /// Whether there can be a volume of this size.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub(crate) fn can_hold(&self, size: Quantity) -> Result<(), String> {
        match u64::try_from(size.value()) {
            Ok(bytes) if bytes <= self.largest_volume => Ok(()),
            _ => {
                let most = self.largest_volume >> 30;
                Err(format!(
                    "a volume of {size} cannot be made: the data directory holds files of at most {most}Gi"
                ))
            }
        }
    }

    /// The ClusterIP of the Service `kubernetes`: the first of the range.
    pub fn api_service_ip(&self) -> Ipv4Addr {
        self.nth_service_ip(1)
    }

    /// The ClusterIP of the Service `kube-dns`: the tenth of the range.
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        self.nth_service_ip(10)
    }

    fn nth_service_ip(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.services.network()).saturating_add(n))
    }
}

/// The arguments of a decision that are no objects.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The cluster's configuration.
    pub config: &'a Config,
    /// What the outside said, when the last plan asked.
    pub given: Option<&'a Result<Given, Status>>,
    /// What the last plan remembered.
    pub memory: Option<&'a Memory>,
}

impl<'a> Context<'a> {
    /// Nothing was asked, and nothing is remembered.
    pub fn new(now: Timestamp, config: &'a Config) -> Self {
        Self { now, config, given: None, memory: None }
    }
}
