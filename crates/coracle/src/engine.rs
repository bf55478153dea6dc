//! The engine: everything wired together, from start to stop.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::{Gates, Timestamp};
use coracle_controllers::{CONTROLLERS, Config as DecisionConfig};
use coracle_driver::{EventRecorder, Journal, Loop, Reasons};
use coracle_network::{AskedRanges, ClusterLink, Kernel, LinuxKernel, NetworkConfig, NetworkError};
use coracle_node::images::Pulling;
use coracle_node::{Ending, Node, NodeConfig, NodeError, from_node};
use coracle_runtime::{Containers, RuntimeError, Shims};
use coracle_server::audit::policy::Policy;
use coracle_server::pki::PkiError;
use coracle_server::{
    Aggregator, Api, Auditor, Cluster as ApiCluster, Kinds, Outside, Pki, Server, System,
    follow_others, pki,
};
use coracle_store::{OpenError, Store};
use futures_util::future::join_all;
use ipnet::Ipv4Net;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::arguments::UpArgs;
use crate::cluster::Cluster;
use crate::control_server;
use crate::feature_gates;
use crate::files::{Files, FilesError, Seen};
use crate::kubeconfig::{self, Access, KubeconfigError};
use crate::node_door;
use crate::outside::Machine;
use crate::paths::Paths;
use crate::questions::{Questions, Stop};

/// Name of the only node.
pub const NODE: &str = "node-1";
/// The API's ports when none is asked for: the first that is free.
const FIRST_PORT: u16 = 6443;
const LAST_PORT: u16 = 6499;
/// Whom `kubectl` is with the kubeconfig that `up` writes, and in which group.
const ADMINISTRATOR: (&str, &str) = ("kubernetes-admin", "kubeadm:cluster-admins");

/// How often the age of the API's certificate is looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(12 * 60 * 60);

/// Why the engine does not run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Threads could not be started.
    #[error("cannot start the engine's threads: {0}")]
    Threads(#[source] io::Error),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// There are no certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The cluster's network could not be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Containers cannot be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The node does not start or stop.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The API cannot listen.
    #[error(
        "cannot listen on {address}: {source} (another cluster or program? choose another --api-port)"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// None of the ports that are tried unless told is free.
    #[error("ports {FIRST_PORT} to {LAST_PORT} are all in use: choose one with --api-port")]
    NoPort,
    /// An address is not one of the host's.
    #[error("--api-address {0} is no address of this host: see `ip address` for those that are")]
    NotOurAddress(IpAddr),
    /// The first objects were refused.
    #[error("cannot make the cluster's first objects: {0}")]
    Bootstrap(String),
    /// Something that lives as long as the engine has ended before it.
    #[error(
        "{0} has ended, and the engine with it: what it said is above; pods go on, and an engine \
         that runs in the background is started again"
    )]
    Broken(&'static str),
    /// A file of the cluster could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that `up` was told of is not what it should be.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The administrator's kubeconfig could not be read or written.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
}

/// Be the engine until it is told to stop.
///
/// # Errors
/// When it cannot start or stop as it should.
pub fn run(cluster: &Cluster, arguments: &UpArgs) -> Result<(), EngineError> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        // The log may lie on the disk that is full: to say so would fail, too, and end the thread.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    allow_many_files();
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut engine = Engine::start(cluster, arguments).await?;
        tokio::select! {
            stop = told_to_stop(engine.asked.subscribe()) => engine.stop(stop).await,
            part = engine.broken_part() => Err(EngineError::Broken(part)),
        }
    });
    // A thread that never comes back must not keep a broken engine half alive.
    runtime.shutdown_background();
    ended
}

/// Ends when a signal or the command line says so. SIGTERM leaves the pods, as stopping a kubelet
/// does; an interrupt at the terminal means `coracle down`.
async fn told_to_stop(mut told: watch::Receiver<Option<Stop>>) -> Stop {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminated), Ok(mut interrupted)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received: only `coracle down` stops this engine");
        return wait_for(&mut told).await;
    };
    tokio::select! {
        stop = wait_for(&mut told) => stop,
        _ = terminated.recv() => Stop::KeepPods,
        _ = interrupted.recv() => Stop::All(Ending::Gracefully),
    }
}

