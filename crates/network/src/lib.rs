//! The cluster's network: addresses, routed veth, service maps, network policies, cluster DNS, load
//! balancer addresses.
//!
//! The node is one network namespace. Pods hang on it by routed veth (no bridge), Services and policies
//! are elements of nftables maps inside it, and one veth joins it to the host.
//!
//! * Pure: [`service_map`] says where every service address leads, and [`Fold`] the same of a cluster
//!   that changes; [`PolicyFold`] says who is kept from whom; [`dns::answer`] answers queries from a [`dns::Zone`].
//! * The seam: [`Kernel`], what the node asks of the machine. [`LinuxKernel`] is the real one.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod config;
pub mod dns;
pub mod error;
mod fold;
pub mod kernel;
mod linux;
pub mod policies;
pub mod services;

pub use config::{AskedRanges, NetworkConfig, Ranges};
pub use error::NetworkError;
pub use fold::Fold;
pub use ipnet::Ipv4Net;
pub use kernel::{ClusterLink, Kernel, PodLink};
pub use linux::LinuxKernel;
pub use policies::{PolicyFold, PolicyPod, PolicyTable};
pub use services::{Backend, Frontend, Protocol, ServiceMap, Target, service_map};

#[cfg(test)]
mod fixtures;
