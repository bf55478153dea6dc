//! The loops that feed the pods' tasks: with pods, with what happens to containers, with changes of
//! what pods refer to.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use coracle_api::index::{self, HostPort};
use coracle_api::pod_resources::{self, Amounts};
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Object, sums};
use coracle_runtime::{EventReceiver, RuntimeEvent, Sandbox};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::oneshot;

use crate::context::Context;
use crate::hands::{self, FirstLook, Start};
use crate::planner::{EventType, NodeRoom, Note, Rejection, admit, lacks};
use crate::referred::Referred;
use crate::tasks::blocking;
use crate::volumes::mounter::unmount_all;
use crate::worker::Message;

/// The pods that the node has by their UIDs, and those of which something runs.
struct Left {
    present: BTreeSet<String>,
    running: BTreeSet<String>,
}

impl Context {
    /// Hands a version of a pod to its task, which begins now if there is none.
    fn deliver(
        self: &Arc<Self>,
        object: &Arc<Object>,
        sandbox: Option<Sandbox>,
        snapshot: &Snapshot,
        first: Option<FirstLook>,
    ) {
        let uid = &object.metadata().uid;
        if self.board.is_enlisted(uid) {
            return self.board.send(uid, Message::Changed(Arc::clone(object)));
        }
        let pod = match object.view::<Pod>() {
            Ok(pod) => pod,
            Err(error) => return tracing::error!(pod = %object.key(), %error, "not understood"),
        };
        let known = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let admitted = match known || sandbox.is_some() || object.metadata().is_deleting() {
            true => Ok(()),
            false => self.admit(object, &pod, snapshot),
        };
        let rejection = admitted.err();
        if let Some(rejection) = &rejection {
            self.board.reject(uid);
            let message = rejection.message.clone();
            let (event_type, field_path) = (EventType::Warning, String::new());
            let reason = reason_word(&rejection.reason);
            self.client.record(object, Note { event_type, reason, message, field_path });
        }
        let start = Start { object: Arc::clone(object), pod, sandbox, rejection, first };
        hands::spawn(self, start);
    }

    fn admit(&self, object: &Object, pod: &Pod, snapshot: &Snapshot) -> Result<(), Rejection> {
        let name = &self.config.name;
        // A pod that the node has not accepted, or not yet, has nothing of it.
        let is_active = |other: &&Arc<Object>| {
            let uid = &other.metadata().uid;
            self.is_ours(other)
                && self.board.is_enlisted(uid)
                && !self.board.is_rejected(uid)
                && !other.has_ended()
        };
        let all = snapshot.on_node(name);
        let here = all.get(PODS).map_or(0, |pods| pods.value());
        let may_be_full = usize::try_from(here).is_ok_and(|here| here > self.config.max_pods);
        let others = || self.pods(snapshot).filter(is_active);
        let has_port = |port: &HostPort| {
            let term = index::host_port(name, port);
            let mut holders =
                snapshot.indexed(Index::PodHostPort, &term, PODS, None).filter(is_active);
            holders.any(|other| index::host_ports(other.value()).any(|it| it.clashes(port)))
        };
        let node = snapshot.find(NODES, "", name);
        let there = node.map(|node| &node.value()["status"]["allocatable"]);
        let there: Amounts = there.into_iter().flat_map(pod_resources::amounts).collect();
        let wanted = sums::on_node(object.value());
        // They are added up anew only where it may matter: the sums are of all that have the node.
        let lacks = match lacks(&all, &Amounts::new(), &there).is_empty() {
            true => Vec::new(),
            false => {
                let mut used = Amounts::new();
                let each = others().filter(|other| other.key() != object.key());
                each.for_each(|it| pod_resources::add(&mut used, sums::on_node(it.value())));
                lacks(&wanted, &used, &there)
            }
        };
        let room = NodeRoom {
            labels: node.map(|node| node.metadata().labels.clone()).unwrap_or_default(),
            pods: self.config.max_pods,
            // They are counted only where it may matter.
            others: if may_be_full { others().count() } else { 0 },
            ports_taken: index::host_ports(object.value()).any(|port| has_port(&port)),
            lacks,
            pressure: self.pressure().conditions(),
        };
        admit(pod, &room)
    }

    /// Follows the pods of this node, for ever. `sandboxes` are those that ran at the start; the
    /// tasks of the pods that were there then hold `first` until they have looked at them. `enlisted`
    /// is dropped when all of them have their tasks.
    pub async fn follow_pods(
        self: Arc<Self>,
        mut sandboxes: HashMap<String, Sandbox>,
        first: FirstLook,
        enlisted: oneshot::Sender<Infallible>,
    ) {
        let (mut first, mut enlisted) = (Some(first), Some(enlisted));
        let store = self.client.api.store().clone();
        let mut swept = false;
        loop {
            let (revision, left) = self.look_at_all(&mut sandboxes, first.take());
            drop(enlisted.take());
            if !std::mem::replace(&mut swept, true) {
                let context = Arc::clone(&self);
                blocking(move || context.sweep(&left.present, &left.running)).await;
            }
            let Ok(mut watch) = store.watch_resource(PODS, revision) else {
                continue;
            };
            while let Ok(event) = watch.next().await {
                match &event.new {
                    Some(pod) if self.is_ours(pod) => {
                        if pod.has_ended() {
                            self.tell_of_room();
                        }
                        self.deliver(pod, None, &self.client.api.snapshot(), None);
                    }
                    Some(_) => {}
                    None => self.board.send(&event.last.metadata().uid, Message::Gone),
                }
            }
        }
    }

