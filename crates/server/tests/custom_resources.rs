//! Custom resources and their definitions, over a store in memory, as in-process callers see them.

#![allow(clippy::unwrap_used, reason = "in tests a failed unwrap is the assertion")]

mod definitions;

use std::sync::Arc;

use coracle_api::resources::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES};
use coracle_api::{Kinds, Status, Verb};
use coracle_server::{Answer, Api, Body, Cluster, Options, Reply, Request, System, User};
use coracle_store::Store;
use definitions::definition;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

/// An API, and requests to it in one line each; resources are named `RESOURCE.GROUP`.
struct World {
    api: Api,
}

impl World {
    async fn new() -> Self {
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
        let world = Self { api };
        world.create(NAMESPACES, json!({"metadata": {"name": "default"}})).await.unwrap();
        world
    }

    /// A request in the version in which objects are stored.
    fn request(&self, verb: Verb, resource: &str, name: &str) -> Request {
        let kind = Arc::clone(self.api.kinds().stored(resource).unwrap());
        Request {
            user: User::system("system:apiserver"),
            verb,
            namespace: if kind.is_namespaced() { "default".into() } else { String::new() },
            kind,
            name: name.into(),
            subresource: None,
            options: Options::default(),
            body: Body::Empty,
        }
    }

    async fn call(&self, request: Request) -> Result<Reply, Status> {
        self.api.call(request).await
    }

    async fn create(&self, resource: &str, body: Value) -> Result<Value, Status> {
        let request = self.request(Verb::Create, resource, "");
        self.call(Request { body: Body::Object(body), ..request }).await.map(value)
    }

    async fn update(&self, resource: &str, body: Value) -> Result<Value, Status> {
        let name = body["metadata"]["name"].as_str().unwrap();
        let request = self.request(Verb::Update, resource, name);
        self.call(Request { body: Body::Object(body), ..request }).await.map(value)
    }

    async fn get(&self, resource: &str, name: &str) -> Result<Value, Status> {
        self.call(self.request(Verb::Get, resource, name)).await.map(value)
    }

    async fn delete(&self, resource: &str, name: &str) -> Result<Value, Status> {
        self.call(self.request(Verb::Delete, resource, name)).await.map(value)
    }

    async fn define(&self, definition: Value) -> Result<Value, Status> {
        self.create(CUSTOM_RESOURCE_DEFINITIONS, definition).await
    }
}

fn value(reply: Reply) -> Value {
    match reply.answer {
        Answer::Object(object) => object.value().clone(),
        Answer::Value(value) => value,
        Answer::Success(deleted) => deleted.to_value(),
        Answer::List(list) => list.items.iter().map(|item| item.value().clone()).collect(),
    }
}

/// `bindings.rabbitmq.com` was taken for the core kind Binding, and so on: compared by plural alone.
#[tokio::test]
async fn a_kind_that_is_called_as_one_of_the_core_is_not_that_one() {
    let world = World::new().await;
    for (plural, kind) in [
        ("bindings", "Binding"),
        ("services", "Service"),
        ("nodes", "Node"),
        ("pods", "Pod"),
        ("namespaces", "Namespace"),
        ("certificatesigningrequests", "CertificateSigningRequest"),
        ("priorityclasses", "PriorityClass"),
        ("resourcequotas", "ResourceQuota"),
        ("persistentvolumes", "PersistentVolume"),
    ] {
        let resource = format!("{plural}.example.com");
        world.define(definition("example.com", plural, kind, &["v1"])).await.unwrap();
        let body = json!({
            "apiVersion": "example.com/v1",
            "kind": kind,
            "metadata": {"name": "one"},
            "spec": {"finalizers": ["x"], "globalDefault": true},
        });
        let made = world.create(&resource, body).await.unwrap();
        assert_eq!(made["spec"]["finalizers"], json!(["x"]), "{resource}");
        assert!(made["metadata"]["finalizers"].is_null(), "{resource}");
        assert_eq!(world.get(&resource, "one").await.unwrap(), made);
        let mut changed = made.clone();
        changed["spec"] = json!({"replicas": "many"});
        assert_eq!(world.update(&resource, changed).await.unwrap()["spec"]["replicas"], "many");
        let deleted = world.delete(&resource, "one").await.unwrap();
        assert_eq!(deleted["status"], "Success", "{resource}");
        assert_eq!(world.get(&resource, "one").await.unwrap_err().code, 404, "{resource}");
    }
}