/// As many open files as the host lets us have: every connection is one, and the default of shells
/// is so low that a thousand idle clients would leave none for pods.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, EngineError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(EngineError::Threads)
}

/// How to reach the cluster as its administrator.
///
/// # Errors
/// When its kubeconfig cannot be read.
pub fn access(cluster: &Cluster) -> Result<Access, KubeconfigError> {
    Access::read(&cluster.paths().kubeconfig())
}

/// End what a killed engine left behind: its pods, links and mounts. The data stays.
///
/// # Errors
/// The first thing that could not be ended.
pub fn clean_up(cluster: &Cluster) -> Result<(), EngineError> {
    let paths = cluster.paths();
    let containers = Shims::new(runtime_config(&paths, &cluster.name))?;
    let kernel = LinuxKernel::new(former_config(cluster))?;
    // Control group and link are called as the cluster. Another one with its data elsewhere may run
    // under that name: then they are its, and so is what runs in them.
    let is_anothers = kernel.is_name_taken()?;
    runtime()?.block_on(async {
        let left = containers.list().await?;
        let removed = left.iter().map(|sandbox| containers.remove_sandbox(&sandbox.pod_uid));
        join_all(removed).await.into_iter().collect::<Result<(), RuntimeError>>()
    })?;
    coracle_node::clean_up(paths.data_dir())?;
    if is_anothers {
        return Ok(());
    }
    containers.remove_cgroup_parent()?;
    Ok(kernel.down()?)
}

/// The cluster's ranges: unreachable on this host while it is down.
pub fn kept_ranges(cluster: &Cluster) -> Vec<Ipv4Net> {
    LinuxKernel::kept_ranges(&unranged_config(cluster).state_dir)
}

/// Give the cluster's ranges back to the host, for it is not coming up again.
///
/// # Errors
/// When the kernel refuses.
pub fn release_ranges(cluster: &Cluster) -> Result<(), EngineError> {
    if kept_ranges(cluster).is_empty() {
        return Ok(());
    }
    Ok(LinuxKernel::new(former_config(cluster))?.release()?)
}

fn former_config(cluster: &Cluster) -> NetworkConfig {
    let mut network = unranged_config(cluster);
    if let Some(ranges) = LinuxKernel::former_ranges(&network.state_dir) {
        (network.pod_cidr, network.service_cidr) = ranges;
    }
    network
}

/// The parts of a running engine.
struct Engine {
    paths: Paths,
    store: Store,
    auditor: Option<Arc<Auditor>>,
    kernel: Arc<dyn Kernel>,
    shims: Arc<Shims>,
    node: Arc<Node>,
    /// What the command line asks of the engine.
    asked: watch::Sender<Option<Stop>>,
    /// What the engine tells its parts when it is their turn: one that ends before has failed.
    stopping: watch::Sender<Option<Stop>>,
    serving: JoinHandle<io::Result<()>>,
    driving: oneshot::Receiver<()>,
    following: JoinHandle<Infallible>,
    answering: JoinHandle<()>,
    door: JoinHandle<Infallible>,
}

