//! The real [`Kernel`]: namespaces, routed veth and nftables, all by netlink.
//!
//! Layout: the node is a namespace pinned in the state directory. Each pod hangs on it by a veth
//! of its own, with a /32 route and the link-local gateway 169.254.1.1; there is no bridge. One
//! more veth joins the node to the host. Services and network policies are elements of maps in the
//! node's only table ([`ruleset`], [`elements`]; [`policing`], [`policy_elements`]).

mod conntrack;
mod elements;
mod forwarding;
mod host;
mod names;
mod namespace;
mod netlink;
mod nft;
mod node;
mod policing;
mod policy_elements;
mod ranges;
mod route;
mod ruleset;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;

use self::host::Host;
use self::namespace::Namespace;
use self::netlink::Refused;
use self::node::Node;
use crate::{
    AskedRanges, ClusterLink, Kernel, NetworkConfig, NetworkError, PodLink, PolicyTable, Ranges,
    ServiceMap,
};

/// The network of this machine.
#[derive(Debug)]
pub struct LinuxKernel {
    config: NetworkConfig,
    host: Mutex<Host>,
    node: Mutex<Option<Arc<Node>>>,
}

impl LinuxKernel {
    /// The network of the machine (more exactly: of the calling thread's network namespace).
    /// Changes nothing yet.
    ///
    /// # Errors
    /// When netlink sockets cannot be opened.
    pub fn new(config: NetworkConfig) -> Result<Self, NetworkError> {
        Ok(Self { config, host: Mutex::new(Host::here()?), node: Mutex::new(None) })
    }

    /// The ranges for the cluster whose network state is in `state_dir`: those of its first start, as
    /// asked for then or else the first that were free.
    ///
    /// # Errors
    /// When they are taken on this host, too small, or not those of the first start.
    pub fn choose_ranges(
        cluster_name: &str,
        state_dir: &Path,
        asked: AskedRanges,
    ) -> Result<Ranges, NetworkError> {
        Host::here()?.choose_ranges(cluster_name, state_dir, asked)
    }

    /// Waits until no other cluster of this host is choosing its ranges: hold what comes back until
    /// the network is up and everybody can see what is taken. (A socket's name, which is as wide as
    /// the network namespace and gone with the process.)
    ///
    /// # Errors
    /// When another start takes very long, or sockets are refused.
    pub fn take_turn() -> Result<UnixListener, NetworkError> {
        const STEP: Duration = Duration::from_millis(5);
        const TRIES: u32 = 6000;
        let bind = || {
            let name = std::os::unix::net::SocketAddr::from_abstract_name("coracle-network")?;
            UnixListener::bind_addr(&name)
        };
        let mut tries = 0;
        loop {
            match bind() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(STEP);
                }
                done => return done.map_err(unreadable("wait for other clusters' starts")),
            }
        }
    }

    /// The ranges of the cluster's last start, if there was one: what is left of it lies there.
    #[must_use]
    pub fn former_ranges(state_dir: &Path) -> Option<(Ipv4Net, Ipv4Net)> {
        host::former_ranges(state_dir)
    }

    /// All ranges of the cluster's last start: what stays unreachable after [`Kernel::down`].
    #[must_use]
    pub fn kept_ranges(state_dir: &Path) -> Vec<Ipv4Net> {
        host::last_ranges(state_dir)
    }

    /// The host's own addresses, which no Service may have.
    #[must_use]
    pub fn own_addresses() -> Vec<Ipv4Addr> {
        host::own_addresses()
    }

    /// Whether another cluster, with its state elsewhere, has this one's name on this host.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_name_taken(&self) -> Result<bool, NetworkError> {
        let config = &self.config;
        match lock(&self.host).check_name(&config.cluster_name, &config.state_dir) {
            Err(NetworkError::NameTaken { .. }) => Ok(true),
            checked => checked.map(|()| false),
        }
    }

    /// Gives the cluster's ranges back to the host: it is not coming up again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn release(&self) -> Result<(), NetworkError> {
        lock(&self.host).open_ranges(&self.config)
    }

    /// The file that holds the node's namespace.
    fn netns(&self) -> PathBuf {
        self.config.state_dir.join("netns")
    }

    fn node(&self) -> Result<Arc<Node>, NetworkError> {
        lock(&self.node).clone().ok_or(NetworkError::NotUp)
    }

    fn build(
        &self,
        host: &mut Host,
        namespace: Namespace,
        lb_range: Ipv4Net,
    ) -> Result<ClusterLink, NetworkError> {
        let config = &self.config;
        let (host_ip, node_ip) = (config.host_ip(), config.node_ip());
        let ranges = [config.pod_cidr, config.service_cidr, lb_range];
        let mtu = host.mtu()?;
        let link = names::host_link(&config.cluster_name);
        let node = Node::new(namespace, config, lb_range, mtu)?;
        host.close_ranges(ranges)?;
        node.with_route(|namespace, socket| host.link(&link, namespace, socket, mtu))?;
        node.prepare(host_ip, config.pod_cidr)?;
        node.prepare_services()?;
        host.lead(&link, &names::host_alias(&config.state_dir), host_ip, node_ip, ranges)?;
        host.open_way_out(config)?;
        *lock(&self.node) = Some(Arc::new(node));
        Ok(ClusterLink { host_ip, node_ip, lb_range, mtu, netns: self.netns() })
    }

    fn clear(&self, host: &mut Host) -> Result<(), NetworkError> {
        *lock(&self.node) = None;
        let cleared = host.clear(&self.config);
        cleared.and(Namespace::unpin(&self.netns()))
    }
}

