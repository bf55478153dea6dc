//! The seam: what the node asks of the machine's network.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::{NetworkError, PolicyTable, ServiceMap};

/// The link between the host and the node, as it stands after [`Kernel::up`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLink {
    /// The host's address on the link; the API server must listen on it at the API port.
    pub host_ip: Ipv4Addr,
    /// The node's address (`InternalIP`).
    pub node_ip: Ipv4Addr,
    /// The range load balancer addresses come from.
    pub lb_range: Ipv4Net,
    /// Bytes a packet may have inside the cluster.
    pub mtu: u32,
    /// File that holds the node's network namespace; pods with `hostNetwork` run in it.
    pub netns: PathBuf,
}

/// A pod's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// The pod's UID.
    pub uid: String,
    /// File that holds the pod's network namespace (a bind mount or `/proc/PID/ns/net`).
    pub netns: PathBuf,
    /// The pod's address, out of the pod range.
    pub ip: Ipv4Addr,
}

/// The machine's network. Calls block; async callers use a blocking thread.
///
/// The host itself reaches pods, Services, node ports and load balancers through its route to the
/// cluster: a plain socket connected from the engine's own namespace gets there too, and the pod
/// sees [`ClusterLink::host_ip`] as its peer.
pub trait Kernel: Send + Sync {
    /// Makes the node and its link to the host, or adopts what a killed engine left: links of
    /// pods that still run are kept. Doing it twice changes nothing.
    ///
    /// # Errors
    /// [`NetworkError::RangeTaken`] when a range is already routed on this host, and whatever
    /// the kernel refuses.
    fn up(&self) -> Result<ClusterLink, NetworkError>;

    /// Removes everything [`Kernel::up`] made but the routes that make the cluster's ranges
    /// unreachable: what is still sent to it must not leave by the default route, and the ranges stay
    /// its own. Doing it twice is no error.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    fn down(&self) -> Result<(), NetworkError>;

    /// Gives the pod's namespace its `eth0`, address and routes. Doing it twice changes nothing.
    ///
    /// # Errors
    /// When the namespace is gone or the kernel refuses.
    fn attach_pod(&self, pod: &PodLink) -> Result<(), NetworkError>;

    /// Takes the pod off the network at once; the link itself is destroyed in the background
    /// (that takes the kernel 30 ms). No error when it is not attached.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn detach_pod(&self, pod_uid: &str) -> Result<(), NetworkError>;

    /// Makes these the Services and policies of the cluster: only what differs from the last call is
    /// changed, in one batch that holds as a whole or not at all.
    ///
    /// # Errors
    /// When the kernel refuses; what was applied before then still stands.
    fn apply(&self, services: &ServiceMap, policies: &PolicyTable) -> Result<(), NetworkError>;

    /// A TCP listener inside the node.
    ///
    /// # Errors
    /// [`NetworkError::Listen`].
    fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, NetworkError>;

    /// A UDP socket inside the node.
    ///
    /// # Errors
    /// [`NetworkError::Listen`].
    fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetworkError>;

    /// A TCP connection that starts inside the node.
    ///
    /// # Errors
    /// [`NetworkError::Connect`].
    fn connect_tcp(
        &self,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, NetworkError>;

    /// A TCP connection that starts inside any namespace: a port-forward reaches a pod's
    /// `127.0.0.1` that way.
    ///
    /// # Errors
    /// [`NetworkError::Namespace`] when the namespace is gone, else [`NetworkError::Connect`].
    fn connect_in(
        &self,
        netns: &Path,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, NetworkError>;
}