    /// Hands all pods of the node to their tasks; the revision at which it looked. The snapshot is let
    /// go then: whoever keeps one keeps everything that was ever made of its objects.
    fn look_at_all(
        self: &Arc<Self>,
        sandboxes: &mut HashMap<String, Sandbox>,
        first: Option<FirstLook>,
    ) -> (u64, Left) {
        let snapshot = self.client.api.snapshot();
        // Those that were accepted before come first: what they hold is theirs.
        let mut pods: Vec<_> = self.pods(&snapshot).cloned().collect();
        pods.sort_by_key(|pod| pod.str_at("/status/startTime").is_none());
        let present: BTreeSet<String> = pods.iter().map(|pod| pod.metadata().uid.clone()).collect();
        let running: BTreeSet<String> = sandboxes.keys().cloned().collect();
        // What is left of others has its name before a pod asks for it.
        let is_left = |uid: &String| !present.contains(uid) && !self.board.is_enlisted(uid);
        let left: Vec<_> = running.iter().filter(|uid| is_left(uid)).collect();
        for sandbox in left.into_iter().filter_map(|uid| sandboxes.remove(uid)) {
            hands::spawn_orphan(self, &sandbox);
        }
        for pod in &pods {
            let sandbox = sandboxes.remove(&pod.metadata().uid);
            self.deliver(pod, sandbox, &snapshot, first.clone());
        }
        let mut gone = self.board.enlisted();
        gone.retain(|uid| !present.contains(uid));
        gone.iter().for_each(|uid| self.board.send(uid, Message::Gone));
        sandboxes.clear();
        (snapshot.revision(), Left { present, running })
    }

    /// Removes directories of pods that went while no engine ran, and left no sandbox.
    fn sweep(&self, present: &BTreeSet<String>, running: &BTreeSet<String>) {
        let is_gone = |uid: &str| !present.contains(uid) && !running.contains(uid);
        // Neither directory is there before the first pod.
        let names = |parent: &Path| {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        for uid in names(&self.places.pods()).filter(|uid| is_gone(uid)) {
            if let Err(error) = unmount_all(&self.places, &uid) {
                tracing::warn!(uid, %error, "what is left of a pod is not removed");
            }
        }
        let logs = self.places.all_logs();
        for name in names(&logs).filter(|name| name.rsplit('_').next().is_some_and(is_gone)) {
            if let Err(error) = coracle_runtime::remove_all(&logs.join(&name)) {
                tracing::warn!(name, %error, "the logs of a pod are not removed");
            }
        }
    }

    /// Hands what happens to containers to their pods' tasks, for ever, once the pods that ran at
    /// the start have theirs (`enlisted` was dropped): what happens before is told only once, too.
    pub async fn follow_runtime(
        self: Arc<Self>,
        mut events: EventReceiver,
        enlisted: oneshot::Receiver<Infallible>,
    ) {
        // Nothing is ever sent.
        enlisted.await.map(drop).unwrap_or_default();
        while let Some(event) = events.recv().await {
            let uid = match &event {
                RuntimeEvent::ContainerExited { pod_uid, .. }
                | RuntimeEvent::SandboxLost { pod_uid } => pod_uid.clone(),
            };
            // Its pod's task adds the last words.
            self.board.send(&uid, Message::Runtime(event, String::new()));
        }
    }

    /// Tells pods of changes of what they refer to, for ever.
    pub async fn follow_referred(self: Arc<Self>, mut referred: Referred) {
        let store = self.client.api.store().clone();
        loop {
            for change in referred.catch_up(&store) {
                let snapshot = self.client.api.snapshot();
                let pods = change.pods(&referred.resource(), &snapshot);
                for pod in pods.into_iter().filter(|pod| self.is_ours(pod)) {
                    let message = Message::Referred(referred.resource(), change.name.clone());
                    self.board.send(&pod.metadata().uid, message);
                }
            }
            referred.changed().await;
        }
    }
}

/// Events have reasons known at compile time.
fn reason_word(reason: &str) -> &'static str {
    match reason {
        "NodePorts" => "NodePorts",
        "NodeAffinity" => "NodeAffinity",
        "Evicted" => "Evicted",
        "OutOfpods" => "OutOfpods",
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfephemeral-storage" => "OutOfephemeral-storage",
        "SysctlForbidden" => "SysctlForbidden",
        _ => "UnexpectedAdmissionError",
    }
}
