//! Custom resources and their definitions, over a store in memory, as in-process callers see them.

#![allow(clippy::unwrap_used, reason = "in tests a failed unwrap is the assertion")]

mod definitions;

use std::sync::Arc;

use coracle_api::resources::{
    CLUSTER_ROLES, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, STORAGE_CLASSES,
};
use coracle_api::{Kinds, Object, Status, Subresource, Verb};
use coracle_server::{Answer, Api, Body, Cluster, Options, Reply, Request, System, User};
use coracle_store::{Expect, Store, Transaction, Write};
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

/// A client that hangs up once its definition is committed left it Established and served 404: the
/// table was made by the future that it dropped.
#[tokio::test]
async fn what_is_committed_is_served_whoever_wrote_it() {
    let world = World::new().await;
    world.define(definition("example.com", "boats", "Boat", &["v1"])).await.unwrap();
    let written = world.api.snapshot();
    let boats = written.find(CUSTOM_RESOURCE_DEFINITIONS, "", "boats.example.com").unwrap();
    let other = World::new().await;
    let boats = Object::with_resource(CUSTOM_RESOURCE_DEFINITIONS, boats.value().clone()).unwrap();
    let write = Write::put(boats, Expect::Absent);
    let transaction = Transaction { writes: vec![write], requires: Vec::new() };
    other.api.store().commit(transaction).await.unwrap();
    other.create("boats.example.com", json!({"metadata": {"name": "a"}})).await.unwrap();
}

#[tokio::test]
async fn a_definition_takes_no_name_that_another_kind_has() {
    let world = World::new().await;
    world.define(definition("example.com", "boats", "Boat", &["v1"])).await.unwrap();
    let ships = world.define(definition("example.com", "ships", "Boat", &["v1"])).await.unwrap();
    assert_eq!(ships["status"]["conditions"][0]["reason"], "ListKindConflict");
    assert!(world.api.kinds().stored("ships.example.com").is_none());
    // Another group is another matter, but for one that is compiled in.
    let elsewhere = definition("example.org", "ships", "Boat", &["v1"]);
    world.define(elsewhere).await.unwrap();
    assert!(world.api.kinds().stored("ships.example.org").is_some());
    let mut classes = definition("storage.k8s.io", "storageclasses", "StorageClass", &["v1"]);
    classes["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved"});
    let classes = world.define(classes).await.unwrap();
    assert_eq!(classes["status"]["conditions"][1]["status"], "False");
    let kinds = world.api.kinds();
    assert!(kinds.stored(STORAGE_CLASSES).unwrap().types.is_none(), "the built-in one stays");
}

#[tokio::test]
async fn a_definition_keeps_its_scope() {
    let world = World::new().await;
    let mut boats =
        world.define(definition("example.com", "boats", "Boat", &["v1"])).await.unwrap();
    boats["spec"]["scope"] = "Cluster".into();
    let refused = world.update(CUSTOM_RESOURCE_DEFINITIONS, boats).await.unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.ends_with("spec.scope: Invalid value: \"Cluster\": field is immutable")
    );
}

/// Objects kept the `apiVersion` of the version in which they were once stored.
#[tokio::test]
async fn objects_are_shown_in_the_version_that_is_asked_for() {
    let world = World::new().await;
    let mut boats =
        world.define(definition("example.com", "boats", "Boat", &["v1", "v2"])).await.unwrap();
    world.create("boats.example.com", json!({"metadata": {"name": "a"}})).await.unwrap();
    for (index, is_stored) in [(0, false), (1, true)] {
        boats["spec"]["versions"][index]["storage"] = is_stored.into();
    }
    let moved = world.update(CUSTOM_RESOURCE_DEFINITIONS, boats).await.unwrap();
    assert_eq!(moved["status"]["storedVersions"], json!(["v1", "v2"]));
    let kinds = world.api.kinds();
    for version in ["v1", "v2"] {
        let kind = kinds.resource("example.com", version, "boats").unwrap();
        let stored = world.api.snapshot();
        let mut boat = stored.find("boats.example.com", "default", "a").unwrap().value().clone();
        kind.from_storage(&mut boat);
        assert_eq!(boat["apiVersion"], format!("example.com/{version}"));
    }
    let changed = json!({"metadata": {"name": "a", "resourceVersion":
        world.get("boats.example.com", "a").await.unwrap()["metadata"]["resourceVersion"]},
        "spec": {}});
    world.update("boats.example.com", changed).await.unwrap();
    let stored = world.api.snapshot();
    let boat = stored.find("boats.example.com", "default", "a").unwrap();
    assert_eq!(boat.value()["apiVersion"], "example.com/v2");
}

#[tokio::test]
async fn a_scale_reads_and_writes_where_its_definition_says() {
    let world = World::new().await;
    let mut boats = definition("example.com", "boats", "Boat", &["v1"]);
    boats["spec"]["versions"][0]["subresources"] = json!({"scale": {
        "specReplicasPath": ".spec.crew.size",
        "statusReplicasPath": ".status.aboard",
        "labelSelectorPath": ".status.who",
    }});
    world.define(boats).await.unwrap();
    let boat = json!({"metadata": {"name": "a"}, "spec": {"crew": {"size": 3}, "replicas": 9},
        "status": {"aboard": 2, "who": "app=boat"}});
    world.create("boats.example.com", boat).await.unwrap();
    let mut request = world.request(Verb::Get, "boats.example.com", "a");
    request.subresource = Some(Subresource::Scale);
    let mut scale = world.call(request.clone()).await.map(value).unwrap();
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=boat"}));
    scale["spec"]["replicas"] = 5.into();
    (request.verb, request.body) = (Verb::Update, Body::Object(scale));
    let scaled = world.call(request).await.map(value).unwrap();
    assert_eq!(scaled["spec"], json!({"replicas": 5}));
    let boat = world.get("boats.example.com", "a").await.unwrap();
    assert_eq!(boat["spec"], json!({"crew": {"size": 5}, "replicas": 9}));
}

/// A certificate may say any name: that of a controller gave its bearer every right.
#[tokio::test]
async fn a_name_is_no_right() {
    let world = World::new().await;
    let body = json!({"metadata": {"name": "all"}, "rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let mut request = world.request(Verb::Create, CLUSTER_ROLES, "");
    request.user = User { name: "system:controller:x".into(), ..User::default() };
    request.body = Body::Object(body);
    assert_eq!(world.call(request.clone()).await.unwrap_err().code, 403);
    request.user.is_engine = true;
    world.call(request).await.unwrap();
}
