//! What can go wrong, named by the operation that failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

/// A failed operation on the cluster's network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A range of the cluster is already used on this host.
    #[error(
        "the {what} range {range} overlaps {other}: free it, or give a new cluster another range \
         with {flag}"
    )]
    RangeTaken {
        /// "pod", "service" or "load balancer".
        what: &'static str,
        /// The range the cluster wants.
        range: Ipv4Net,
        /// What is in the way: a route as `ip route` prints it, or another range of the cluster.
        other: String,
        /// How to choose another.
        flag: &'static str,
    },
    /// None of the ranges that are tried unless told is free on this host.
    #[error(
        "no private range is free for {what}: all of 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16 is \
         already routed on this host; name ranges with {flags}"
    )]
    NoRange {
        /// "pods and Services".
        what: String,
        /// How to name them.
        flags: String,
    },
    /// A range has no room.
    #[error("the {what} range {range} is too small: give {flag} a prefix of at most /{longest}")]
    RangeTooSmall {
        /// As above.
        what: &'static str,
        /// The range asked for.
        range: Ipv4Net,
        /// The longest prefix.
        longest: u8,
        /// What it was asked with.
        flag: &'static str,
    },
    /// Objects of the cluster have addresses of another range.
    #[error(
        "this cluster's {what} range is {former} since its first start and cannot become {range}: \
         leave the option out, or start anew after `coracle delete`"
    )]
    RangeFixed {
        /// As above.
        what: &'static str,
        /// The range that it has.
        former: Ipv4Net,
        /// The range asked for.
        range: Ipv4Net,
    },
    /// Another cluster of the host has the name, and with it the interface.
    #[error("{alias} has the name {name:?} on this host: stop that one, or choose another --name")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose the interface is.
        alias: String,
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
