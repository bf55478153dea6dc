//! What all pods of a node share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::Object;
use coracle_network::{ClusterLink, Kernel};
use coracle_runtime::Containers;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use crate::addresses::Addresses;
use crate::client::Client;
use crate::hands::machine;
use crate::images::ImageStore;
use crate::names::Names;
use crate::node::NodeConfig;
use crate::pods::PodId;
use crate::pods::fields::Allocatable;
use crate::pods::files::ClusterDns;
use crate::tasks::{Tasks, blocking};
use crate::templates::Templates;
use crate::volumes::Places;
use crate::volumes::mounter::unmount_all;
use crate::worker::{Message, Worker};

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
    pub board: Board,
}

/// What pods' tasks tell each other and the node, by pods' UIDs; see the functions of [`Context`].
#[derive(Default)]
pub(crate) struct Board {
    workers: Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>,
    names: Mutex<Names>,
    rejected: Mutex<BTreeSet<String>>,
    shown: Mutex<HashMap<String, Shown>>,
    templates: Mutex<Templates>,
}

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
        locked(&self.board.workers).insert(uid.to_owned(), worker);
    }

    /// The pods that have a task.
    pub fn enlisted(&self) -> Vec<String> {
        locked(&self.board.workers).keys().cloned().collect()
    }

    pub fn is_enlisted(&self, uid: &str) -> bool {
        locked(&self.board.workers).contains_key(uid)
    }

    /// The pod has a task that only tells that it may not run here.
    pub fn reject(&self, uid: &str) {
        locked(&self.board.rejected).insert(uid.to_owned());
    }

    pub fn is_rejected(&self, uid: &str) -> bool {
        locked(&self.board.rejected).contains(uid)
    }

    /// The pod's task has ended.
    pub fn forget(&self, id: &PodId) {
        let uid = &id.uid;
        locked(&self.board.workers).remove(uid);
        locked(&self.board.shown).remove(uid);
        locked(&self.board.rejected).remove(uid);
        self.addresses.give_back(uid);
        self.release_name(id);
    }

    /// Whether the pod has its name for itself; if not, it is told when to ask again.
    pub fn take_name(&self, id: &PodId) -> bool {
        locked(&self.board.names).take(&id.namespace, &id.name, &id.uid)
    }

    /// What runs has its name, as long as something of it is left.
    pub fn hold_name(&self, id: &PodId) {
        locked(&self.board.names).hold(&id.namespace, &id.name, &id.uid);
    }

    /// Nothing of the pod is left: another one of its name may begin.
    pub fn release_name(&self, id: &PodId) {
        let waiting = locked(&self.board.names).release(&id.namespace, &id.name, &id.uid);
        // Only those that are told in this order take it: the first one.
        for uid in waiting {
            let has_it = locked(&self.board.names).take(&id.namespace, &id.name, &uid);
            self.send(&uid, Message::Predecessor(!has_it));
        }
    }

    /// Which templates have proved themselves on this node.
    pub fn templates(&self) -> MutexGuard<'_, Templates> {
        locked(&self.board.templates)
    }

    pub fn shown(&self, uid: &str) -> Option<Shown> {
        locked(&self.board.shown).get(uid).cloned()
    }

    /// Tells logs, exec and attach what there is.
    pub fn show(&self, worker: &Worker) {
        let run = |instance: &crate::planner::Instance| ShownRun {
            id: instance.id.clone(),
            attempt: instance.attempt,
            running: instance.is_running(),
        };
        let containers = worker.seen().containers.iter().map(|(name, seen)| {
            let current = seen.current.as_ref().map(run);
            let previous = seen.previous.as_ref().map(run);
            (name.clone(), ShownContainer { current, previous })
        });
        let shown = Shown { containers: containers.collect(), netns: worker.netns().cloned() };
        locked(&self.board.shown).insert(worker.id().uid.clone(), shown);
    }

    pub fn is_ours(&self, object: &Object) -> bool {
        // The typed view is what all others that look at pods need too.
        let node = |pod: Arc<Pod>| pod.spec.as_ref()?.node_name.clone();
        object.view::<Pod>().ok().and_then(node).is_some_and(|node| node == self.config.name)
    }

    pub fn send(&self, uid: &str, message: Message) {
        let workers = locked(&self.board.workers);
        if let Some(worker) = workers.get(uid) {
            // A task that has just ended has nothing left to do for its pod.
            worker.send(message).unwrap_or_default();
        }
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

    /// Takes a pod off the network and removes its sandbox with whatever runs in it.
    pub async fn remove_sandbox(self: &Arc<Self>, uid: &str) -> Result<(), String> {
        let (kernel, owned) = (Arc::clone(&self.kernel), uid.to_owned());
        let detached = blocking(move || machine::detach(&*kernel, &owned)).await;
        machine::remove(&*self.runtime, uid).await?;
        detached?;
        self.addresses.give_back(uid);
        Ok(())
    }

    /// Ends whatever runs of the pod and takes away what it had.
    pub async fn remove_pod(self: &Arc<Self>, uid: &str) -> Result<(), String> {
        self.remove_sandbox(uid).await?;
        let (context, owned) = (Arc::clone(self), uid.to_owned());
        let unmounted = blocking(move || unmount_all(&context.places, &owned)).await;
        unmounted.map_err(|error| error.to_string())
    }
}
