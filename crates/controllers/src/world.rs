//! A world for tests: the real store, a server reduced to what decisions rely on, and a node that
//! does what a test tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use coracle_api::{
    Call, Fetched, Given, Key, Object, Status, Subresource, Swept, Timestamp, Usage,
};
use coracle_store::{Event, Expect, Store, Transaction, Watch};
use jiff::ToSpan;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::CONTROLLERS;
use crate::plan::{Propagation, Step, Write};
use crate::table::{ANY, Controller};
use crate::{Config, Context, Memory, Note, Plan};

pub(crate) struct World {
    pub store: Store,
    pub now: Timestamp,
    pub config: Config,
    /// Everything that was noted: `REASON MESSAGE`.
    pub notes: Vec<String>,
    /// How many more objects admission lets controllers create, and what it says to others.
    pub creations_left: Option<(usize, String)>,
    /// What admission says to a create of this name.
    pub refuses: Option<(String, String)>,
    /// The last plan's reason.
    pub because: Option<String>,
    /// What containers use.
    pub usage: Usage,
    /// Words of questions about rights that are answered with yes.
    pub allowed: Vec<&'static str>,
    /// Whether the authority signs.
    pub signs: Result<(), Status>,
    /// What other API servers say.
    pub remotes: Result<(u16, String), String>,
    /// What other API servers leave in a namespace.
    pub swept: Swept,
    /// How often the outside was asked.
    pub asked: usize,
    memories: BTreeMap<(&'static str, Key), Memory>,
    watch: Watch,
    queue: BTreeSet<(usize, Key)>,
    timers: BTreeSet<(Timestamp, usize, Key)>,
    uids: u32,
    /// UIDs of pods that a check has seen.
    pub seen: BTreeSet<String>,
}

pub(crate) fn config() -> Config {
    Config {
        ca_bundle: "-----BEGIN CERTIFICATE-----\n".into(),
        front_proxy_ca: "-----BEGIN CERTIFICATE-----\nproxy".into(),
        api_address: [10, 244, 255, 253].into(),
        api_port: 6443,
        dns_address: [10, 244, 255, 253].into(),
        services: "10.96.0.0/12".parse().unwrap(),
        load_balancers: "10.112.0.0/24".parse().unwrap(),
        largest_volume: 16 << 40,
        gates: Default::default(),
    }
}

/// The result of a future that is ready at once, as an inline store's are.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready"),
    }
}

/// `statefulsets.apps` for an `apps/v1` StatefulSet.
pub(crate) fn resource(value: &Value) -> String {
    let kind = value["kind"].as_str().unwrap().to_lowercase();
    let plural = match kind.as_str() {
        "endpoints" => kind,
        _ if kind.ends_with("ss") => format!("{kind}es"),
        _ => format!("{kind}s"),
    };
    match value["apiVersion"].as_str().unwrap().split_once('/') {
        Some((group, _)) => format!("{plural}.{group}"),
        None => plural,
    }
}

impl World {
    pub fn new() -> Self {
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        Self {
            watch: store.watch(0).unwrap(),
            store,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            config: config(),
            notes: Vec::new(),
            creations_left: None,
            refuses: None,
            because: None,
            usage: Usage::default(),
            allowed: Vec::new(),
            signs: Ok(()),
            remotes: Err("EOF".into()),
            swept: Swept::default(),
            asked: 0,
            memories: BTreeMap::new(),
            queue: BTreeSet::new(),
            timers: BTreeSet::new(),
            uids: 0,
            seen: BTreeSet::new(),
        }
    }

    pub fn find(&self, resource: &str, name: &str) -> Option<Arc<Object>> {
        let snapshot = self.store.snapshot();
        let found = snapshot.find(resource, "default", name);
        found.or_else(|| snapshot.find(resource, "", name)).cloned()
    }

    pub fn get(&self, resource: &str, name: &str) -> Arc<Object> {
        self.find(resource, name).unwrap_or_else(|| panic!("no {resource} {name}"))
    }

    /// The names of all objects of a resource.
    pub fn names(&self, resource: &str) -> Vec<String> {
        let snapshot = self.store.snapshot();
        snapshot.list(resource, None).map(|o| o.metadata().name.clone()).collect()
    }

    /// Stores an object as it is.
    pub fn replace(&mut self, value: Value) -> Arc<Object> {
        let object = Object::with_resource(resource(&value), value).unwrap();
        self.commit(coracle_store::Write::put(object, Expect::Any)).unwrap()
    }

