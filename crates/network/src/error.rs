//! What can go wrong, named by the operation that failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

/// A failed operation on the cluster's network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A range of the cluster is already routed somewhere on this host.
    #[error(
        "the {what} range {range} clashes with the host's route {route}; {remedy} or remove that \
         route"
    )]
    RangeTaken {
        /// "pod", "service" or "load balancer".
        what: &'static str,
        /// The range the cluster wants.
        range: Ipv4Net,
        /// The route in the way, as `ip route` prints it.
        route: String,
        /// What the user can do instead of removing the route.
        remedy: &'static str,
    },
    /// The load balancer range that was asked for overlaps another of the cluster.
    #[error(
        "the load balancer range {range} overlaps the cluster's {what} range {own}; choose another \
         with --lb-range"
    )]
    RangesOverlap {
        /// What was asked for.
        range: Ipv4Net,
        /// "pod" or "service".
        what: &'static str,
        /// The cluster's own.
        own: Ipv4Net,
    },
    /// None of the default load balancer ranges is free on this host.
    #[error(
        "every default load balancer range ({tried}) is already routed on this host; choose one \
         with --lb-range"
    )]
    NoLoadBalancerRange {
        /// The candidates, separated by commas.
        tried: String,
    },
    /// A netlink request was refused.
    #[error("netlink: {operation}: {source}")]
    Netlink {
        /// What was asked for.
        operation: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The network was used before [`crate::Kernel::up`] or after [`crate::Kernel::down`].
    #[error("the cluster's network is not up")]
    NotUp,
    /// A network namespace could not be made, entered or pinned.
    #[error("network namespace {path}: {operation}: {source}")]
    Namespace {
        /// What was tried: "open", "create", "enter", "pin", "unpin".
        operation: &'static str,
        /// The namespace's file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file of the network's state, or a kernel setting, could not be read or written.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A listening socket could not be opened inside the node.
    #[error("listen on {address} inside the node: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// A connection from inside a namespace was refused or timed out.
    #[error("connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// The reason; its kind is the socket's own (`ConnectionRefused`, `TimedOut`, …).
        source: io::Error,
    },
}
