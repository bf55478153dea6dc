//! A private machine for each test: its own "host" network and mount namespace, with a way out to
//! an "internet" of one address. Nothing a test does reaches the real host, and all of it is gone
//! with the test's thread.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a failed unwrap is the assertion")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use coracle_network::{
    Backend, ClusterLink, Frontend, Kernel, LinuxKernel, NetworkConfig, PodLink, PolicyTable,
    Protocol, ServiceMap, Target,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

pub const TIMEOUT: Duration = Duration::from_secs(5);
/// The address of the internet.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host's address on its way there.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const MTU: u32 = 1400;

pub struct World {
    pub dir: tempfile::TempDir,
    pub outside: PathBuf,
}

impl World {
    /// Moves the calling thread into a machine of its own.
    pub fn new() -> Self {
        assert!(nix::unistd::Uid::effective().is_root(), "network tests need root");
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        pin_new_namespace(&outside);
        std::fs::create_dir_all("/run/netns").unwrap();
        std::os::unix::fs::symlink(&outside, "/run/netns/outside").unwrap();
        run("ip link set lo up");
        // A new namespace forwards if the machine does, as one with Docker or a cluster does.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        run(&format!(
            "ip link add eth0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns outside"
        ));
        run(&format!("ip address add {HOST}/24 dev eth0"));
        run("ip link set eth0 addrgenmode none"); // whose state would change while we look
        run("ip link set eth0 up");
        run(&format!("ip route add default via {OUTSIDE}"));
        run(&format!("ip -n outside address add {OUTSIDE}/24 dev eth0"));
        run("ip -n outside link set eth0 up");
        run("ip -n outside link set lo up");
        // The kernel tells one end in the background that the other is on.
        while !run("ip link show eth0").contains("state UP") {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { dir, outside }
    }

    /// Ends the cluster for good, knowing its name alone.
    pub fn take_down(&self, name: &str) {
        let kernel = LinuxKernel::new(self.config(name)).unwrap();
        kernel.down().unwrap();
        kernel.release().unwrap();
    }

    pub fn config(&self, name: &str) -> NetworkConfig {
        NetworkConfig::new(name, "node-1", self.dir.path().join(name))
    }

    /// A namespace for a pod, as its shim would make it.
    pub fn pod(&self, uid: &str, ip: &str) -> PodLink {
        let netns = self.dir.path().join(uid);
        pin_new_namespace(&netns);
        PodLink { uid: uid.to_owned(), netns, ip: ip.parse().unwrap() }
    }

    /// All of the host that a cluster could have changed.
    pub fn state(&self) -> String {
        let mut state = String::new();
        for command in [
            "ip -j link",
            "ip -j address",
            "ip -j route show table all",
            "ip -j rule",
            "nft list ruleset",
            "ls /run /run/netns",
        ] {
            state += &format!("{command}\n{}\n", run(command));
        }
        for setting in ["ip_forward", "conf/all/accept_redirects", "conf/eth0/forwarding"] {
            state += &std::fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}")).unwrap();
        }
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        state + &mounts
    }
}

impl Drop for World {
    /// Mounts go with the thread; the directories below them are on the real disk.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for path in paths.filter(|path| Path::new(path).starts_with(self.dir.path())) {
            unpin(Path::new(path));
        }
    }
}

/// A cluster that is up, in a world of its own.
pub struct Cluster {
    pub world: World,
    pub kernel: LinuxKernel,
    pub link: ClusterLink,
    pub config: NetworkConfig,
}

impl Cluster {
    pub fn up() -> Self {
        let world = World::new();
        let config = world.config("test");
        let kernel = LinuxKernel::new(config.clone()).unwrap();
        let link = kernel.up().unwrap();
        Self { world, kernel, link, config }
    }

    /// Makes these the Services of the cluster, without policies.
    pub fn serve(&self, services: &ServiceMap) {
        self.kernel.apply(services, &PolicyTable::default()).unwrap();
    }