    /// The object is gone, whoever held it.
    pub fn remove(&mut self, key: &Key) {
        self.commit(coracle_store::Write::delete(key.clone(), Expect::Present));
    }

    fn commit(&mut self, write: coracle_store::Write) -> Option<Arc<Object>> {
        now(self.store.commit(Transaction::of([write]))).unwrap().objects.remove(0)
    }

    /// What a user creates.
    pub fn create(&mut self, mut value: Value) -> Arc<Object> {
        self.uids += 1;
        let metadata = value["metadata"].as_object_mut().unwrap();
        if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) {
            let name = json!(format!("{prefix}{}", self.uids));
            metadata.entry("name").or_insert(name);
        }
        metadata.insert("uid".into(), json!(format!("uid-{}", self.uids)));
        metadata.insert("creationTimestamp".into(), json!(self.now.to_string()));
        metadata.entry("generation").or_insert(json!(1));
        if value["kind"] == "Pod" && value["status"]["phase"].is_null() {
            value["status"] = json!({"phase": "Pending"});
        }
        let name = &value["metadata"]["name"];
        let exists = self
            .store
            .snapshot()
            .find(
                &resource(&value),
                value["metadata"]["namespace"].as_str().unwrap_or_default(),
                name.as_str().unwrap(),
            )
            .is_some();
        assert!(!exists, "{name} exists");
        self.replace(value)
    }

    /// What a user changes of an object's spec or metadata.
    pub fn edit(&mut self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let old = self.get(resource, name);
        let mut value = old.value().clone();
        change(&mut value);
        if value["spec"] != old.value()["spec"] {
            let generation = old.metadata().generation.unwrap_or(0) + 1;
            value["metadata"]["generation"] = json!(generation);
        }
        self.update(value);
    }

    fn update(&mut self, value: Value) {
        let is_over = !value["metadata"]["deletionTimestamp"].is_null()
            && value["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && value["kind"] != "Pod"
            && value["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let object = self.replace(value);
        if is_over {
            self.remove(object.key());
        }
    }

    /// What a user deletes: a pod on a node stays until [`World::stopped`].
    pub fn delete(&mut self, resource: &str, name: &str, how: Option<Propagation>) {
        let object = self.get(resource, name);
        self.delete_object(&object, how);
    }

    fn delete_object(&mut self, object: &Object, how: Option<Propagation>) {
        let mut finalizers = object.metadata().finalizers.clone();
        match how {
            Some(Propagation::Foreground) => finalizers.push("foregroundDeletion".into()),
            Some(Propagation::Orphan) => finalizers.push("orphan".into()),
            _ => {}
        }
        let spec = &object.value()["spec"];
        let runs = *object.key().resource == *"pods" && spec["nodeName"].is_string();
        if !runs && finalizers.is_empty() && spec["finalizers"].as_array().is_none_or(Vec::is_empty)
        {
            return self.remove(object.key());
        }
        if object.metadata().is_deleting() {
            return;
        }
        let mut value = object.value().clone();
        value["metadata"]["deletionTimestamp"] = json!(self.now.to_string());
        value["metadata"]["finalizers"] = json!(finalizers);
        self.replace(value);
    }

    /// The node has stopped a pod.
    pub fn stopped(&mut self, pod: &str) {
        let pod = self.get("pods", pod);
        self.remove(pod.key());
    }

    /// The node reports on a pod: it is there since now, Ready or not.
    pub fn runs(&mut self, pod: &str, ready: bool) {
        let old = self.get("pods", pod);
        let mut value = old.value().clone();
        let now = json!(self.now.to_string());
        value["spec"]["nodeName"] = json!("node-1");
        let status = value["status"].as_object_mut().unwrap();
        status.insert("phase".into(), json!("Running"));
        status.entry("startTime").or_insert_with(|| now.clone());
        let word = if ready { "True" } else { "False" };
        let old_ready = status
            .get("conditions")
            .and_then(|c| c.as_array()?.iter().find(|c| c["type"] == "Ready").cloned());
        let since = match old_ready {
            Some(old) if old["status"] == word => old["lastTransitionTime"].clone(),
            _ => now,
        };
        let ready = json!({"type": "Ready", "status": word, "lastTransitionTime": since});
        status.insert("conditions".into(), json!([ready]));
        self.replace(value);
    }

    /// The node reports another phase.
    pub fn phase(&mut self, pod: &str, phase: &str) {
        let mut value = self.get("pods", pod).value().clone();
        value["status"]["phase"] = json!(phase);
        value["spec"]["nodeName"] = json!("node-1");
        self.replace(value);
    }

    /// One decision, carried out.
    pub fn decide(&mut self, controller: &Controller, key: &Key) -> Plan {
        let snapshot = self.store.snapshot();
        let place = (controller.name, key.clone());
        let memory = self.memories.get(&place).cloned();
        let context = Context { memory: memory.as_ref(), ..Context::new(self.now, &self.config) };
        let mut plan = (controller.decide)(&snapshot, key, &context);
        if let Some(call) = plan.asks.take() {
            self.asked += 1;
            let given = answer(self, &call);
            plan = (controller.decide)(&snapshot, key, &Context { given: Some(&given), ..context });
            assert!(plan.asks.is_none(), "{key} asks again: {:?}", plan.asks);
        }
        self.because = plan.because.as_ref().map(|because| because.sentence.clone());
        let written = self.carry_out(&plan);
        if let Some(memory) = plan.remembered(&written, true) {
            self.memories.insert(place, memory.clone());
        }
        plan
    }

    /// Step by step, as the driver does when a plan does not go through as a whole; which steps were
    /// written.
    pub fn carry_out(&mut self, plan: &Plan) -> Vec<bool> {
        let mut refused = None;
        let mut written = vec![false; plan.steps.len()];
        for (step, written) in plan.steps.iter().zip(&mut written) {
            if refused.is_some() && step.needs_earlier {
                continue;
            }
            if let Some((index, error)) = self.refusal(step).or_else(|| self.over_quota(step)) {
                refused.get_or_insert_with(|| error.clone());
                let said = step.refusals.iter().find(|refusal| refusal.write == index);
                let said = said.map(|r| format!("{} {}{error}", r.note.reason, r.note.message));
                self.notes.extend(said);
                continue;
            }
            step.writes_after(refused.as_deref()).iter().for_each(|write| self.write(write));
            self.notes.extend(step.notes.iter().map(said));
            *written = true;
        }
        self.notes.extend(plan.notes.iter().map(said));
        written
    }

    fn refusal(&self, step: &Step) -> Option<(usize, String)> {
        let (name, error) = self.refuses.as_ref()?;
        let is_refused = |write: &Write| match write {
            Write::Create(value) => value["metadata"]["name"] == *name.as_str(),
            Write::UpdateSubresourceOf { key, .. } => *key.name == *name.as_str(),
            _ => false,
        };
        let at = step.writes.iter().position(is_refused)?;
        Some((at, error.clone()))
    }

    fn over_quota(&mut self, step: &Step) -> Option<(usize, String)> {
        let at = step.writes.iter().position(|write| matches!(write, Write::Create(_)))?;
        let (left, error) = self.creations_left.as_mut()?;
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => return Some((at, error.clone())),
        }
        None
    }

    fn check(&self, value: &Value) -> Arc<Object> {
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = value["metadata"]["name"].as_str().unwrap();
        let snapshot = self.store.snapshot();
        let stored = snapshot.find(&resource(value), namespace, name).expect("what is updated");
        let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        assert_eq!(version, stored.metadata().resource_version, "{stored:?}");
        Arc::clone(stored)
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Create(value) => drop(self.create(value.clone())),
            Write::Update(value) => {
                let stored = self.check(value);
                let mut value = value.clone();
                value["status"] = stored.value()["status"].clone();
                self.update(value);
            }
            Write::UpdateSubresource(subresource, value) => {
                let stored = self.check(value);
                let mut next = stored.value().clone();
                match *subresource {
                    Subresource::Status => {
                        next["status"] = value["status"].clone();
                        let annotations = value["metadata"]["annotations"].clone();
                        crate::json::set(&mut next, &["metadata", "annotations"], annotations);
                    }
                    Subresource::Approval => {
                        let decided = value["status"]["conditions"].clone();
                        crate::json::set(&mut next, &["status", "conditions"], decided);
                    }
                    Subresource::Finalize => next["spec"] = value["spec"].clone(),
                    other => panic!("no subresource {other}"),
                }
                self.update(next);
            }
            Write::UpdateSubresourceOf { key, subresource, body } => {
                assert_eq!(*subresource, Subresource::Scale);
                let mut next = self.store.snapshot().get(key).unwrap().value().clone();
                assert_eq!(
                    next["metadata"]["resourceVersion"],
                    body["metadata"]["resourceVersion"]
                );
                next["spec"]["replicas"] = body["spec"]["replicas"].clone();
                self.update(next);
            }
            Write::CreateSubresource { key, subresource, body } => {
                assert_eq!(*subresource, Subresource::Binding);
                let mut next = self.store.snapshot().get(key).unwrap().value().clone();
                next["spec"]["nodeName"] = body["target"]["name"].clone();
                let scheduled = json!({"type": "PodScheduled", "status": "True"});
                next["status"]["conditions"] = json!([scheduled]);
                crate::json::set(&mut next, &["status", "nominatedNodeName"], Value::Null);
                self.replace(next);
            }
            Write::Delete { key, uid, resource_version, options } => {
                let stored = self.store.snapshot().get(key).cloned().expect("what is deleted");
                assert_eq!(*uid, stored.metadata().uid);
                if let Some(version) = resource_version {
                    assert_eq!(*version, stored.metadata().resource_version, "{stored:?}");
                }
                self.delete_object(&stored, options.propagation);
            }
        }
    }

    /// Lets the controllers of these names decide until nothing more happens.
    pub fn settle(&mut self, names: &[&str]) {
        for _ in 0..10_000 {
            self.listen(names);
            let Some((index, key)) = self.queue.pop_first() else { return };
            let plan = self.decide(&CONTROLLERS[index], &key);
            if let Some(when) = plan.look_again {
                self.timers.insert((when, index, key));
            }
        }
        panic!("the controllers {names:?} never rest");
    }

    /// Time passes, and those who asked to be asked again are.
    pub fn pass(&mut self, seconds: i64, names: &[&str]) {
        self.now = self.now.checked_add(seconds.seconds()).unwrap();
        while self.timers.first().is_some_and(|(when, ..)| *when <= self.now) {
            let (_, index, key) = self.timers.pop_first().unwrap();
            self.queue.insert((index, key));
        }
        self.settle(names);
    }

    fn listen(&mut self, names: &[&str]) {
        while let Some(event) = self.watch.try_next().unwrap() {
            let rows = CONTROLLERS.iter().enumerate();
            for (index, row) in rows.filter(|(_, row)| names.contains(&row.name)) {
                for key in concerned(row, &event, &self.store.snapshot()) {
                    self.queue.insert((index, key));
                }
            }
        }
    }
}

