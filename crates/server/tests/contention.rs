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
            subresource: String::new(),
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