impl Kernel for LinuxKernel {
    fn up(&self) -> Result<ClusterLink, NetworkError> {
        let mut host = lock(&self.host);
        host.check_name(&self.config.cluster_name, &self.config.state_dir)?;
        let lb_range = host.check_ranges(&self.config)?;
        let path = self.netns();
        if let Ok(left) = Namespace::open(&path) {
            return self.build(&mut host, left, lb_range);
        }
        let built = Namespace::create(&path).and_then(|made| self.build(&mut host, made, lb_range));
        built.inspect_err(|_| {
            // Nothing ran in it yet, so nothing is lost with it.
            if let Err(error) = self.clear(&mut host).and(host.open_ranges(&self.config)) {
                tracing::warn!(%error, "a half-made network stays");
            }
        })
    }

    fn down(&self) -> Result<(), NetworkError> {
        let mut host = lock(&self.host);
        host.check_name(&self.config.cluster_name, &self.config.state_dir)?;
        self.clear(&mut host)
    }

    fn attach_pod(&self, pod: &PodLink) -> Result<(), NetworkError> {
        self.node()?.attach(pod)
    }

    fn detach_pod(&self, pod_uid: &str) -> Result<(), NetworkError> {
        self.node()?.detach(pod_uid)
    }

    fn apply(&self, services: &ServiceMap, policies: &PolicyTable) -> Result<(), NetworkError> {
        self.node()?.apply(services, policies)
    }

    fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, NetworkError> {
        let listener = self.node()?.namespace().run(|| TcpListener::bind(address))?;
        listener.map_err(|source| NetworkError::Listen { address, source })
    }

    fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetworkError> {
        let socket = self.node()?.namespace().run(|| UdpSocket::bind(address))?;
        socket.map_err(|source| NetworkError::Listen { address, source })
    }

    fn connect_tcp(
        &self,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, NetworkError> {
        connect(self.node()?.namespace(), address, timeout)
    }

    fn connect_in(
        &self,
        netns: &Path,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, NetworkError> {
        connect(&Namespace::open(netns)?, address, timeout)
    }
}

fn connect(
    namespace: &Namespace,
    address: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, NetworkError> {
    let stream = namespace.run(|| TcpStream::connect_timeout(&address, timeout))?;
    stream.map_err(|source| NetworkError::Connect { address, source })
}

/// Names the operation that the kernel refused.
fn refused(operation: &str) -> impl FnOnce(Refused) -> NetworkError {
    move |Refused { message, source }| NetworkError::Netlink {
        operation: format!("{operation} (message {message})"),
        source,
    }
}

/// Names the operation that could not even be asked for.
fn unreadable(operation: &str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Netlink { operation: operation.to_owned(), source }
}

/// A panic elsewhere leaves the sockets usable: each exchange is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
