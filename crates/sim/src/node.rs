//! A node: it follows its pods and gives each a worker; and it removes the data of volumes that
//! nobody has any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::resources::{CONFIG_MAPS, NODES, PERSISTENT_VOLUMES, PODS};
use coracle_api::{Object, Status, Timestamp, Verb};
use coracle_controllers::volumes::DATA_FINALIZER;
use coracle_driver::EventRecorder;
use coracle_node::ledger::Ledger;
use coracle_node::names::Names;
use coracle_node::planner::Eviction;
use coracle_node::referred::Referred;
use coracle_node::templates::Templates;
use coracle_node::worker::{Found, Message, Worker};
use coracle_runtime::{RuntimeEvent, Sandbox};
use coracle_server::{Api, Body};
use coracle_store::Watch;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::bugs::Bug;
use crate::client::{self, Place};
use crate::hands::{Hands, node_name, room};
use crate::machine::Machine;
use crate::pod::Pod;
use crate::random::Random;
use crate::runtime::{Mounts, later};

/// The pause before volumes are looked at again, in seconds.
const AGAIN_SECONDS: i64 = 5;

/// One node of the cluster, as long as the engine lives.
pub(crate) struct Node {
    pub index: usize,
    pub name: String,
    pub pods: BTreeMap<String, Pod>,
    /// What an earlier engine left here, until the node has looked at it.
    left: BTreeMap<String, Sandbox>,
    names: Names,
    templates: Templates,
    ledger: Ledger,
    watch: Option<Watch>,
    settings: Referred,
    volumes: Option<Watch>,
    /// When volumes are looked at again because a write failed.
    again: Option<Timestamp>,
}

/// What is the same for all nodes.
pub(crate) struct Surroundings<'a> {
    pub api: &'a Api,
    pub events: &'a EventRecorder,
    pub machine: &'a Machine,
    pub random: &'a mut Random,
    pub now: Timestamp,
    pub refused: bool,
    pub bug: Option<Bug>,
    pub said: Vec<String>,
}

