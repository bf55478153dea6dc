//! The node: what all pods share, and the loops that feed their tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::Object;
use coracle_driver::EventRecorder;
use coracle_network::dns::{self, Upstreams, Zone};
use coracle_network::{ClusterLink, Kernel, NetworkConfig, NetworkError};
use coracle_runtime::{Containers, EventReceiver, RuntimeError, RuntimeEvent, Sandbox};
use coracle_server::{Api, NodeStreams};
use coracle_store::Snapshot;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};

use crate::addresses::Addresses;
use crate::client::Client;
use crate::images::{ImageError, ImageStore};
use crate::names::Names;
use crate::planner::{EventType, NodeCapacity, Note, Observed, admit};
use crate::pods::PodId;
use crate::pods::container::kept;
use crate::pods::fields::Allocatable;
use crate::pods::files::ClusterDns;
use crate::stop::{self, Ending};
use crate::streams::Streams;
use crate::tasks::{Tasks, blocking};
use crate::volumes::VolumeError;
use crate::volumes::mounter::{Places, unmount_all, unmount_below};
use crate::worker::{self, Message, Start};
use crate::{node_object, persistent, proxy};

/// What objects change a pod's variables and files.
const REFERRED: [&str; 4] = ["configmaps", "secrets", "persistentvolumeclaims", "serviceaccounts"];
/// Port of the cluster's DNS.
const DNS_PORT: u16 = 53;
/// The pause after the machine refused something that must work.
const AGAIN: Duration = Duration::from_secs(1);

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `metadata.name` of the Node.
    pub name: String,
    /// The cluster's data directory.
    pub data_dir: PathBuf,
    /// The network that the [`Kernel`] was made with.
    pub network: NetworkConfig,
    /// How many pods it may run.
    pub max_pods: usize,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The network cannot be brought up.
    #[error("the cluster's network: {0}")]
    Network(#[source] NetworkError),
    /// The image store cannot be used.
    #[error("the image store: {0}")]
    Images(#[source] ImageError),
    /// What runs already cannot be found out.
    #[error("the containers: {0}")]
    List(#[source] RuntimeError),
    /// DNS cannot listen.
    #[error("the cluster's DNS: {0}")]
    Dns(#[source] NetworkError),
    /// A volume cannot be unmounted.
    #[error("the volumes: {0}")]
    Unmount(#[source] VolumeError),
}

/// Unmounts the volumes that are left of a node's pods when none runs any more; the persistent
/// ones keep their content.
///
/// # Errors
/// When a process still uses one of them.
pub fn clean_up(data_dir: &Path) -> Result<(), NodeError> {
    for directory in ["pods", "volumes"] {
        unmount_below(&data_dir.join(directory)).map_err(NodeError::Unmount)?;
    }
    Ok(())
}

/// A running node; dropping it stops its loops and leaves its pods running.
pub struct Node {
    context: Arc<Context>,
    ready: watch::Receiver<bool>,
}

/// What every pod's task shares.
pub(crate) struct Context {
    pub config: NodeConfig,
    pub client: Client,
    pub runtime: Arc<dyn Containers>,
    pub kernel: Arc<dyn Kernel>,
    pub images: ImageStore,
    pub places: Places,
    pub link: ClusterLink,
    pub dns: ClusterDns,
    pub pod_cidr: Ipv4Net,
    pub allocatable: Allocatable,
    pub addresses: Addresses,
    pub tasks: Tasks,
    workers: Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>,
    names: Mutex<Names>,
    rejected: Mutex<BTreeSet<String>>,
    shown: Mutex<HashMap<String, Shown>>,
    persistent: Mutex<BTreeMap<String, Vec<PathBuf>>>,
    persistent_turn: Mutex<()>,
}

/// Held until a pod that was there before the node shows what runs of it now.
pub(crate) type FirstLook = mpsc::Sender<std::convert::Infallible>;

/// What logs, exec and attach must know of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub containers: BTreeMap<String, ShownContainer>,
    pub netns: Option<PathBuf>,
}

/// The last two runs of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownContainer {
    pub current: Option<ShownRun>,
    pub previous: Option<ShownRun>,
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct ShownRun {
    pub id: String,
    pub attempt: u32,
    pub running: bool,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Messages to the pod's task go there from now on.
    pub fn enlist(&self, uid: &str, worker: mpsc::UnboundedSender<Message>) {
        locked(&self.workers).insert(uid.to_owned(), worker);
    }

    /// The pod's task has ended.
    pub fn forget(&self, id: &PodId) {
        let uid = &id.uid;
        locked(&self.workers).remove(uid);
        locked(&self.shown).remove(uid);
        locked(&self.rejected).remove(uid);
        self.addresses.give_back(uid);
        self.release_name(id);
    }

    /// Whether the pod has its name for itself; if not, it is told when to ask again.
    pub fn take_name(&self, id: &PodId) -> bool {
        locked(&self.names).take(&id.namespace, &id.name, &id.uid)
    }

    /// What runs has its name, as long as something of it is left.
    pub fn hold_name(&self, id: &PodId) {
        locked(&self.names).hold(&id.namespace, &id.name, &id.uid);
    }

    /// Nothing of the pod is left: another one of its name may begin.
    fn release_name(&self, id: &PodId) {
        let waiting = locked(&self.names).release(&id.namespace, &id.name, &id.uid);
        waiting.iter().for_each(|uid| self.send(uid, Message::NameReleased));
    }

    pub fn shown(&self, uid: &str) -> Option<Shown> {
        locked(&self.shown).get(uid).cloned()
    }

    pub fn show(&self, id: &PodId, seen: &Observed, sandbox: Option<&Sandbox>) {
        let run = |instance: &crate::planner::Instance| ShownRun {
            id: instance.id.clone(),
            attempt: instance.attempt,
            running: instance.is_running(),
        };
        let containers = seen.containers.iter().map(|(name, seen)| {
            let current = seen.current.as_ref().map(run);
            let previous = seen.previous.as_ref().map(run);
            (name.clone(), ShownContainer { current, previous })
        });
        let netns = sandbox.map(|sandbox| sandbox.network_namespace.clone());
        let shown = Shown { containers: containers.collect(), netns };
        locked(&self.shown).insert(id.uid.clone(), shown);
    }

    /// Held while persistent volumes are mounted or released, so that a volume that two pods use
    /// one after the other is not taken from the second.
    pub fn persistent_turn(&self) -> MutexGuard<'_, ()> {
        locked(&self.persistent_turn)
    }

    pub fn use_persistent(&self, uid: &str, volumes: &[PathBuf]) {
        locked(&self.persistent).insert(uid.to_owned(), volumes.to_vec());
    }

    pub fn release_persistent(&self, uid: &str) {
        locked(&self.persistent).remove(uid);
    }

    pub fn persistent_of_others(&self, uid: &str) -> Vec<PathBuf> {
        let all = locked(&self.persistent);
        all.iter().filter(|(other, _)| *other != uid).flat_map(|(_, paths)| paths.clone()).collect()
    }

    fn is_ours(&self, object: &Object) -> bool {
        object.str_at("/spec/nodeName") == Some(self.config.name.as_str())
    }

    fn send(&self, uid: &str, message: Message) {
        let workers = locked(&self.workers);
        if let Some(worker) = workers.get(uid) {
            // A task that has just ended has nothing left to do for its pod.
            worker.send(message).unwrap_or_default();
        }
    }

    /// Hands a version of a pod to its task, which begins now if there is none.
    fn deliver(
        self: &Arc<Self>,
        object: &Arc<Object>,
        sandbox: Option<Sandbox>,
        snapshot: &Snapshot,
        first: Option<FirstLook>,
    ) {
        let uid = &object.metadata().uid;
        if locked(&self.workers).contains_key(uid) {
            return self.send(uid, Message::Changed(Arc::clone(object)));
        }
        let pod = match object.view::<Pod>() {
            Ok(pod) => pod,
            Err(error) => return tracing::error!(pod = %object.key(), %error, "not understood"),
        };
        let known = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let admitted = match known || sandbox.is_some() || object.metadata().is_deleting() {
            true => Ok(()),
            false => self.admit(&pod, snapshot),
        };
        let rejection = admitted.err();
        if let Some(rejection) = &rejection {
            locked(&self.rejected).insert(uid.clone());
            let message = rejection.message.clone();
            let (event_type, field_path) = (EventType::Warning, String::new());
            let reason = reason_word(&rejection.reason);
            self.client.record(object, Note { event_type, reason, message, field_path });
        }
        let start = Start { object: Arc::clone(object), pod, sandbox, rejection, first };
        worker::spawn(Arc::clone(self), start);
    }

    fn admit(&self, pod: &Pod, snapshot: &Snapshot) -> Result<(), crate::planner::Rejection> {
        let (workers, rejected) = (locked(&self.workers), locked(&self.rejected));
        let is_active = |object: &&Arc<Object>| {
            let uid = &object.metadata().uid;
            self.is_ours(object)
                && workers.contains_key(uid)
                && !rejected.contains(uid)
                && !matches!(object.str_at("/status/phase"), Some("Succeeded" | "Failed"))
        };
        let others: Vec<Arc<Pod>> = snapshot
            .list("pods", None)
            .filter(is_active)
            .filter_map(|object| object.view::<Pod>().ok())
            .collect();
        let others: Vec<&Pod> = others.iter().map(|pod| &**pod).collect();
        let node = snapshot.find("nodes", "", &self.config.name);
        let labels = node.map(|node| node.metadata().labels.clone()).unwrap_or_default();
        admit(pod, &others, &NodeCapacity { labels, pods: self.config.max_pods })
    }

    /// Follows the pods of this node, for ever. `sandboxes` are those that ran at the start; the
    /// tasks of the pods that were there then hold `first` until they have looked at them.
    async fn follow_pods(
        self: Arc<Self>,
        mut sandboxes: HashMap<String, Sandbox>,
        first: FirstLook,
    ) {
        let mut first = Some(first);
        let store = self.client.api.store().clone();
        let mut swept = false;
        loop {
            let snapshot = self.client.api.snapshot();
            // Those that were accepted before come first: what they hold is theirs.
            let mut pods: Vec<_> =
                snapshot.list("pods", None).filter(|pod| self.is_ours(pod)).cloned().collect();
            pods.sort_by_key(|pod| pod.str_at("/status/startTime").is_none());
            let present: BTreeSet<String> =
                pods.iter().map(|pod| pod.metadata().uid.clone()).collect();
            let orphans = sandboxes.values().filter(|it| !present.contains(&it.pod_uid));
            orphans.for_each(|sandbox| self.hold_name(&id_of(sandbox)));
            for pod in &pods {
                let sandbox = sandboxes.remove(&pod.metadata().uid);
                self.deliver(pod, sandbox, &snapshot, first.clone());
            }
            first = None;
            let gone: Vec<_> = locked(&self.workers)
                .keys()
                .filter(|uid| !present.contains(*uid))
                .cloned()
                .collect();
            gone.iter().for_each(|uid| self.send(uid, Message::Gone));
            let running: BTreeSet<String> = sandboxes.keys().cloned().collect();
            for (_, sandbox) in sandboxes.drain() {
                self.tasks.spawn(Arc::clone(&self).remove_orphan(sandbox));
            }
            if !std::mem::replace(&mut swept, true) {
                let context = Arc::clone(&self);
                blocking(move || context.sweep(&present, &running)).await;
            }
            let Ok(mut watch) = store.watch_resource("pods", snapshot.revision()) else {
                continue;
            };
            while let Ok(event) = watch.next().await {
                match &event.new {
                    Some(pod) if self.is_ours(pod) => {
                        self.deliver(pod, None, &self.client.api.snapshot(), None);
                    }
                    Some(_) => {}
                    None => self.send(&event.last.metadata().uid, Message::Gone),
                }
            }
        }
    }

    /// A sandbox whose pod is gone, or is another pod of the same name by now.
    async fn remove_orphan(self: Arc<Self>, sandbox: Sandbox) {
        tracing::info!(pod = %sandbox.name, uid = %sandbox.pod_uid, "removing what is left of it");
        while let Err(error) = self.remove_pod(&sandbox.pod_uid).await {
            tracing::warn!(uid = %sandbox.pod_uid, error, "not removed yet");
            tokio::time::sleep(AGAIN).await;
        }
        let id = id_of(&sandbox);
        self.remove_logs(&id);
        self.release_name(&id);
    }

    /// The pod's logs go with its object.
    pub fn remove_logs(&self, id: &PodId) {
        let logs = self.places.logs(id);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(logs = %logs.display(), %error, "logs are not removed");
            }
            _ => {}
        }
    }

    /// Removes directories of pods that went while no engine ran, and left no sandbox.
    fn sweep(&self, present: &BTreeSet<String>, running: &BTreeSet<String>) {
        let is_kept = |uid: &str| present.contains(uid) || running.contains(uid);
        for (parent, uid_of) in [
            (self.places.pods(), (|name| Some(name)) as fn(&str) -> Option<&str>),
            (self.places.all_logs(), |name| name.rsplit('_').next()),
        ] {
            // Neither is there before the first pod.
            for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if uid_of(&name).is_none_or(is_kept) {
                    continue;
                }
                let path = entry.path();
                let removed =
                    unmount_below(&path).map_err(|error| error.to_string()).and_then(|()| {
                        std::fs::remove_dir_all(&path).map_err(|error| error.to_string())
                    });
                if let Err(error) = removed {
                    tracing::warn!(path = %path.display(), error, "not removed");
                }
            }
        }
    }

    pub async fn remove_pod(self: &Arc<Self>, uid: &str) -> Result<(), String> {
        let (context, owned) = (Arc::clone(self), uid.to_owned());
        let detached = blocking(move || context.kernel.detach_pod(&owned)).await;
        self.runtime.remove_sandbox(uid).await.map_err(|error| error.to_string())?;
        detached.map_err(|error| error.to_string())?;
        let (context, owned) = (Arc::clone(self), uid.to_owned());
        let unmounted = blocking(move || {
            let _turn = context.persistent_turn();
            let used = locked(&context.persistent).remove(&owned).unwrap_or_default();
            let others = context.persistent_of_others(&owned);
            unmount_all(&context.places, &owned, &used, &others)
        });
        unmounted.await.map_err(|error| error.to_string())?;
        self.addresses.give_back(uid);
        Ok(())
    }

    /// Hands what happens to containers to their pods' tasks, for ever.
    async fn follow_runtime(self: Arc<Self>, mut events: EventReceiver) {
        while let Some(event) = events.recv().await {
            let uid = match &event {
                RuntimeEvent::ContainerExited { pod_uid, .. }
                | RuntimeEvent::SandboxLost { pod_uid } => pod_uid.clone(),
            };
            self.send(&uid, Message::Runtime(event));
        }
    }

    /// Tells pods of changes of what they refer to, for ever.
    async fn follow_referred(self: Arc<Self>, resource: &'static str) {
        let store = self.client.api.store().clone();
        let name: Arc<str> = resource.into();
        loop {
            let revision = self.client.api.snapshot().revision();
            let Ok(mut watch) = store.watch_resource(resource, revision) else { continue };
            while let Ok(event) = watch.next().await {
                let snapshot = self.client.api.snapshot();
                let namespace = &event.key.namespace;
                for pod in snapshot.list("pods", Some(namespace)).filter(|pod| self.is_ours(pod)) {
                    let (resource, name) = (Arc::clone(&name), Arc::clone(&event.key.name));
                    self.send(&pod.metadata().uid, Message::Referred { resource, name });
                }
            }
        }
    }
}