impl Engine {
    async fn start(cluster: &Cluster, arguments: &UpArgs) -> Result<Self, EngineError> {
        let start = Instant::now();
        let paths = cluster.paths();
        // The store holds the cluster's lock: from here on no other engine is at work here.
        let store = Store::open(&paths.store())?;
        let files = arguments.files.settle(&paths)?;
        let loaded = files.load(&paths)?;
        let ((asked, _), (stopping, _)) = (watch::channel(None), watch::channel(None));
        let pulling = pulling(&files, arguments);
        let pki = Arc::new(Pki::open(&paths.pki(), Timestamp::now())?);
        let turn = LinuxKernel::take_turn()?;
        let config = network_config(cluster, arguments)?;
        // Before anything is made: who is told to use another port finds the host as it was.
        let mut listeners = listen(config.api_port, &own_addresses(arguments))?;
        let kernel: Arc<dyn Kernel> = Arc::new(LinuxKernel::new(config.clone())?);
        let link = kernel.up()?;
        drop(turn);
        let gates = gates(&paths, arguments)?;
        let kinds = Kinds::gated(&gates);
        let api = Api::new(store.clone(), kinds, api_cluster(&config), Arc::new(System));
        let tokens = Arc::new(pki.tokens()?);
        let front_proxy = pki.front_proxy()?;
        let identity = Arc::clone(&front_proxy) as _;
        let aggregator = Arc::new(Aggregator::new(from_node(&kernel), identity));
        let outside = Arc::new(Machine::new(
            Arc::clone(&tokens),
            Arc::clone(&pki),
            store.clone(),
            &kernel,
            Arc::clone(&aggregator),
        ));
        api.set_outside(Arc::clone(&outside) as Arc<dyn Outside>);
        api.set_tokens(Arc::clone(&tokens));
        let decisions = decision_config(&paths, &config, &link, &pki, gates);
        bootstrap(&api, &decisions).await?;
        let server = Server::new(api.clone(), tokens);
        server.set_aggregator(Arc::clone(&aggregator));
        let auditor = auditor(loaded.audit)?;
        auditor.iter().for_each(|auditor| server.set_auditor(Arc::clone(auditor)));
        files.keep(&paths)?;
        api.others().list(loaded.tokens);
        api.others().configure(loaded.authentication.unwrap_or_default());
        listeners.extend(listen(config.api_port, &[link.host_ip.into()])?);
        let names = api_names(&config, &link, arguments);
        let name = (&names[..], config.api_port);
        let serving = serve(&server, cluster, &pki, front_proxy, name, listeners, &stopping)?;
        let answers_after = start.elapsed();
        write_access(cluster, &pki, config.api_port)?;
        let events = EventRecorder::default();
        let driver =
            Loop::new(CONTROLLERS, decisions, events.clone()).with_journal(journal(&paths)?);
        let reasons = driver.reasons();
        let driving = drive(driver, &api, &events, &stopping)?;
        let following = tokio::spawn(follow(files, loaded.seen, aggregator, api.clone()));
        let shims = Arc::new(Shims::new(runtime_config(&paths, &cluster.name))?);
        let containers = Arc::clone(&shims) as Arc<dyn Containers>;
        let node_config = node_config(&paths, config, arguments, pulling);
        let node = Node::start(node_config, api.clone(), events, containers, Arc::clone(&kernel));
        let node = Arc::new(node.await?);
        server.set_node(node.streams());
        let door = node_door::serve(NODE, &server, &pki, &kernel, &link)?;
        outside.set_node(Arc::clone(&node));
        let is_ready = node.ready().await;
        let answering = answer_questions(&paths, api, reasons, Arc::clone(&node), asked.clone())?;
        report(arguments, answers_after, is_ready.then(|| start.elapsed()));
        Ok(Self {
            paths,
            store,
            auditor,
            kernel,
            shims,
            node,
            asked,
            stopping,
            serving,
            driving,
            following,
            answering,
            door,
        })
    }

