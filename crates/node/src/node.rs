//! The node: how it is put together, started and stopped.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::pods::AnyPod;
use coracle_api::{Object, Usage};
use coracle_driver::EventRecorder;
use coracle_network::dns::{self, Upstreams, Zone};
use coracle_network::{Kernel, NetworkConfig};
use coracle_runtime::Containers;
use coracle_server::{Api, NodeStreams};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::addresses::Addresses;
use crate::board::Board;
use crate::client::Client;
use crate::config::NodeConfig;
use crate::context::Context;
use crate::error::NodeError;
use crate::images::{ImageStore, Preloaded};
use crate::meter::Meter;
use crate::pods::PodId;
use crate::pods::files::ClusterDns;
use crate::readings::Readings;
use crate::referred::{REFERRED, Referred};
use crate::shown::ShownPods;
use crate::stop::{self, Ending};
use crate::streams::Streams;
use crate::tasks::{Tasks, blocking};
use crate::volumes::Places;
use crate::volumes::mount_table::unmount_below;
use crate::worker::Kept;
use crate::{broken, growth, node_object, persistent, proxy, relief, simulated};

/// Below the data directory: archives whose images are loaded at the start.
pub const IMAGE_ARCHIVES: &str = "image-archives";
/// Port of the cluster's DNS.
const DNS_PORT: u16 = 53;
/// For how long a start waits for the node to be Ready.
const READY_WITHIN: Duration = Duration::from_secs(15);

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
        let pulling = config.pulling.clone();
        let images = blocking(move || ImageStore::open(&images, pulling)).await;
        let images = images.map_err(NodeError::Images)?;
        preload(&images, config.data_dir.join(IMAGE_ARCHIVES)).await;
        // Before looking at what there is, so that nothing is missed in between.
        let happenings = runtime.events();
        let sandboxes = runtime.list().await.map_err(NodeError::List)?;
        let network = config.network.clone();
        let (moves, moved) = mpsc::unbounded_channel();
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
            moves,
            tasks: Tasks::default(),
            board: Board::default(),
            shown: ShownPods::default(),
            templates: Mutex::default(),
            meter: Meter::default(),
            readings: Readings::default(),
            pressure: Mutex::default(),
            pressure_changed: Notify::default(),
            config,
        });
        for sandbox in &sandboxes {
            if let Some(ip) = Kept::ip(sandbox) {
                context.addresses.keep(&sandbox.pod_uid, ip);
            }
        }
        simulated::keep_addresses(&context);
        let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(&network)));
        context.serve_dns(&network, Arc::clone(&zone))?;
        let (served, mut serves) = watch::channel(false);
        let tasks = &context.tasks;
        tasks.spawn_vital(
            "the proxy of Services",
            proxy::run(Arc::clone(&context), network, zone, served, moved),
        );
        let (enlisted, all_enlisted) = oneshot::channel();
        tasks.spawn_vital(
            "what follows containers",
            Arc::clone(&context).follow_runtime(happenings, all_enlisted),
        );
        let by_uid = sandboxes.into_iter().map(|sandbox| (sandbox.pod_uid.clone(), sandbox));
        let (first, mut looks) = mpsc::channel(1);
        // Before any pod looks at what it refers to.
        let revision = context.client.api.snapshot().revision();
        tasks.spawn_vital(
            "what follows pods",
            Arc::clone(&context).follow_pods(by_uid.collect(), first, enlisted),
        );
        for resource in REFERRED {
            tasks.spawn_vital(
                "what follows ConfigMaps and Secrets",
                Arc::clone(&context).follow_referred(Referred::new(resource, revision)),
            );
        }
        tasks.spawn_vital("what follows volumes", persistent::run(Arc::clone(&context)));
        tasks.spawn_vital("what grows volumes", growth::run(Arc::clone(&context)));
        tasks.spawn_vital("what evicts pods", relief::run(Arc::clone(&context)));
        tasks.spawn_vital("what looks after volumes", broken::run(Arc::clone(&context)));
        tasks.spawn_vital("the simulated nodes", simulated::run(Arc::clone(&context)));
        let (told, ready) = watch::channel(false);
        let shared = Arc::clone(&context);
        tasks.spawn_vital("the node's heartbeat", async move {
            // A node without Services is not ready, nor one that shows pods as they were before it
            // stopped. Both senders live as long as the node, or until they have sent.
            serves.wait_for(|served| *served).await.map(drop).unwrap_or_default();
            looks.recv().await;
            node_object::run(shared, told).await;
        });
        Ok(Self { context, ready })
    }

    /// Waits until the API shows the node as Ready; whether it does. When it is not told so for long,
    /// somebody refuses what the node says of itself, and who is to mend that must not wait for it.
    pub async fn ready(&self) -> bool {
        let mut ready = self.ready.clone();
        // The sender is the heartbeat's, which lives as long as the node.
        let told = ready.wait_for(|ready| *ready);
        tokio::time::timeout(READY_WITHIN, told).await.is_ok()
    }

    /// The first part of the node that has ended although the node has not stopped.
    pub async fn broken_part(&self) -> &'static str {
        self.context.tasks.broken_part().await
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
            !pod.has_ended()
                && crate::pods::images(&pod).iter().any(|name| {
                    let found = self.context.images.find(name).ok().flatten();
                    found.is_some_and(|image| image.id == id)
                })
        };
        let pod = self.context.pods(&snapshot).find(uses)?;
        Some(format!("{}/{}", pod.metadata().namespace, pod.metadata().name))
    }

    /// What its pods use now; the first who asks for a while waits a second.
    pub async fn usage(&self) -> Arc<Usage> {
        self.context.usage().await
    }

    /// Where the logs of a pod's containers are.
    pub(crate) fn logs_of(&self, id: &PodId) -> PathBuf {
        self.context.places.logs(id)
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

/// Loads new archives before pods look for their images. What is wrong with one is told, and holds
/// nobody up.
async fn preload(images: &ImageStore, directory: PathBuf) {
    let store = images.clone();
    match blocking(move || store.preload(&directory)).await {
        Ok(done) => {
            for Preloaded { file, result } in done {
                let file = file.display();
                match result {
                    Ok(names) => tracing::info!("loaded {} from {file}", names.join(", ")),
                    Err(error) => tracing::error!("no image is loaded from {file}: {error}"),
                }
            }
        }
        Err(error) => tracing::error!(%error, "no archives of images are loaded"),
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
        self.tasks.spawn_vital("the cluster's DNS", async move {
            if let Err(error) = dns::serve(udp, tcp, zone, upstreams).await {
                tracing::error!(%error, "the cluster's DNS has ended");
            }
        });
        Ok(())
    }
}