fn id_of(sandbox: &Sandbox) -> PodId {
    PodId {
        namespace: sandbox.namespace.clone(),
        name: sandbox.name.clone(),
        uid: sandbox.pod_uid.clone(),
    }
}

/// Events have reasons known at compile time.
fn reason_word(reason: &str) -> &'static str {
    match reason {
        "NodePorts" => "NodePorts",
        "NodeAffinity" => "NodeAffinity",
        "OutOfpods" => "OutOfpods",
        _ => "UnexpectedAdmissionError",
    }
}

impl Node {
    /// Brings the network up, takes over what runs, and begins to run the pods that are placed on
    /// the node.
    ///
    /// # Errors
    /// When the network, the images or the containers cannot be used at all.
    pub async fn start(
        config: NodeConfig,
        api: Api,
        events: EventRecorder,
        runtime: Arc<dyn Containers>,
        kernel: Arc<dyn Kernel>,
    ) -> Result<Self, NodeError> {
        let raised = Arc::clone(&kernel);
        let link = blocking(move || raised.up()).await.map_err(NodeError::Network)?;
        let images = config.data_dir.join("images");
        let images = blocking(move || ImageStore::open(&images)).await;
        let images = images.map_err(NodeError::Images)?;
        // Before looking at what there is, so that nothing is missed in between.
        let happenings = runtime.events();
        let sandboxes = runtime.list().await.map_err(NodeError::List)?;
        let network = config.network.clone();
        let context = Arc::new(Context {
            client: Client::new(api, config.name.clone(), events),
            runtime,
            kernel,
            images,
            places: Places { data: config.data_dir.clone() },
            link,
            dns: ClusterDns { address: network.dns_ip(), domain: network.cluster_domain.clone() },
            pod_cidr: network.pod_cidr,
            allocatable: node_object::allocatable(&config.data_dir),
            addresses: Addresses::default(),
            tasks: Tasks::default(),
            workers: Mutex::default(),
            names: Mutex::default(),
            rejected: Mutex::default(),
            shown: Mutex::default(),
            persistent: Mutex::default(),
            persistent_turn: Mutex::default(),
            config,
        });
        for sandbox in &sandboxes {
            if let Some(ip) = sandbox.annotations.get(kept::IP).and_then(|ip| ip.parse().ok()) {
                context.addresses.keep(&sandbox.pod_uid, ip);
            }
        }
        let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(&network)));
        context.serve_dns(&network, Arc::clone(&zone))?;
        let (served, mut serves) = watch::channel(false);
        let tasks = &context.tasks;
        tasks.spawn(proxy::run(Arc::clone(&context), network, zone, served));
        tasks.spawn(Arc::clone(&context).follow_runtime(happenings));
        let by_uid = sandboxes.into_iter().map(|sandbox| (sandbox.pod_uid.clone(), sandbox));
        let (first, mut looks) = mpsc::channel(1);
        tasks.spawn(Arc::clone(&context).follow_pods(by_uid.collect(), first));
        for resource in REFERRED {
            tasks.spawn(Arc::clone(&context).follow_referred(resource));
        }
        tasks.spawn(persistent::run(Arc::clone(&context)));
        let (told, ready) = watch::channel(false);
        let shared = Arc::clone(&context);
        tasks.spawn(async move {
            // A node without Services is not ready, nor one that shows pods as they were before it
            // stopped. Both senders live as long as the node, or until they have sent.
            serves.wait_for(|served| *served).await.map(drop).unwrap_or_default();
            looks.recv().await;
            node_object::run(shared, told).await;
        });
        Ok(Self { context, ready })
    }

    /// Returns when the API shows the node as Ready.
    pub async fn ready(&self) {
        // The sender is the heartbeat's, which lives as long as the node.
        self.ready.clone().wait_for(|ready| *ready).await.map(drop).unwrap_or_default();
    }

    /// The image store, for `coracle image`.
    #[must_use]
    pub fn images(&self) -> ImageStore {
        self.context.images.clone()
    }

    /// The pod (`namespace/name`) that runs from the image with this ID, if there is one.
    #[must_use]
    pub fn user_of_image(&self, id: &str) -> Option<String> {
        let snapshot = self.context.client.api.snapshot();
        let uses = |object: &&Arc<Object>| {
            let Ok(pod) = object.view::<Pod>() else { return false };
            let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(ended, Some("Succeeded" | "Failed"))
                && crate::pods::containers(&pod).iter().any(|container| {
                    let name = container.image.as_deref().unwrap_or_default();
                    let found = self.context.images.find(name).ok().flatten();
                    found.is_some_and(|image| image.id == id)
                })
        };
        let mut pods = snapshot.list("pods", None).filter(|pod| self.context.is_ours(pod));
        let pod = pods.find(uses)?;
        Some(format!("{}/{}", pod.metadata().namespace, pod.metadata().name))
    }

    /// Logs, exec, attach and port-forward, for the API server.
    #[must_use]
    pub fn streams(&self) -> Arc<dyn NodeStreams> {
        Arc::new(Streams(Arc::clone(&self.context)))
    }

    /// Stops the node's loops; pods keep running, and the next engine takes them over.
    pub async fn shutdown(&self) {
        self.context.tasks.stop().await;
    }

    /// Stops all pods and removes everything of them but their persistent volumes' content. They
    /// start again with the next engine. The node's loops are stopped first, so that nothing starts
    /// them again now.
    ///
    /// # Errors
    /// The first pod that could not be removed; the others are removed all the same.
    pub async fn stop_pods(&self, ending: Ending) -> Result<(), NodeError> {
        self.shutdown().await;
        stop::stop_pods(&self.context, ending).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.context.tasks.abort();
    }
}

impl Context {
    fn serve_dns(
        self: &Arc<Self>,
        network: &NetworkConfig,
        zone: Arc<ArcSwap<Zone>>,
    ) -> Result<(), NodeError> {
        let address = (network.dns_ip(), DNS_PORT).into();
        let udp = self.kernel.bind_udp(address).map_err(NodeError::Dns)?;
        let tcp = self.kernel.listen_tcp(address).map_err(NodeError::Dns)?;
        let upstreams = Upstreams {
            resolv_conf: Path::new("/etc/resolv.conf").to_owned(),
            except: network.dns_ip(),
            port: DNS_PORT,
        };
        self.tasks.spawn(async move {
            if let Err(error) = dns::serve(udp, tcp, zone, upstreams).await {
                tracing::error!(%error, "the cluster's DNS has ended");
            }
        });
        Ok(())
    }
}