    /// The first part that has ended although nobody told it to.
    async fn broken_part(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.serving => "the API",
            _ = &mut self.driving => "the driver of the controllers",
            _ = &mut self.following => "who asks others what they have",
            _ = &mut self.answering => "the command line's socket",
            _ = &mut self.door => "the node's port",
            part = self.node.broken_part() => part,
        }
    }

    async fn stop(self, stop: Stop) -> Result<(), EngineError> {
        tracing::info!(?stop, "stopping");
        // First of all: nobody makes a pod anew that ends now.
        self.stopping.send_replace(Some(stop));
        if let Stop::All(ending) = stop {
            self.node.stop_pods(ending).await?;
        }
        self.node.shutdown().await;
        // Its sender is dropped, not used.
        drop(self.driving.await);
        let served = self.serving.await.map_err(io::Error::other);
        if let Err(error) = served.and_then(|served| served) {
            tracing::error!(%error, "the API ended badly");
        }
        if let Some(auditor) = self.auditor {
            tokio::task::spawn_blocking(move || auditor.flush()).await.ok();
        }
        if matches!(stop, Stop::All(_)) {
            coracle_node::clean_up(self.paths.data_dir())?;
            self.shims.remove_cgroup_parent()?;
            self.kernel.down()?;
        }
        let store = self.store;
        // Closing writes: it may take a moment on a busy disk.
        tokio::task::spawn_blocking(move || store.close()).await.map_err(io::Error::other).ok();
        self.answering.abort();
        self.door.abort();
        self.following.abort();
        // The last act: to the command line, a missing socket means an orderly end.
        remove_file(&self.paths.socket())?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn gates(paths: &Paths, arguments: &UpArgs) -> Result<Gates, EngineError> {
    let path = paths.feature_gates();
    feature_gates::settle(paths, arguments.feature_gates.as_ref())
        .map_err(|source| EngineError::File { path, source })
}

/// Who remembers requests, if anything is to be remembered.
fn auditor(asked: Option<(Policy, PathBuf)>) -> Result<Option<Arc<Auditor>>, EngineError> {
    let Some((policy, path)) = asked else { return Ok(None) };
    let auditor = Auditor::new(policy, &path);
    let auditor = auditor.map_err(|source| EngineError::File { path, source })?;
    Ok(Some(Arc::new(auditor)))
}

/// Follows what others say: API servers, and the file that says whom the API knows.
async fn follow(files: Files, seen: Seen, aggregator: Arc<Aggregator>, api: Api) -> Infallible {
    tokio::select! {
        never = follow_others(aggregator, api.clone()) => never,
        never = files.follow(api.others(), seen) => never,
    }
}

/// How images are pulled. A mistake in the file of registries keeps no engine from starting again.
fn pulling(files: &Files, arguments: &UpArgs) -> Pulling {
    if let Err(error) = files.check_registries() {
        tracing::error!("{error} (no image can be pulled before this is mended)");
    }
    let registries = files.registries().map(PathBuf::from);
    Pulling { registries, at_once: arguments.max_parallel_pulls.map(usize::from) }
}

fn journal(paths: &Paths) -> Result<Journal, EngineError> {
    let path = paths.journal();
    Journal::open(&path).map_err(|source| EngineError::File { path, source })
}

async fn wait_for(told: &mut watch::Receiver<Option<Stop>>) -> Stop {
    loop {
        if let Some(stop) = *told.borrow_and_update() {
            return stop;
        }
        if told.changed().await.is_err() {
            return Stop::KeepPods;
        }
    }
}

/// The first objects: roles, namespaces, the Services of the API and of DNS, the standard class.
async fn bootstrap(api: &Api, config: &DecisionConfig) -> Result<(), EngineError> {
    let refused = |status: &coracle_api::Status| EngineError::Bootstrap(status.message.clone());
    coracle_driver::bootstrap(api, config).await.map_err(|status| refused(&status))?;
    coracle_server::bootstrap::bootstrap(api).await.map_err(|status| refused(&status))
}

fn serve(
    server: &Arc<Server>,
    cluster: &Cluster,
    pki: &Arc<Pki>,
    front_proxy: Arc<pki::Serving>,
    (names, api_port): (&[String], u16),
    listeners: Vec<TcpListener>,
    stopping: &watch::Sender<Option<Stop>>,
) -> Result<JoinHandle<io::Result<()>>, EngineError> {
    let (tls, certificate) = pki.serving(names)?;
    let (server, mut told, pki) = (Arc::clone(server), stopping.subscribe(), Arc::clone(pki));
    let cluster = cluster.clone();
    Ok(tokio::spawn(async move {
        let stop = async move {
            wait_for(&mut told).await;
        };
        tokio::select! {
            served = server.serve(listeners, tls, stop) => served,
            never = renew(&cluster, &pki, [&certificate, &front_proxy], api_port) => match never {},
        }
    }))
}

/// What the API is called: in pods, on the host, and wherever else it was asked to listen.
fn api_names(config: &NetworkConfig, link: &ClusterLink, arguments: &UpArgs) -> Vec<String> {
    let mut names = pki::server_names(&config.cluster_domain);
    names.push(config.api_ip().to_string());
    names.push(link.host_ip.to_string());
    names.extend(arguments.api_address.iter().map(ToString::to_string));
    names
}

/// Looks whether the API's certificates are to be renewed, for as long as the engine runs; that of the
/// administrator is as old.
async fn renew(
    cluster: &Cluster,
    pki: &Pki,
    [certificate, front_proxy]: [&pki::Serving; 2],
    api_port: u16,
) -> Infallible {
    loop {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        if let Err(error) = pki.renew(front_proxy, Timestamp::now()) {
            tracing::error!(%error, "what other API servers know the API by stays as it is");
        }
        match pki.renew(certificate, Timestamp::now()) {
            Ok(true) => {
                tracing::info!("the API has a new certificate");
                if let Err(error) = write_access(cluster, pki, api_port) {
                    tracing::error!(%error, "the administrator's certificate stays as it is");
                }
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the API's certificate stays as it is"),
        }
    }
}

/// The host's addresses on which the API listens.
fn own_addresses(arguments: &UpArgs) -> Vec<IpAddr> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    [loopback].into_iter().chain(arguments.api_address.iter().copied()).collect()
}

fn listen(port: u16, addresses: &[IpAddr]) -> Result<Vec<TcpListener>, EngineError> {
    let sockets = addresses.iter().map(|address| SocketAddr::new(*address, port));
    sockets
        .map(|address| {
            TcpListener::bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrNotAvailable => EngineError::NotOurAddress(address.ip()),
                _ => EngineError::Listen { address, source },
            })
        })
        .collect()
}

