//! The loop over the real API and store, as the simulation runs it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Timestamp, Verb};
use coracle_controllers::{CONTROLLERS, Config};
use coracle_server::{Api, Body, Cluster, Source};
use coracle_store::Store;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::requests::{at, controller};
use crate::{EventRecorder, Loop};

struct Still(AtomicU8);

impl Source for Still {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn seed(&self) -> [u8; 32] {
        [self.0.fetch_add(1, Ordering::Relaxed); 32]
    }
}

/// The result of a future that is ready at once, as over an inline store.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready"),
    }
}

struct World {
    api: Api,
    looped: Loop,
    events: EventRecorder,
}

impl World {
    fn new() -> Self {
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let source = Arc::new(Still(AtomicU8::new(0)));
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), source);
        let config = Config {
            ca_bundle: "CA".into(),
            api_address: [10, 244, 255, 253].into(),
            api_port: 6443,
            dns_address: [10, 244, 255, 253].into(),
            services: "10.96.0.0/12".parse().unwrap(),
            load_balancers: "10.112.0.0/24".parse().unwrap(),
            volumes_dir: "/volumes".into(),
        };
        let events = EventRecorder::default();
        let looped = Loop::new(CONTROLLERS, config, events.clone());
        let mut world = Self { api, looped, events };
        world.create("namespaces", "", json!({"metadata": {"name": "default"}}));
        world
    }

    fn send(&self, verb: Verb, key: &Key, subresource: &str, body: Value) {
        let user = controller("test");
        let body = Body::Object(body);
        let request = at(&self.api.kinds(), user, verb, key, subresource, body).unwrap();
        now(self.api.call(request)).unwrap();
    }

    fn create(&mut self, resource: &str, namespace: &str, body: Value) {
        self.send(Verb::Create, &Key::new(resource, namespace, ""), "", body);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let stepped = now(self.looped.step(&self.api, self.api.source().now()));
            now(self.events.flush(&self.api));
            if !stepped {
                return;
            }
        }
        panic!("the loop never rests");
    }

    fn get(&self, resource: &str, name: &str) -> Arc<Object> {
        let snapshot = self.api.snapshot();
        let found = snapshot.find(resource, "default", name).or(snapshot.find(resource, "", name));
        Arc::clone(found.unwrap_or_else(|| panic!("no {resource} {name}")))
    }

    fn names(&self, resource: &str) -> Vec<String> {
        let snapshot = self.api.snapshot();
        snapshot.list(resource, None).map(|object| object.metadata().name.clone()).collect()
    }

    fn add_node(&mut self) {
        let labels = json!({"kubernetes.io/hostname": "node-1"});
        self.create("nodes", "", json!({"metadata": {"name": "node-1", "labels": labels}}));
        let mut node = self.get("nodes", "node-1").value().clone();
        node["status"] = json!({
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        self.send(Verb::Update, &Key::new("nodes", "", "node-1"), "status", node);
        self.settle();
    }

    /// The node reports the pod Ready.
    fn ready(&mut self, name: &str) {
        let mut pod = self.get("pods", name).value().clone();
        let time = "2026-01-01T00:00:00Z";
        pod["status"]["phase"] = json!("Running");
        pod["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
        self.send(Verb::Update, &Key::new("pods", "default", name), "status", pod);
        self.settle();
    }
}

fn web() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "www"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "standard",
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }],
        },
    })
}

fn standard() -> Value {
    json!({
        "metadata": {"name": "standard"},
        "provisioner": "coracle.dev/local",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

#[test]
fn a_set_comes_up_through_the_real_pipeline() {
    let mut world = World::new();
    world.create("storageclasses.storage.k8s.io", "", standard());
    world.add_node();
    world.create("statefulsets.apps", "default", web());
    assert_eq!(world.names("pods"), ["web-0"]);
    assert_eq!(world.get("pods", "web-0").str_at("/spec/nodeName"), Some("node-1"));
    let claim = world.get("persistentvolumeclaims", "www-web-0");
    assert_eq!(claim.str_at("/status/phase"), Some("Bound"));
    assert_eq!(claim.value()["status"]["capacity"]["storage"], "1Gi");
    let volume = world.get("persistentvolumes", &format!("pvc-{}", claim.metadata().uid));
    assert_eq!(volume.str_at("/status/phase"), Some("Bound"));
    world.ready("web-0");
    world.ready("web-1");
    let set = world.get("statefulsets.apps", "web");
    assert_eq!(set.value()["status"]["readyReplicas"], 2);
    let reasons: Vec<_> = world
        .api
        .snapshot()
        .list("events", Some("default"))
        .map(|event| event.str_at("/reason").unwrap_or_default().to_owned())
        .collect();
    for reason in ["SuccessfulCreate", "Scheduled", "ProvisioningSucceeded"] {
        assert!(reasons.iter().any(|found| found == reason), "{reason}: {reasons:?}");
    }
}

#[test]
fn at_rest_nothing_is_written_and_no_timer_is_set() {
    let mut world = World::new();
    world.create("storageclasses.storage.k8s.io", "", standard());
    world.add_node();
    world.create("statefulsets.apps", "default", web());
    world.ready("web-0");
    world.ready("web-1");
    let revision = world.api.snapshot().revision();
    world.settle();
    assert_eq!(world.api.snapshot().revision(), revision);
    assert!(world.looped.is_idle());
    let snapshot = world.api.snapshot();
    let key = Key::new("statefulsets.apps", "default", "web");
    assert!(world.looped.reasons().why(&snapshot, &key).is_empty());
}

#[test]
fn why_tells_the_chain_from_the_set_to_the_pod() {
    let mut world = World::new();
    world.create("storageclasses.storage.k8s.io", "", standard());
    world.create("statefulsets.apps", "default", web());
    let snapshot = world.api.snapshot();
    let key = Key::new("statefulsets.apps", "default", "web");
    let chain = world.looped.reasons().why(&snapshot, &key);
    let said: Vec<_> = chain.iter().map(|reason| reason.sentence.as_str()).collect();
    assert_eq!(said, ["web-0 is not ready", "no nodes available to schedule pods"]);
    world.add_node();
    let chain = world.looped.reasons().why(&world.api.snapshot(), &key);
    assert_eq!(chain[1].sentence, "node node-1 has not reported on it yet");
}
