//! Many writers at once, on a disk, where they share flushes: what each is given is its own, and
//! nobody is told of a conflict that they did not cause.

#![allow(clippy::unwrap_used, reason = "in tests a failed unwrap is the assertion")]

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::{Status, Verb};
use coracle_server::{Answer, Api, Body, Cluster, Kinds, Options, Reply, Request, System, User};
use coracle_store::Store;
use serde_json::{Value, json};

struct World {
    api: Api,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
        let world = Self { api, _folder: folder };
        world.create("namespaces", "", json!({"metadata": {"name": "default"}})).await.unwrap();
        world
    }

    async fn create(&self, plural: &str, namespace: &str, body: Value) -> Result<Value, Status> {
        let kinds = self.api.kinds();
        let request = Request {
            user: User { name: "test".into(), ..User::default() },
            verb: Verb::Create,
            kind: Arc::clone(kinds.iter().find(|kind| kind.plural == plural).unwrap()),
            namespace: namespace.into(),
            name: String::new(),
            subresource: None,
            options: Options::default(),
            body: Body::Object(body),
        };
        self.api.call(request).await.map(object)
    }

    /// What becomes of `count` creates at once, each of the `body` of its number.
    async fn at_once(
        self: &Arc<Self>,
        plural: &'static str,
        count: usize,
        body: fn(usize) -> Value,
    ) -> Vec<Result<Value, Status>> {
        let start = |number| {
            let world = Arc::clone(self);
            tokio::spawn(async move { world.create(plural, "default", body(number)).await })
        };
        let started: Vec<_> = (0..count).map(start).collect();
        let mut results = Vec::new();
        for task in started {
            results.push(task.await.unwrap());
        }
        results
    }
}

fn object(reply: Reply) -> Value {
    match reply.answer {
        Answer::Object(object) => object.value().clone(),
        _ => Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn services_made_at_once_have_addresses_and_ports_of_their_own() {
    let world = Arc::new(World::new().await);
    let service = |number| {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
        json!({"metadata": {"name": format!("s{number}")}, "spec": spec})
    };
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for made in world.at_once("services", 64, service).await {
        let spec = made.unwrap()["spec"].clone();
        assert!(addresses.insert(spec["clusterIP"].to_string()), "{spec}");
        assert!(ports.insert(spec["ports"][0]["nodePort"].to_string()), "{spec}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_that_many_ask_for_goes_to_one_and_the_others_are_told_why() {
    let world = Arc::new(World::new().await);
    let service = |number| {
        let spec = json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]});
        json!({"metadata": {"name": format!("s{number}")}, "spec": spec})
    };
    let results = world.at_once("services", 32, service).await;
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 31);
    for status in refused {
        assert_eq!(status.code, 422, "{status}");
        assert!(status.message.contains("provided IP is already allocated"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_lasts_for_as_many_as_fit_whoever_comes_first() {
    let world = Arc::new(World::new().await);
    let hard = json!({"configmaps": "40", "resourcequotas": "1"});
    let quota = |name: &str| json!({"metadata": {"name": name}, "spec": {"hard": hard}});
    world.create("resourcequotas", "default", quota("q")).await.unwrap();
    let config = |number| json!({"metadata": {"name": format!("c{number}")}});
    let results = world.at_once("configmaps", 64, config).await;
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 24);
    for status in refused {
        assert_eq!(status.code, 403, "{status}");
        assert!(status.message.contains("used: configmaps=40, limited: configmaps=40"), "{status}");
    }
    // The quota counts itself.
    let status = world.create("resourcequotas", "default", quota("another")).await.unwrap_err();
    assert!(status.message.contains("used: resourcequotas=1"), "{status}");
}

#[tokio::test]
async fn a_quota_asks_every_container_or_the_pod_for_them() {
    let world = World::new().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1"}}});
    world.create("resourcequotas", "default", quota).await.unwrap();
    let pod = |name: &str, init: Value, whole: Value| {
        let asks = json!({"requests": {"cpu": "100m"}});
        let container = |name: &str, resources: &Value| json!({"name": name, "image": "i", "resources": resources});
        json!({"metadata": {"name": name}, "spec": {
            "containers": [container("c", &asks)], "initContainers": [container("i", &init)],
            "resources": whole,
        }})
    };
    let none = json!({});
    let body = pod("a", none.clone(), none.clone());
    let status = world.create("pods", "default", body).await.unwrap_err();
    assert!(status.message.contains("must specify requests.cpu for: i"), "{status}");
    let asks = json!({"requests": {"cpu": "200m"}});
    world.create("pods", "default", pod("b", asks, none.clone())).await.unwrap();
    let whole = json!({"requests": {"cpu": "800m"}});
    world.create("pods", "default", pod("c", none.clone(), whole.clone())).await.unwrap();
    let body = pod("d", none, whole);
    let status = world.create("pods", "default", body).await.unwrap_err();
    assert!(status.message.contains("used: requests.cpu=1, limited: requests.cpu=1"), "{status}");
}