/// Decides on a thread of its own: however long a decision takes, requests are answered. What is
/// returned is ready once that has ended, for whatever reason.
fn drive(
    driver: Loop,
    api: &Api,
    events: &EventRecorder,
    stopping: &watch::Sender<Option<Stop>>,
) -> Result<oneshot::Receiver<()>, EngineError> {
    let (api, events, mut told) = (api.clone(), events.clone(), stopping.subscribe());
    let (ends, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(EngineError::Threads)?;
    let work = move || {
        // Dropped at the end of this thread, also in a panic.
        let _ends: oneshot::Sender<()> = ends;
        let stop = async move {
            wait_for(&mut told).await;
        };
        runtime.block_on(coracle_driver::run(driver, api, events, stop));
    };
    std::thread::Builder::new().name("driver".into()).spawn(work).map_err(EngineError::Threads)?;
    Ok(ended)
}

fn answer_questions(
    paths: &Paths,
    api: Api,
    reasons: Reasons,
    node: Arc<Node>,
    asked: watch::Sender<Option<Stop>>,
) -> Result<JoinHandle<()>, EngineError> {
    let listener = control_server::listen(paths.data_dir())
        .map_err(|source| EngineError::File { path: paths.socket(), source })?;
    let questions = Questions::new(api, reasons, node, asked);
    Ok(tokio::spawn(control_server::serve(listener, Arc::new(questions))))
}

fn network_config(cluster: &Cluster, arguments: &UpArgs) -> Result<NetworkConfig, EngineError> {
    let asked = AskedRanges {
        pods: arguments.pod_cidr,
        services: arguments.service_cidr,
        load_balancers: arguments.lb_range,
    };
    let mut config = unranged_config(cluster);
    let ranges = LinuxKernel::choose_ranges(&cluster.name, &config.state_dir, asked)?;
    (config.pod_cidr, config.service_cidr) = (ranges.pods, ranges.services);
    config.lb_range = Some(ranges.load_balancers);
    config.external_ips = arguments.external_ips;
    config.host_addresses = LinuxKernel::own_addresses();
    config.api_port = api_port(cluster, arguments.api_port)?;
    Ok(config)
}

fn unranged_config(cluster: &Cluster) -> NetworkConfig {
    NetworkConfig::new(&cluster.name, NODE, cluster.paths().run().join("network"))
}

/// The port asked for, or that of the last time, or the first free one.
fn api_port(cluster: &Cluster, asked: Option<u16>) -> Result<u16, EngineError> {
    let former = access(cluster).ok().and_then(|access| access.port());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    asked.or(former).or_else(|| (FIRST_PORT..=LAST_PORT).find(is_free)).ok_or(EngineError::NoPort)
}

fn api_cluster(config: &NetworkConfig) -> ApiCluster {
    ApiCluster {
        services: config.service_cidr,
        domain: config.cluster_domain.clone(),
        outside: config.outside(),
    }
}

fn decision_config(
    paths: &Paths,
    config: &NetworkConfig,
    link: &ClusterLink,
    pki: &Pki,
    gates: Gates,
) -> DecisionConfig {
    DecisionConfig {
        ca_bundle: pki.authority().to_string(),
        front_proxy_ca: pki.front_proxy_authority().to_string(),
        api_address: link.host_ip,
        api_port: config.api_port,
        dns_address: config.dns_ip(),
        services: config.service_cidr,
        load_balancers: link.lb_range,
        largest_volume: coracle_node::largest_volume(paths.data_dir()),
        gates,
    }
}

fn node_config(
    paths: &Paths,
    network: NetworkConfig,
    arguments: &UpArgs,
    pulling: Pulling,
) -> NodeConfig {
    NodeConfig {
        name: NODE.into(),
        data_dir: paths.data_dir().to_path_buf(),
        network,
        max_pods: arguments.max_pods.into(),
        simulated_nodes: arguments.simulated_nodes,
        pulling,
    }
}

fn runtime_config(paths: &Paths, name: &str) -> coracle_runtime::Config {
    coracle_runtime::Config {
        state_dir: paths.run().join("sandboxes"),
        shim_exe: None,
        cgroup_parent: format!("/coracle-{name}"),
        limits: coracle_node::limits_of_all_pods(),
    }
}

/// A certificate for the administrator, in a kubeconfig of its own, and in those of users that have
/// the cluster.
fn write_access(cluster: &Cluster, pki: &Pki, api_port: u16) -> Result<(), EngineError> {
    let (name, group) = ADMINISTRATOR;
    let identity = pki.client_from(name, &[group], Timestamp::now())?;
    let server = format!("https://127.0.0.1:{api_port}");
    let access = Access::new(
        cluster.context(),
        server,
        pki.authority(),
        &identity.certificate,
        &identity.key,
    );
    let paths = cluster.paths();
    access.write(&paths.kubeconfig())?;
    for file in kubeconfig::remembered(&paths.kubeconfigs_of_users())? {
        // It is its user's, who may have made anything of it.
        if let Err(error) = kubeconfig::refresh(&file, &access) {
            tracing::warn!(%error, "a kubeconfig keeps its certificate");
        }
    }
    Ok(())
}

/// Tell the command line that waits, and the log.
fn report(arguments: &UpArgs, api: Duration, node: Option<Duration>) {
    let api = api.as_millis();
    let (node, told) = match node.map(|node| node.as_millis()) {
        Some(node) => (format!("{node} ms"), format!("the node was Ready after {node} ms")),
        None => {
            let told = "the node is not Ready yet";
            (told.to_owned(), format!("{told} (`coracle logs` says why)"))
        }
    };
    tracing::info!("the API answers after {api} ms, {told}");
    if arguments.report {
        // The next line of standard output is the last: the command line then goes away.
        crate::output::print(&format!("ready is up: the API answered after {api} ms, {told}\n"));
    } else {
        crate::output::print(&format!("coracle is up ({api} ms, {node}); stop it with Ctrl-C\n"));
    }
}

fn remove_file(path: &std::path::Path) -> Result<(), EngineError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::File { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
