//! Arguments of `coracle up`.

use std::net::IpAddr;

use clap::Args;
use coracle_api::Gates;
use ipnet::Ipv4Net;

use crate::files::Files;

/// Arguments of `up`.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Port of the API on loopback [default: the same as before; at first 6443, or the next free]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: Option<u16>,
    /// Range of the pods' addresses [default: 10.244.0.0/16, or the next that is free]
    #[arg(long, value_name = "CIDR", value_parser = range)]
    pub pod_cidr: Option<Ipv4Net>,
    /// Range of the Services' addresses [default: 10.96.0.0/12, or the next that is free]
    #[arg(long, value_name = "CIDR", value_parser = range)]
    pub service_cidr: Option<Ipv4Net>,
    /// Range of load balancer addresses [default: 10.112.0.0/24, or the next that is free]
    #[arg(long, value_name = "CIDR", value_parser = range)]
    pub lb_range: Option<Ipv4Net>,
    /// How many pods the node takes
    #[arg(long, value_name = "N", default_value_t = 110, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_pods: u16,
    /// How many nodes without a machine there are beside it, whose pods have a life and no processes
    /// [default: as many as before]
    #[arg(long, value_name = "N")]
    pub simulated_nodes: Option<u16>,
    /// Act on `externalIPs` of Services: whoever may write a Service can then take traffic that pods
    /// send to any address outside of the cluster and its host
    #[arg(long)]
    pub external_ips: bool,
    /// Further addresses of this host on which the API listens
    #[arg(long, value_name = "IP")]
    pub api_address: Vec<IpAddr>,
    /// What upstream has behind a switch that is off; kept with the cluster until told otherwise
    #[arg(long, value_name = "NAME=true,…")]
    pub feature_gates: Option<Gates>,
    #[command(flatten)]
    pub files: Files,
    /// How many images are pulled at once [default: as many as are needed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_parallel_pulls: Option<u16>,
    /// Be the engine instead of starting it in the background
    #[arg(long)]
    pub foreground: bool,
    /// Leave the user's kubeconfig alone
    #[arg(long)]
    pub no_kubeconfig: bool,
    /// The command line waits on standard output for `ready` (set by `up` itself)
    #[arg(long, hide = true)]
    pub report: bool,
    /// Keep an engine running in the background (set by `up` itself)
    #[arg(long, hide = true)]
    pub supervise: bool,
}

impl UpArgs {
    /// The ranges that may be asked for, by flag.
    pub fn ranges(&self) -> [(&'static str, Option<Ipv4Net>); 3] {
        [
            ("--pod-cidr", self.pod_cidr),
            ("--service-cidr", self.service_cidr),
            ("--lb-range", self.lb_range),
        ]
    }
}

fn range(text: &str) -> Result<Ipv4Net, String> {
    text.parse().map_err(|_| "it is no range of addresses: write for example 10.97.200.0/24".into())
}
