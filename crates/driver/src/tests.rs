//! The loop over the real API and store, as the simulation runs it.

mod autoscaling;
mod definitions;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Subresource, Timestamp, Verb};
use coracle_controllers::{CONTROLLERS, Concerns, Config, Controller, Plan, Write};
use coracle_server::{Api, Body, Cluster, Source};
use coracle_store::{Snapshot, Store};
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::requests::{at, controller};
use crate::{Errand, EventRecorder, Job, Loop, Outcome, bootstrap};

struct Still(AtomicU64);

impl Source for Still {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        seed
    }
}

/// The result of a future that is ready at once, as over an inline store.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready"),
    }
}

fn config() -> Config {
    Config {
        ca_bundle: "CA".into(),
        front_proxy_ca: "CA of the front proxy".into(),
        api_address: [10, 244, 255, 253].into(),
        api_port: 6443,
        dns_address: [10, 244, 255, 253].into(),
        services: "10.96.0.0/12".parse().unwrap(),
        load_balancers: "10.112.0.0/24".parse().unwrap(),
        largest_volume: 16 << 40,
        gates: Default::default(),
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
        let source = Arc::new(Still(AtomicU64::new(0)));
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), source);
        let events = EventRecorder::default();
        let looped = Loop::new(CONTROLLERS, config(), events.clone());
        let mut world = Self { api, looped, events };
        now(bootstrap(&world.api, &config())).unwrap();
        world.settle();
        world
    }

    fn send(&self, verb: Verb, key: &Key, subresource: Option<Subresource>, body: Value) {
        let user = controller("test");
        let body = Body::Object(body);
        let request = at(&self.api.kinds(), user, verb, key, subresource, body).unwrap();
        now(self.api.call(request)).unwrap();
    }

    fn create(&mut self, resource: &str, namespace: &str, body: Value) {
        self.send(Verb::Create, &Key::new(resource, namespace, ""), None, body);
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
        self.send(Verb::Update, &Key::new("nodes", "", "node-1"), Some(Subresource::Status), node);
        self.settle();
    }

    /// The node reports the pod Ready.
    fn ready(&mut self, name: &str) {
        let mut pod = self.get("pods", name).value().clone();
        let time = "2026-01-01T00:00:00Z";
        let address = format!("10.244.0.{}", 2 + self.names("pods").len());
        pod["status"]["phase"] = json!("Running");
        pod["status"]["podIP"] = json!(address);
        pod["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
        self.send(Verb::Update, &Key::new("pods", "default", name), Some(Subresource::Status), pod);
        self.settle();
    }

    fn delete(&mut self, resource: &str, name: &str, options: Value) {
        let key = self.get(resource, name).key().clone();
        self.send(Verb::Delete, &key, None, options);
        self.settle();
    }

    fn update(&mut self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let object = self.get(resource, name);
        let mut value = object.value().clone();
        change(&mut value);
        self.send(Verb::Update, object.key(), None, value);
        self.settle();
    }

    /// The node runs what is placed and stops what is being deleted, until there is nothing left.
    fn play(&mut self) {
        for _ in 0..100 {
            let snapshot = self.api.snapshot();
            let waits = |pod: &&Arc<Object>| {
                pod.metadata().is_deleting() || pod.str_at("/status/phase") != Some("Running")
            };
            let Some(pod) = snapshot.list("pods", None).find(waits) else { return };
            let name = pod.metadata().name.clone();
            if pod.metadata().is_deleting() {
                self.delete("pods", &name, json!({"gracePeriodSeconds": 0}));
            } else {
                self.ready(&name);
            }
        }
        panic!("pods never rest");
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

#[test]
fn a_set_comes_up_through_the_real_pipeline() {
    let mut world = World::new();
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
    world.create("statefulsets.apps", "default", web());
    let snapshot = world.api.snapshot();
    let key = Key::new("statefulsets.apps", "default", "web");
    let chain = world.looped.reasons().why(&snapshot, &key);
    let said: Vec<_> = chain.iter().map(|reason| reason.sentence.as_str()).collect();
    assert_eq!(said[..2], ["web-0 is not ready", "no nodes available to schedule pods"]);
    world.add_node();
    let chain = world.looped.reasons().why(&world.api.snapshot(), &key);
    assert_eq!(chain[1].sentence, "node node-1 has not reported on it yet");
}

#[test]
fn a_new_cluster_has_what_every_cluster_has() {
    let world = World::new();
    let namespaces = world.names("namespaces");
    assert_eq!(namespaces, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    assert_eq!(world.names("serviceaccounts").len(), 4);
    assert_eq!(world.names("configmaps").len(), 5);
    let service = world.get("services", "kubernetes");
    assert_eq!(service.str_at("/spec/clusterIP"), Some("10.96.0.1"));
    let revision = world.api.snapshot().revision();
    now(bootstrap(&world.api, &config())).unwrap();
    assert_eq!(world.api.snapshot().revision(), revision, "a second start writes nothing");
}

#[test]
fn an_update_a_rollback_and_a_scale_down_go_through() {
    let mut world = World::new();
    world.add_node();
    world.create("statefulsets.apps", "default", web());
    world.play();
    let image = |image: &'static str| {
        move |set: &mut Value| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        }
    };
    for (wanted, revisions) in [("web:2", 2), ("web:1", 2)] {
        world.update("statefulsets.apps", "web", image(wanted));
        world.play();
        let pod = world.get("pods", "web-0");
        assert_eq!(pod.str_at("/spec/containers/0/image"), Some(wanted));
        assert_eq!(world.names("controllerrevisions.apps").len(), revisions);
    }
    world.update("statefulsets.apps", "web", |set| set["spec"]["replicas"] = json!(0));
    world.play();
    assert_eq!(world.names("pods"), [""; 0]);
    assert_eq!(world.names("persistentvolumeclaims"), ["www-web-0", "www-web-1"]);
    let status = world.get("statefulsets.apps", "web").value()["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn a_set_is_deleted_in_every_way_there_is() {
    for (propagation, left) in [("Background", 0), ("Foreground", 0), ("Orphan", 2)] {
        let mut world = World::new();
        world.add_node();
        world.create("statefulsets.apps", "default", web());
        world.play();
        world.delete("statefulsets.apps", "web", json!({"propagationPolicy": propagation}));
        world.play();
        assert_eq!(world.names("statefulsets.apps"), [""; 0], "{propagation}");
        assert_eq!(world.names("pods").len(), left, "{propagation}");
        assert_eq!(world.names("persistentvolumeclaims").len(), 2, "{propagation}");
    }
}

#[test]
fn claims_go_with_the_set_when_they_should() {
    let mut world = World::new();
    world.add_node();
    let mut set = web();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    world.create("statefulsets.apps", "default", set);
    world.play();
    world.update("statefulsets.apps", "web", |set| set["spec"]["replicas"] = json!(1));
    world.play();
    assert_eq!(world.names("persistentvolumeclaims"), ["www-web-0"]);
    world.delete("statefulsets.apps", "web", json!({}));
    world.play();
    assert_eq!(world.names("persistentvolumeclaims"), [""; 0]);
    let volumes = world.names("persistentvolumes");
    assert_eq!(volumes.len(), 2, "they wait for the node to remove the data");
}

#[test]
fn a_service_gets_its_address_and_its_pods() {
    let mut world = World::new();
    world.add_node();
    world.create("statefulsets.apps", "default", web());
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    });
    world.create("services", "default", service);
    world.play();
    let ingress = world.get("services", "web").value()["status"]["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress, json!([{"ip": "10.112.0.1"}]), "an address and nothing else");
    let endpoints = world.get("endpoints", "web");
    assert_eq!(endpoints.value()["subsets"][0]["addresses"].as_array().unwrap().len(), 2);
    let slices = world.names("endpointslices.discovery.k8s.io");
    let slice = slices.iter().find(|name| name.starts_with("web-")).unwrap();
    let slice = world.get("endpointslices.discovery.k8s.io", slice);
    assert_eq!(slice.value()["endpoints"][0]["hostname"], "web-0");
    let revision = world.api.snapshot().revision();
    world.looped.enqueue("endpoint-controller", world.get("services", "web").key().clone());
    world.looped.enqueue("endpoint-slice-controller", world.get("services", "web").key().clone());
    world.settle();
    assert_eq!(world.api.snapshot().revision(), revision);
}

#[test]
fn a_namespace_goes_with_everything_in_it() {
    let mut world = World::new();
    world.add_node();
    world.create("namespaces", "", json!({"metadata": {"name": "shop"}}));
    world.create("statefulsets.apps", "shop", web());
    let key = Key::new("namespaces", "", "shop");
    world.send(Verb::Delete, &key, None, json!({}));
    world.settle();
    let snapshot = world.api.snapshot();
    let pod = snapshot.find("pods", "shop", "web-0").unwrap().key().clone();
    world.send(Verb::Delete, &pod, None, json!({"gracePeriodSeconds": 0}));
    world.settle();
    let snapshot = world.api.snapshot();
    assert!(snapshot.get(&key).is_none());
    let left: Vec<_> = snapshot.objects().filter(|o| o.metadata().namespace == "shop").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A bit of everything that controllers look after.
fn busy() -> World {
    let mut world = World::new();
    world.add_node();
    let lease = json!({
        "metadata": {"name": "node-1"},
        "spec": {"renewTime": "2026-01-01T00:00:00.000000Z", "holderIdentity": "node-1"},
    });
    world.create("leases.coordination.k8s.io", "kube-node-lease", lease);
    let mut set = web();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    world.create("statefulsets.apps", "default", set);
    let ports = json!([{"name": "http", "port": 80, "targetPort": "http"}]);
    for (name, extra) in [
        ("web", json!({"clusterIP": "None"})),
        ("public", json!({"type": "LoadBalancer", "ports": ports})),
        ("plain", json!({"ports": ports, "publishNotReadyAddresses": true})),
    ] {
        let mut spec = extra;
        spec["selector"] = json!({"app": "web"});
        world.create("services", "default", json!({"metadata": {"name": name}, "spec": spec}));
    }
    let selector = json!({"matchLabels": {"app": "web"}});
    let budget =
        json!({"metadata": {"name": "web"}, "spec": {"selector": selector, "maxUnavailable": 1}});
    world.create("poddisruptionbudgets.policy", "default", budget);
    world.play();
    world
}

#[test]
fn an_engine_that_starts_again_writes_nothing() {
    let mut world = busy();
    let revision = world.api.snapshot().revision();
    world.looped = Loop::new(CONTROLLERS, config(), world.events.clone());
    world.settle();
    let changed: Vec<_> = {
        let mut watch = world.api.store().watch(revision).unwrap();
        std::iter::from_fn(|| watch.try_next().unwrap()).map(|event| event.key.clone()).collect()
    };
    assert!(changed.is_empty(), "{changed:?}");
    let budget = world.get("poddisruptionbudgets.policy", "web");
    assert_eq!(budget.value()["status"]["disruptionsAllowed"], 1);
}

#[test]
fn a_refused_pod_is_told_in_an_event_and_tried_again_later() {
    let mut world = World::new();
    let long = "w".repeat(60);
    let mut set = web();
    set["metadata"]["name"] = json!(long);
    world.create("statefulsets.apps", "default", set);
    let snapshot = world.api.snapshot();
    let events: Vec<_> = snapshot.list("events", Some("default")).collect();
    let failed = events.iter().find(|event| event.str_at("/reason") == Some("FailedCreate"));
    let message = failed.and_then(|event| event.str_at("/message")).unwrap();
    let start = format!(
        "create Pod {long}-0 in StatefulSet {long} failed error: Pod \"{long}-0\" is invalid"
    );
    assert!(message.starts_with(&start), "{message}");
    let set = world.get("statefulsets.apps", &long);
    assert_eq!(set.value()["status"]["observedGeneration"], 1);
    assert!(world.looped.next_timer().is_some());
    let why = world.looped.reasons().why(&snapshot, set.key());
    assert!(why[0].sentence.contains("is invalid"), "{why:?}");
}

#[test]
fn what_a_namespace_that_goes_refuses_is_not_tried_again() {
    let mut world = World::new();
    world.create("namespaces", "", json!({"metadata": {"name": "shop"}}));
    let mut set = web();
    set["metadata"]["namespace"] = json!("shop");
    world.send(Verb::Create, &Key::new("statefulsets.apps", "shop", ""), None, set);
    world.looped.catch_up(&world.api);
    let (at, snapshot) = (world.api.source().now(), world.api.snapshot());
    let mut errand = loop {
        let job = world.looped.take(at).unwrap();
        let errand = world.looped.decide(&job, &snapshot, at).unwrap();
        match world.looped.name(&job) {
            "statefulset-controller" => break errand,
            _ => world.looped.finish(errand, Outcome::Done, &snapshot, at),
        }
    };
    let job = errand.job.clone();
    world.send(Verb::Delete, &Key::new("namespaces", "", "shop"), None, json!({}));
    let outcome = now(errand.carry_out(&world.api, "statefulset-controller"));
    assert!(matches!(&outcome, Outcome::Refused(status) if status.code == 403), "{outcome:?}");
    let timer = world.looped.next_timer();
    world.looped.finish(errand, outcome, &snapshot, at);
    assert_eq!(world.looped.next_timer(), timer);
    let why = world.looped.reasons().why(&snapshot, &job.key);
    assert!(why[0].sentence.contains("because it is being terminated"), "{why:?}");
    world.settle();
    assert!(!world.names("namespaces").contains(&"shop".to_owned()));
}

/// Endpoints are a kind that an update creates.
#[test]
fn what_is_gone_when_it_is_to_be_updated_is_not_created_again() {
    let mut world = World::new();
    world.create(
        "services",
        "default",
        json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    let endpoints = world.get("endpoints", "web");
    world.send(Verb::Delete, endpoints.key(), None, json!({}));
    for version in [json!(endpoints.metadata().resource_version), Value::Null] {
        let mut value = endpoints.value().clone();
        value["metadata"]["resourceVersion"] = version;
        let job = Job { controller: 0, key: endpoints.key().clone() };
        let mut errand = Errand::new(job, Plan::each([Write::Update(value)]));
        let outcome = now(errand.carry_out(&world.api, "endpoint-controller"));
        assert!(matches!(outcome, Outcome::Outrun), "{outcome:?}");
        assert!(!world.names("endpoints").contains(&"web".to_owned()));
    }
}

#[tokio::test]
async fn the_engine_runs_the_loop_until_it_is_told_to_stop() {
    let World { api, looped, events } = World::new();
    let mut watch = api.store().watch(api.snapshot().revision()).unwrap();
    let kinds = api.kinds();
    let body = Body::Object(json!({"metadata": {"name": "shop"}}));
    let key = Key::new("namespaces", "", "");
    let request = at(&kinds, controller("test"), Verb::Create, &key, None, body).unwrap();
    api.call(request).await.unwrap();
    let account_comes =
        async { while &*watch.next().await.unwrap().key.resource != "serviceaccounts" {} };
    crate::run(looped, api.clone(), events, account_comes).await;
    assert!(api.snapshot().find("serviceaccounts", "shop", "default").is_some());
}

fn panics(_: &Snapshot, key: &Key, _: &coracle_controllers::Context<'_>) -> Plan {
    assert!(*key.name != *"poison", "a bug about {key}");
    Plan::default()
}

/// The row of a controller that panics about one object.
fn with_a_bug() -> &'static [Controller] {
    let watches: &[(&str, Concerns)] = &[("configmaps", |event, _| vec![event.key.clone()])];
    let bug = Controller { name: "buggy-controller", serial: false, watches, decide: panics };
    Box::leak([CONTROLLERS, &[bug]].concat().into_boxed_slice())
}

#[test]
fn a_decision_that_panics_is_put_aside_and_all_others_go_on() {
    let mut world = World::new();
    world.looped = Loop::new(with_a_bug(), config(), world.events.clone());
    world.create("configmaps", "default", json!({"metadata": {"name": "poison"}}));
    world.create("namespaces", "", json!({"metadata": {"name": "shop"}}));
    let snapshot = world.api.snapshot();
    assert!(snapshot.find("serviceaccounts", "shop", "default").is_some(), "others go on");
    let key = Key::new("configmaps", "default", "poison");
    let why = world.looped.reasons().why(&snapshot, &key);
    assert!(why[0].sentence.contains("a bug about configmaps default/poison"), "{why:?}");
    let mut events = snapshot.list("events", Some("default"));
    assert!(events.any(|event| event.str_at("/reason") == Some("InternalError")));
    assert!(world.looped.next_timer().is_some() && world.looped.panicked().is_some());
}

/// Asks to be asked again at a time that has come.
fn spins(_: &Snapshot, _: &Key, context: &coracle_controllers::Context<'_>) -> Plan {
    Plan { look_again: Some(context.now), ..Plan::default() }
}

#[test]
fn a_decision_that_asks_for_a_time_that_has_come_waits_longer_each_time() {
    let watches: &[(&str, Concerns)] = &[("configmaps", |event, _| vec![event.key.clone()])];
    let row = Controller { name: "restless-controller", serial: false, watches, decide: spins };
    let mut world = World::new();
    let rows = Box::leak([CONTROLLERS, &[row]].concat().into_boxed_slice());
    world.looped = Loop::new(rows, config(), world.events.clone());
    world.create("configmaps", "default", json!({"metadata": {"name": "one"}}));
    assert!(world.looped.next_timer().is_some_and(|at| at > world.api.source().now()));
}

#[test]
fn a_parallel_set_over_its_quota_makes_the_pods_that_fit() {
    let mut world = World::new();
    world.add_node();
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}});
    world.create("resourcequotas", "default", quota);
    let mut set = web();
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set["spec"]["replicas"] = json!(5);
    world.create("statefulsets.apps", "default", set);
    assert_eq!(world.names("pods"), ["web-0", "web-1"]);
    let status = world.get("statefulsets.apps", "web").value()["status"].clone();
    assert_eq!((&status["observedGeneration"], &status["replicas"]), (&json!(1), &json!(2)));
    let snapshot = world.api.snapshot();
    let said: Vec<_> = snapshot
        .list("events", Some("default"))
        .filter(|event| event.str_at("/reason") == Some("FailedCreate"))
        .filter_map(|event| event.str_at("/message"))
        .collect();
    assert!(said.len() == 1 && said[0].contains("create Pod web-2"), "{said:?}");
}