/// What the outside says.
fn answer(world: &World, call: &Call) -> Result<Given, Status> {
    let World { usage, allowed, signs, remotes, swept, .. } = world;
    match call {
        Call::Measure => Ok(Given::Usage(Arc::new(usage.clone()))),
        Call::Review { questions } => {
            let is_allowed = |question: &String| allowed.iter().any(|it| question.contains(it));
            Ok(Given::Allowed(questions.iter().map(is_allowed).collect()))
        }
        Call::Certify { not_before, not_after, .. } => match signs {
            Ok(()) => Ok(Given::Certificate(format!("{not_before} {not_after}"))),
            Err(status) => Err(status.clone()),
        },
        Call::Fetch(fetch) => {
            let url = format!("https://10.96.0.9:{}{}", fetch.server.service.port, fetch.path);
            Ok(Given::Fetched(Fetched { url, tag: String::new(), answer: remotes.clone() }))
        }
        Call::All(calls) => {
            let answers = calls.iter().map(|call| answer(world, call).map_err(|it| it.message));
            Ok(Given::All(answers.collect()))
        }
        Call::Sweep { .. } => Ok(Given::Swept(swept.clone())),
        Call::Sign { .. } | Call::Post(_) => panic!("no decision signs tokens or asks webhooks"),
    }
}

fn concerned(row: &Controller, event: &Event, snapshot: &coracle_store::Snapshot) -> Vec<Key> {
    let is_watched = |resource: &str| resource == ANY || *event.key.resource == *resource;
    let rows = row.watches.iter().filter(|(resource, _)| is_watched(resource));
    rows.flat_map(|(_, concerns)| concerns(event, snapshot)).collect()
}

fn said(note: &Note) -> String {
    format!("{} {}", note.reason, note.message)
}
