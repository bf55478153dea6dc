//! A node: it follows its pods and gives each a worker; and it removes the data of volumes that
//! nobody has any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::{Object, Status, Timestamp, Verb};
use coracle_controllers::volumes::DATA_FINALIZER;
use coracle_driver::EventRecorder;
use coracle_node::names::Names;
use coracle_server::{Api, Body};
use coracle_store::Watch;
use serde_json::{Value, json};

use crate::client::{self, Place};
use crate::random::Random;
use crate::runtime::{Happened, Runtime, later};
use crate::worker::{Message, Worker};

/// The pause before volumes are looked at again, in seconds.
const AGAIN_SECONDS: i64 = 5;

/// One node of the cluster, as long as the engine lives.
pub(crate) struct Node {
    pub index: usize,
    pub name: String,
    pub workers: BTreeMap<String, Worker>,
    names: Names,
    watch: Option<Watch>,
    volumes: Option<Watch>,
    /// When volumes are looked at again because a write failed.
    again: Option<Timestamp>,
}

/// What a node works with.
pub(crate) struct Hands<'a> {
    pub api: &'a Api,
    pub events: &'a EventRecorder,
    pub runtime: &'a mut Runtime,
    pub random: &'a mut Random,
    pub now: Timestamp,
    /// Things fail by chance.
    pub chaos: bool,
    /// The API refuses what nodes write.
    pub refused: bool,
    /// A planted bug: the object goes before its containers.
    pub object_first: bool,
    /// A planted bug: a pod does not wait for the end of an earlier one of its name.
    pub side_by_side: bool,
    /// For the trace.
    pub said: Vec<String>,
}