/// Registers a node that is not there yet.
///
/// # Errors
/// When the disk fails: there is no such node then until the next start.
pub(crate) fn register(api: &Api, index: usize) -> Result<(), Status> {
    let name = node_name(index);
    let place = Place { resource: NODES, namespace: "", name: "", subresource: "" };
    if api.snapshot().find(NODES, "", &name).is_none() {
        let labels = json!({"kubernetes.io/hostname": name});
        let node = json!({"metadata": {"name": name, "labels": labels}});
        client::call(api, &name, Verb::Create, &place, Body::Object(node))?;
    }
    let snapshot = api.snapshot();
    let Some(node) = snapshot.find(NODES, "", &name) else { return Ok(()) };
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
    /// A node that finds what an earlier engine left.
    pub fn new(index: usize, api: &Api, left: &[Sandbox]) -> Self {
        let is_ours = |sandbox: &&Sandbox| sandbox.labels.get("node") == Some(&index.to_string());
        let left = left.iter().filter(is_ours).map(|it| (it.pod_uid.clone(), it.clone()));
        Self {
            index,
            name: node_name(index),
            pods: BTreeMap::new(),
            left: left.collect(),
            names: Names::default(),
            templates: Templates::default(),
            ledger: Ledger::default(),
            watch: None,
            settings: Referred::new(CONFIG_MAPS, api.snapshot().revision()),
            volumes: None,
            again: None,
        }
    }

    /// Whether something was written that this node has not seen.
    pub fn is_behind(&self, api: &Api, now: Timestamp) -> bool {
        let newest = api.snapshot().revision();
        if self.again.is_some_and(|at| at <= now) || self.settings.revision() < newest {
            return true;
        }
        let is_behind =
            |watch: &Option<Watch>| watch.as_ref().is_none_or(|it| it.revision() < newest);
        is_behind(&self.watch) || is_behind(&self.volumes)
    }

    /// Whether the pods that an earlier engine has left have their workers.
    pub fn has_looked(&self) -> bool {
        self.watch.is_some()
    }

    /// When something is to be done even if nothing is written.
    pub fn next_time(&self, ahead: SignedDuration) -> Option<Timestamp> {
        self.pods.values().filter_map(|pod| pod.next_time(ahead)).chain(self.again).min()
    }

    /// Takes note of what was written.
    pub fn follow(&mut self, around: &mut Surroundings<'_>) {
        if self.index == 0 {
            self.clean_volumes(around);
        } else {
            self.volumes = around.api.store().watch(around.api.snapshot().revision()).ok();
        }
        self.follow_pods(around);
        for change in self.settings.catch_up(around.api.store()) {
            let (resource, snapshot) = (self.settings.resource(), around.api.snapshot());
            for pod in change.pods(&resource, &snapshot) {
                let message = Message::Referred(Arc::clone(&resource), change.name.clone());
                self.send(&pod.metadata().uid, message);
            }
        }
    }

    fn follow_pods(&mut self, around: &Surroundings<'_>) {
        while let Some(watch) = &mut self.watch {
            match watch.try_next() {
                Ok(Some(event)) => match &event.new {
                    Some(pod) => self.deliver(pod, around),
                    None => self.send(&event.last.metadata().uid, Message::Gone),
                },
                Ok(None) => return,
                Err(_) => self.watch = None,
            }
        }
        self.look_at_all(around);
    }

    /// All pods there are: at the start, and when the watch was cut off.
    fn look_at_all(&mut self, around: &Surroundings<'_>) {
        let snapshot = around.api.snapshot();
        self.watch = around.api.store().watch_resource(PODS, snapshot.revision()).ok();
        let pods: Vec<_> = snapshot.list(PODS, None).collect();
        let present: BTreeSet<_> = pods.iter().map(|pod| pod.metadata().uid.as_str()).collect();
        for (uid, pod) in &mut self.pods {
            if !present.contains(uid.as_str()) {
                pod.tell(Message::Gone);
            }
        }
        let orphans = self.left.extract_if(.., |uid, _| !present.contains(uid.as_str()));
        for (uid, sandbox) in orphans.collect::<Vec<_>>() {
            let worker = Worker::of_orphan(&sandbox, around.machine.lock().clock(self.index));
            self.names.hold(&sandbox.namespace, &sandbox.name, &uid);
            self.pods.insert(uid, Pod::new(worker));
        }
        // As the engine's node sweeps what was left of pods without a sandbox.
        let is_left = |uid: &str, mounts: &Mounts| {
            mounts.node == self.index && !present.contains(uid) && !self.pods.contains_key(uid)
        };
        around.machine.lock().mounts.retain(|uid, mounts| !is_left(uid, mounts));
        for pod in pods {
            self.deliver(pod, around);
        }
    }

    fn deliver(&mut self, object: &Arc<Object>, around: &Surroundings<'_>) {
        if object.str_at("/spec/nodeName") != Some(self.name.as_str()) {
            return;
        }
        let uid = &object.metadata().uid;
        if object.has_ended() {
            self.tell_of_room(around.api);
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            return pod.tell(Message::Changed(Arc::clone(object)));
        }
        let Ok(view) = object.view() else { return };
        let (namespace, name) = (&object.metadata().namespace, &object.metadata().name);
        let sandbox = self.left.remove(uid);
        if sandbox.is_some() {
            self.names.hold(namespace, name, uid);
        }
        let waits = !self.names.take(namespace, name, uid);
        let predecessor = waits && around.bug != Some(Bug::SideBySide);
        let record = around.machine.lock().records.get(uid).cloned();
        let found = Found { sandbox, predecessor, record, ..Found::default() };
        let clock = around.machine.lock().clock(self.index);
        let worker = Worker::new(Arc::clone(object), view, found, clock);
        if let Some(has) = worker.promised() {
            self.ledger.hold(uid, has);
        }
        self.pods.insert(uid.clone(), Pod::new(worker));
    }

    fn send(&mut self, uid: &str, message: Message) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.tell(message);
        }
    }

    /// What the runtime tells; pods of other nodes are not ours.
    pub fn hear(&mut self, event: &RuntimeEvent) {
        let (RuntimeEvent::ContainerExited { pod_uid, .. } | RuntimeEvent::SandboxLost { pod_uid }) =
            event;
        self.send(pod_uid, Message::Runtime(event.clone(), String::new()));
    }

    /// The pod must leave, if it is here.
    pub fn evict(&mut self, uid: &str, eviction: Eviction) {
        self.send(uid, Message::Evicted(eviction));
    }

    /// One turn of a pod's worker.
    pub fn turn(&mut self, uid: &str, around: &mut Surroundings<'_>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let mut hands = hands(self.index, (&mut self.templates, &mut self.ledger), around);
        pod.turn(&mut hands);
        let said = std::mem::take(&mut hands.said);
        let letters = std::mem::take(&mut hands.letters);
        around.said.extend(said);
        let is_done = pod.worker.is_done();
        letters.into_iter().for_each(|(uid, message)| self.send(&uid, message));
        let Some(pod) = self.pods.get_mut(uid).filter(|_| is_done) else { return };
        let id = pod.worker.id().clone();
        self.pods.remove(uid);
        self.ledger.forget(uid);
        self.tell_of_room(around.api);
        for uid in self.names.release(&id.namespace, &id.name, &id.uid) {
            let waits = !self.names.take(&id.namespace, &id.name, &uid);
            self.send(&uid, Message::Predecessor(waits && around.bug != Some(Bug::SideBySide)));
        }
    }

    /// Tells those that wait for room and have it now.
    fn tell_of_room(&mut self, api: &Api) {
        if !self.ledger.is_idle() {
            let lucky = self.ledger.retry(&room(api, self.index));
            lucky.iter().for_each(|uid| self.send(uid, Message::Room));
        }
    }

    /// The engine ends now.
    pub fn interrupted(&mut self, around: &mut Surroundings<'_>) {
        for pod in self.pods.values_mut() {
            let known = (&mut self.templates, &mut self.ledger);
            pod.interrupted(&mut hands(self.index, known, around));
        }
    }

    fn clean_volumes(&mut self, around: &mut Surroundings<'_>) {
        let snapshot = around.api.snapshot();
        self.volumes = around.api.store().watch(snapshot.revision()).ok();
        self.again = None;
        let is_over = |volume: &&Arc<Object>| {
            volume.metadata().is_deleting() && volume.metadata().finalizers == [DATA_FINALIZER]
        };
        for volume in snapshot.list(PERSISTENT_VOLUMES, None).filter(is_over) {
            if around.refused {
                self.again = Some(later(around.now, AGAIN_SECONDS));
                return;
            }
            let mut value = volume.value().clone();
            if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
                metadata.remove("finalizers");
            }
            let name = &volume.metadata().name;
            let resource = PERSISTENT_VOLUMES;
            let place = Place { resource, namespace: "", name, subresource: "" };
            let body = Body::Object(value);
            let done = client::call(around.api, &self.name, Verb::Update, &place, body);
            if done.is_err() {
                self.again = Some(later(around.now, AGAIN_SECONDS));
            }
            let outcome = done.map_or_else(|error| error.message, |_| "done".to_owned());
            around.said.push(format!("removes the data of {name}: {outcome}"));
        }
    }
}

fn hands<'a>(
    node: usize,
    (templates, ledger): (&'a mut Templates, &'a mut Ledger),
    around: &'a mut Surroundings<'_>,
) -> Hands<'a> {
    Hands {
        api: around.api,
        events: around.events,
        machine: around.machine.clone(),
        templates,
        ledger,
        letters: Vec::new(),
        random: around.random,
        node,
        now: around.now,
        clock: around.machine.lock().clock(node),
        refused: around.refused,
        object_first: around.bug == Some(Bug::ObjectFirst),
        promises_all: around.bug == Some(Bug::PromisedTwice),
        said: Vec::new(),
    }
}