#[test]
fn a_set_of_two_thousand_million_pods_is_made_in_bounded_steps() {
    let mut world = World::new();
    let mut set = web();
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set["spec"]["replicas"] = json!(i32::MAX);
    let key = Key::new("statefulsets.apps", "default", "");
    world.send(Verb::Create, &key, None, set);
    world.looped.catch_up(&world.api);
    let at = world.api.source().now();
    let snapshot = world.api.snapshot();
    while let Some(job) = world.looped.take(at) {
        let errand = world.looped.decide(&job, &snapshot, at).unwrap();
        assert!(errand.next_writes().count() <= 500, "{job:?}");
    }
}

#[test]
fn a_later_step_rests_on_what_an_earlier_one_left() {
    let mut world = World::new();
    world.create("configmaps", "default", json!({"metadata": {"name": "a"}}));
    let map = world.get("configmaps", "a");
    let step = |name: &str| {
        Write::Create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default"},
        }))
    };
    let mut changed = map.value().clone();
    changed["data"] = json!({"k": "v"});
    let steps = [Write::Update(changed), step("b"), step("c")];
    let plan = Plan { rests_on: vec![Arc::clone(&map)], ..Plan::each(steps) };
    let job = Job { controller: 0, key: map.key().clone() };
    let mut errand = Errand::new(job, plan).singly();
    assert!(now(errand.turn(&world.api, "test")).is_none(), "the map is written");
    assert!(now(errand.turn(&world.api, "test")).is_none(), "and still as the plan left it");
    assert!(world.names("configmaps").contains(&"b".to_owned()));
    world.update("configmaps", "a", |map| map["data"] = json!({"k": "other"}));
    assert!(matches!(now(errand.turn(&world.api, "test")), Some(Outcome::Outrun)));
    assert!(!world.names("configmaps").contains(&"c".to_owned()));
}

#[test]
fn the_longest_grace_period_there_is_stops_nothing() {
    let mut world = World::new();
    world.add_node();
    let mut set = web();
    set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(i64::MAX);
    world.create("statefulsets.apps", "default", set);
    world.ready("web-0");
    world.update("statefulsets.apps", "web", |set| set["spec"]["replicas"] = json!(0));
    world.ready("web-1");
    assert!(world.get("pods", "web-1").metadata().is_deleting());
    assert_eq!(world.looped.panicked(), None);
}

#[test]
fn a_pod_may_follow_its_namespace_at_once() {
    let world = World::new();
    let namespace = json!({"metadata": {"name": "shop"}});
    world.send(Verb::Create, &Key::new("namespaces", "", ""), None, namespace);
    let pod = json!({
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": "a:1"}]},
    });
    world.send(Verb::Create, &Key::new("pods", "shop", ""), None, pod);
    assert!(world.api.snapshot().find("pods", "shop", "a").is_some());
}