/// The name of the `index`-th node.
pub(crate) fn name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// Registers a node that is not there yet.
///
/// # Errors
/// When the disk fails: there is no such node then until the next start.
pub(crate) fn register(api: &Api, index: usize) -> Result<(), Status> {
    let name = name(index);
    let place = Place { resource: "nodes", namespace: "", name: "", subresource: "" };
    if api.snapshot().find("nodes", "", &name).is_none() {
        let labels = json!({"kubernetes.io/hostname": name});
        let node = json!({"metadata": {"name": name, "labels": labels}});
        client::call(api, &name, Verb::Create, &place, Body::Object(node))?;
    }
    let snapshot = api.snapshot();
    let Some(node) = snapshot.find("nodes", "", &name) else { return Ok(()) };
    if !node.value()["status"]["conditions"].is_null() {
        return Ok(());
    }
    let mut value = node.value().clone();
    value["status"] = json!({
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"},
        "capacity": {"cpu": "64", "memory": "64Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    });
    let place = Place { name: &name, subresource: "status", ..place };
    client::call(api, &name, Verb::Update, &place, Body::Object(value)).map(drop)
}

impl Node {
    pub fn new(index: usize) -> Self {
        let (workers, names) = (BTreeMap::new(), Names::default());
        Self { index, name: name(index), workers, names, watch: None, volumes: None, again: None }
    }

    /// Whether something was written that this node has not seen.
    pub fn is_behind(&self, api: &Api, now: Timestamp) -> bool {
        let newest = api.snapshot().revision();
        if self.again.is_some_and(|at| at <= now) {
            return true;
        }
        let is_behind =
            |watch: &Option<Watch>| watch.as_ref().is_none_or(|it| it.revision() < newest);
        is_behind(&self.watch) || is_behind(&self.volumes)
    }

    /// When something is to be done even if nothing is written.
    pub fn next_time(&self) -> Option<Timestamp> {
        self.workers.values().filter_map(Worker::next_time).chain(self.again).min()
    }

    /// Takes note of what was written.
    pub fn follow(&mut self, hands: &mut Hands<'_>) {
        if self.index == 0 {
            self.clean_volumes(hands);
        } else {
            self.volumes = hands.api.store().watch(hands.api.snapshot().revision()).ok();
        }
        while let Some(watch) = &mut self.watch {
            match watch.try_next() {
                Ok(Some(event)) => match &event.new {
                    Some(pod) => self.deliver(pod, hands),
                    None => self.send(&event.last.metadata().uid, Message::Gone),
                },
                Ok(None) => return,
                Err(_) => self.watch = None,
            }
        }
        self.look_at_all(hands);
    }

    /// All pods there are: at the start, and when the watch was cut off.
    fn look_at_all(&mut self, hands: &mut Hands<'_>) {
        let snapshot = hands.api.snapshot();
        self.watch = hands.api.store().watch_resource("pods", snapshot.revision()).ok();
        let pods: Vec<_> = snapshot.list("pods", None).collect();
        let present: BTreeSet<_> = pods.iter().map(|pod| pod.metadata().uid.as_str()).collect();
        for (uid, worker) in &mut self.workers {
            if !present.contains(uid.as_str()) {
                worker.tell(Message::Gone);
            }
        }
        for (uid, sandbox) in &hands.runtime.sandboxes {
            if sandbox.node == self.index
                && !present.contains(uid.as_str())
                && !self.workers.contains_key(uid)
            {
                let orphan = Worker::of_orphan(sandbox);
                self.names.hold(orphan.namespace(), orphan.name(), uid);
                self.workers.insert(uid.clone(), orphan);
            }
        }
        for pod in pods {
            self.deliver(pod, hands);
        }
    }

    fn deliver(&mut self, pod: &Arc<Object>, hands: &Hands<'_>) {
        if pod.str_at("/spec/nodeName") != Some(self.name.as_str()) {
            return;
        }
        let uid = &pod.metadata().uid;
        match self.workers.get_mut(uid) {
            Some(worker) => worker.tell(Message::Changed(Arc::clone(pod))),
            None => {
                let sandbox = hands.runtime.sandboxes.get(uid);
                let Some(mut worker) = Worker::new(self.index, pod, sandbox, hands.now) else {
                    return;
                };
                if sandbox.is_some() {
                    self.names.hold(worker.namespace(), worker.name(), uid);
                }
                self.take_name(uid, &mut worker, hands);
                self.workers.insert(uid.clone(), worker);
            }
        }
    }

    /// A pod waits for the end of an earlier one of its name, unless a bug is planted.
    fn take_name(&mut self, uid: &str, worker: &mut Worker, hands: &Hands<'_>) {
        let has_it = self.names.take(worker.namespace(), worker.name(), uid);
        worker.tell(Message::Predecessor(!has_it && !hands.side_by_side));
    }

    fn send(&mut self, uid: &str, message: Message) {
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.tell(message);
        }
    }

    /// What the runtime tells; pods of other nodes are not ours.
    pub fn hear(&mut self, happened: &Happened) {
        let (Happened::Exited { uid, .. } | Happened::SandboxLost { uid }) = happened;
        self.send(uid, Message::Runtime(happened.clone()));
    }

    /// One turn of a pod's worker.
    pub fn turn(&mut self, uid: &str, hands: &mut Hands<'_>) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        worker.turn(&self.name, hands);
        if !worker.is_done() {
            return;
        }
        let waiting = self.names.release(worker.namespace(), worker.name(), uid);
        self.workers.remove(uid);
        for uid in waiting {
            let Some(mut worker) = self.workers.remove(&uid) else { continue };
            self.take_name(&uid, &mut worker, hands);
            self.workers.insert(uid, worker);
        }
    }

    fn clean_volumes(&mut self, hands: &mut Hands<'_>) {
        let snapshot = hands.api.snapshot();
        self.volumes = hands.api.store().watch(snapshot.revision()).ok();
        self.again = None;
        let is_over = |volume: &&Arc<Object>| {
            volume.metadata().is_deleting() && volume.metadata().finalizers == [DATA_FINALIZER]
        };
        for volume in snapshot.list("persistentvolumes", None).filter(is_over) {
            if hands.refused {
                self.again = Some(later(hands.now, AGAIN_SECONDS));
                return;
            }
            let mut value = volume.value().clone();
            if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
                metadata.remove("finalizers");
            }
            let name = &volume.metadata().name;
            let resource = "persistentvolumes";
            let place = Place { resource, namespace: "", name, subresource: "" };
            let body = Body::Object(value);
            let done = client::call(hands.api, &self.name, Verb::Update, &place, body);
            if done.is_err() {
                self.again = Some(later(hands.now, AGAIN_SECONDS));
            }
            let outcome = done.map_or_else(|error| error.message, |_| "done".to_owned());
            hands.said.push(format!("removes the data of {name}: {outcome}"));
        }
    }
}
