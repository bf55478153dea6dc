//! What all tasks of a node share.

use std::sync::{Arc, Mutex, MutexGuard};

use coracle_api::resources::PODS;
use coracle_api::{Index, Object};
use coracle_network::{ClusterLink, Kernel};
use coracle_runtime::Containers;
use coracle_store::Snapshot;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc};

use crate::addresses::Addresses;
use crate::board::Board;
use crate::client::Client;
use crate::config::NodeConfig;
use crate::evictions::pressure::Pressure;
use crate::images::ImageStore;
use crate::lock::locked;
use crate::meter::Meter;
use crate::moves::Move;
use crate::pods::fields::Allocatable;
use crate::pods::files::ClusterDns;
use crate::readings::Readings;
use crate::shown::ShownPods;
use crate::tasks::Tasks;
use crate::templates::Templates;
use crate::volumes::Places;

/// What all tasks of a node share.
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
    /// To the proxy.
    pub moves: mpsc::UnboundedSender<Move>,
    pub tasks: Tasks,
    pub board: Board,
    pub shown: ShownPods,
    pub templates: Mutex<Templates>,
    pub meter: Meter,
    pub readings: Readings,
    pub pressure: Mutex<Pressure>,
    /// Told when what the node is short of has changed.
    pub pressure_changed: Notify,
}

impl Context {
    /// Which templates have proved themselves on this node.
    pub fn templates(&self) -> MutexGuard<'_, Templates> {
        locked(&self.templates)
    }

    /// What the node is short of.
    pub fn pressure(&self) -> MutexGuard<'_, Pressure> {
        locked(&self.pressure)
    }

    /// The pod's address is free again.
    pub fn give_back(&self, uid: &str) {
        self.addresses.give_back(uid);
        // Who hears it lives as long as the node.
        drop(self.moves.send(Move::Goes(uid.to_owned())));
    }

    /// The pods that are placed on this node.
    pub fn pods<'a>(
        &self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        snapshot.indexed(Index::PodNode, &self.config.name, PODS, None)
    }

    /// Whether the pod is placed on this node.
    pub fn is_ours(&self, object: &Object) -> bool {
        // The typed view is what all others that look at pods need too.
        let node = |pod: Arc<Pod>| pod.spec.as_ref()?.node_name.clone();
        object.view::<Pod>().ok().and_then(node).is_some_and(|node| node == self.config.name)
    }
}