    /// An attached pod that serves its name on port 8080.
    pub fn serving_pod(&self, name: &str, ip: &str) -> PodLink {
        let pod = self.world.pod(name, ip);
        self.kernel.attach_pod(&pod).unwrap();
        serve(&pod.netns, SocketAddr::from((pod.ip, 8080)), name);
        pod
    }

    pub fn client_pod(&self, name: &str, ip: &str) -> PodLink {
        let pod = self.world.pod(name, ip);
        self.kernel.attach_pod(&pod).unwrap();
        pod
    }

    /// What `address` answers to the host. Nothing is sent unless the host's route leads into the
    /// cluster.
    pub fn host_asks(&self, address: &str) -> Result<Answer, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        let route = run(&format!("ip route get {}", address.ip()));
        assert!(route.contains("dev cor-test"), "{address} would leave the cluster: {route}");
        TcpStream::connect_timeout(&address, TIMEOUT).map(ask).map_err(|error| error.kind())
    }

    /// What `address` answers to a pod.
    pub fn pod_asks(&self, pod: &PodLink, address: &str) -> Result<Answer, std::io::ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        match self.kernel.connect_in(&pod.netns, address, TIMEOUT) {
            Ok(stream) => Ok(ask(stream)),
            Err(coracle_network::NetworkError::Connect { source, .. }) => Err(source.kind()),
            Err(other) => panic!("{other}"),
        }
    }
}

/// What a server said: who it is, and whom it took us for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub server: String,
    pub client: String,
}

/// What the other end of a connection says.
pub fn ask(mut stream: TcpStream) -> Answer {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (server, client) = text.split_once(' ').unwrap();
    Answer { server: server.to_owned(), client: client.to_owned() }
}

/// Serves in a namespace, in the background: each client is told `name` and its own address.
pub fn serve(netns: &Path, address: SocketAddr, name: &str) {
    let listener = inside(netns, || TcpListener::bind(address).unwrap());
    serve_on(listener, name);
}

pub fn serve_on(listener: TcpListener, name: &str) {
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(peer) = stream.peer_addr() else { continue };
            // A client that is gone already has nothing to be told.
            drop(stream.write_all(format!("{name} {}", peer.ip()).as_bytes()));
        }
    });
}

/// Runs `work` in a namespace.
pub fn inside<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let enter = || {
            setns(File::open(netns).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(enter).join().unwrap()
    })
}

fn pin_new_namespace(path: &Path) {
    File::create(path).unwrap();
    std::thread::scope(|scope| {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        };
        scope.spawn(make).join().unwrap();
    });
}

/// That two states of the host are one.
pub fn assert_same(now: &str, before: &str) {
    for (now, before) in now.lines().zip(before.lines()) {
        assert_eq!(now, before);
    }
    assert_eq!(now.lines().count(), before.lines().count(), "{now}");
}

/// Lifts a namespace's pin, though somebody may have it open still.
pub fn unpin(path: &Path) {
    nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// Runs a command in the calling thread's namespaces and answers with what it printed.
pub fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap_or_else(|error| {
        panic!("{command}: {error} (scripts/apt-install nftables iproute2)")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

pub fn frontend(address: &str) -> Frontend {
    let SocketAddr::V4(address) = address.parse().unwrap() else { panic!("{address}") };
    Frontend { ip: *address.ip(), port: address.port(), protocol: Protocol::Tcp }
}

pub fn target(backends: &[&str]) -> Target {
    let backends = backends.iter().map(|address| {
        let SocketAddr::V4(address) = address.parse().unwrap() else { panic!("{address}") };
        Backend { ip: *address.ip(), port: address.port() }
    });
    Target { backends: backends.collect(), affinity_seconds: None, sources: Vec::new() }
}

pub fn services(entries: &[(&str, Target)]) -> ServiceMap {
    let targets = entries.iter().map(|(address, target)| (frontend(address), target.clone()));
    ServiceMap { targets: targets.collect() }
}
