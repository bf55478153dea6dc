//! The pipeline over a store in memory, as in-process callers see it.

mod audited;
mod conversion;
mod evictions;
mod identities;
mod mutations;
mod outside;
mod plans;
mod policies;
mod reading;
mod refusals;
mod rules;
mod services;
mod shown;
mod webhooks;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coracle_api::{Status, Subresource, Timestamp, Verb};
use coracle_store::{Expect, Store};
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::pipeline::request::FieldValidation;
use crate::{Answer, Api, Body, Cluster, Content, Kinds, Options, Reply, Request, Source, User};

/// A clock that stands still, and seeds that count.
struct Still(std::sync::atomic::AtomicU8);

impl Source for Still {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn seed(&self) -> [u8; 32] {
        [self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 32]
    }
}

/// An API, and requests to it in one line each.
struct Harness {
    api: Api,
}

impl Harness {
    fn new() -> Self {
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(Still(0.into())));
        let harness = Self { api };
        let namespace = json!({"metadata": {"name": "default"}});
        harness.create("namespaces", "", namespace).unwrap();
        harness
    }

    fn request(&self, verb: Verb, plural: &str, namespace: &str, name: &str) -> Request {
        let kinds = self.api.kinds();
        let kind = Arc::clone(kinds.iter().find(|kind| kind.plural == plural).unwrap());
        Request {
            user: User { name: "test".into(), ..User::default() },
            verb,
            namespace: if kind.is_namespaced() { namespace.into() } else { String::new() },
            kind,
            name: name.into(),
            subresource: None,
            options: Options::default(),
            body: Body::Empty,
        }
    }

    fn call(&self, request: Request) -> Result<Reply, Status> {
        now(self.api.call(request))
    }

    fn create(&self, plural: &str, namespace: &str, body: Value) -> Result<Value, Status> {
        let request = self.request(Verb::Create, plural, namespace, "");
        self.call(Request { body: Body::Object(body), ..request }).map(object)
    }

    fn update(&self, plural: &str, body: Value) -> Result<Value, Status> {
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        let request = self.request(Verb::Update, plural, "default", &name);
        self.call(Request { body: Body::Object(body), ..request }).map(object)
    }

    fn get(&self, plural: &str, name: &str) -> Result<Value, Status> {
        self.call(self.request(Verb::Get, plural, "default", name)).map(object)
    }

    fn delete(&self, plural: &str, name: &str, options: Value) -> Result<Reply, Status> {
        let request = self.request(Verb::Delete, plural, "default", name);
        self.call(Request { body: Body::Object(options), ..request })
    }

    fn list(&self, plural: &str, options: Options) -> Result<Reply, Status> {
        let request = self.request(Verb::List, plural, "default", "");
        self.call(Request { options, ..request })
    }
}

/// The store is inline: whatever is awaited is ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store did not answer at once"),
    }
}

fn object(reply: Reply) -> Value {
    match reply.answer {
        Answer::Object(object) => object.value().clone(),
        Answer::Value(value) => value,
        Answer::Success(deleted) => deleted.to_value(),
        Answer::List(list) => list.items.iter().map(|item| item.value().clone()).collect(),
    }
}

fn config(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

fn stateful_set(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 1,
        "serviceName": name,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
        },
    }})
}

/// A certificate request in PEM, in base64.
fn certificate_request() -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    base64::engine::general_purpose::STANDARD.encode(request.pem().unwrap())
}

#[test]
fn an_object_is_created_read_changed_and_deleted() {
    let api = Harness::new();
    let made = api.create("configmaps", "default", config("a")).unwrap();
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(api.get("configmaps", "a").unwrap(), made);
    let mut changed = made.clone();
    changed["data"]["a"] = "2".into();
    let stored = api.update("configmaps", changed.clone()).unwrap();
    assert_ne!(stored["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let stale = api.update("configmaps", changed).unwrap_err();
    assert_eq!((stale.code, &*stale.reason), (409, "Conflict"));
    let gone = object(api.delete("configmaps", "a", json!({})).unwrap());
    assert_eq!(gone["details"]["kind"], "configmaps");
    let missing = api.get("configmaps", "a").unwrap_err();
    assert_eq!(missing.message, "configmaps \"a\" not found");
}

#[test]
fn a_change_of_nothing_keeps_the_revision() {
    let api = Harness::new();
    let made = api.create("statefulsets", "default", stateful_set("a")).unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(api.update("statefulsets", made.clone()).unwrap(), made);
    let mut relabeled = made.clone();
    relabeled["metadata"]["labels"] = json!({"x": "y"});
    let relabeled = api.update("statefulsets", relabeled).unwrap();
    assert_eq!(relabeled["metadata"]["generation"], 1);
    let mut respecified = relabeled;
    respecified["spec"]["replicas"] = 2.into();
    assert_eq!(api.update("statefulsets", respecified).unwrap()["metadata"]["generation"], 2);
}

#[test]
fn spec_and_status_are_written_apart() {
    let api = Harness::new();
    let mut body = stateful_set("a");
    body["status"] = json!({"replicas": 9});
    let made = api.create("statefulsets", "default", body).unwrap();
    assert!(made.get("status").is_none_or(|status| status["replicas"] != 9), "{made}");
    let mut changed = made.clone();
    changed["spec"]["replicas"] = 5.into();
    changed["status"]["replicas"] = 1.into();
    let mut request = api.request(Verb::Update, "statefulsets", "default", "a");
    request.subresource = Some(Subresource::Status);
    request.body = Body::Object(changed);
    let stored = object(api.call(request).unwrap());
    assert_eq!((&stored["spec"], &stored["status"]["replicas"]), (&made["spec"], &json!(1)));
    let mut unchanged = stored.clone();
    unchanged["status"]["replicas"] = 7.into();
    assert_eq!(api.update("statefulsets", unchanged).unwrap(), stored);
}

#[test]
fn a_scale_changes_the_number_of_replicas_alone() {
    let api = Harness::new();
    api.create("statefulsets", "default", stateful_set("a")).unwrap();
    let mut request = api.request(Verb::Get, "statefulsets", "default", "a");
    request.subresource = Some(Subresource::Scale);
    let mut scale = object(api.call(request.clone()).unwrap());
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(1), &json!("app=a"))
    );
    scale["spec"]["replicas"] = 3.into();
    request.verb = Verb::Update;
    request.body = Body::Object(scale.clone());
    let scaled = object(api.call(request.clone()).unwrap());
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(api.get("statefulsets", "a").unwrap()["metadata"]["generation"], 2);
    scale["metadata"]["resourceVersion"] = Value::Null;
    scale["spec"]["replicas"] = json!(-1);
    request.body = Body::Object(scale);
    let refused = api.call(request).unwrap_err();
    assert!(
        refused.message.starts_with("Scale.autoscaling \"a\" is invalid: spec.replicas"),
        "{}",
        refused.message
    );
}

#[test]
fn who_applies_a_scale_owns_the_number_of_replicas() {
    let api = Harness::new();
    let apply = |subresource: &str, manager: &str, configuration: &Value, force| {
        let bytes = configuration.to_string().into_bytes().into();
        let mut request = api.request(Verb::Patch, "statefulsets", "default", "a");
        request.subresource = Subresource::parse(subresource);
        request.body = Body::Encoded(Content::ApplyPatch, bytes);
        request.options.field_manager = manager.into();
        request.options.force = force;
        api.call(request).map(object)
    };
    let mut set = stateful_set("a");
    set["apiVersion"] = "apps/v1".into();
    set["kind"] = "StatefulSet".into();
    apply("", "chart", &set, false).unwrap();
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "a"}, "spec": {"replicas": 3}});
    let conflict = "conflict with \"chart\": .spec.replicas";
    let refused = apply("scale", "scaler", &scale, false).unwrap_err();
    assert!(refused.message.ends_with(conflict), "{}", refused.message);
    apply("scale", "scaler", &scale, true).unwrap();
    let refused = apply("", "chart", &set, false).unwrap_err();
    assert!(refused.message.contains(".spec.replicas"), "{}", refused.message);
    let entries = api.get("statefulsets", "a").unwrap()["metadata"]["managedFields"].clone();
    let of_scale = entries.as_array().unwrap().iter().find(|entry| entry["subresource"] == "scale");
    let of_scale = of_scale.unwrap();
    assert_eq!((&of_scale["manager"], &of_scale["operation"]), (&json!("scaler"), &json!("Apply")));
    assert_eq!(of_scale["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn a_missing_namespace_and_a_taken_name_are_refused() {
    let api = Harness::new();
    let missing = api.create("configmaps", "nowhere", config("a")).unwrap_err();
    assert_eq!(missing.message, "namespaces \"nowhere\" not found");
    api.create("configmaps", "default", config("a")).unwrap();
    let taken = api.create("configmaps", "default", config("a")).unwrap_err();
    assert_eq!((taken.code, &*taken.reason), (409, "AlreadyExists"));
    let unnamed = api.create("configmaps", "default", json!({})).unwrap_err();
    assert!(unnamed.message.contains("name or generateName is required"), "{}", unnamed.message);
}

#[test]
fn a_generated_name_keeps_its_prefix() {
    let api = Harness::new();
    let body = json!({"metadata": {"generateName": "web-"}});
    let made = api.create("configmaps", "default", body).unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
}

#[test]
fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let api = Harness::new();
    let mut body = config("a");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.create("configmaps", "default", body).unwrap();
    let mut held = object(api.delete("configmaps", "a", json!({})).unwrap());
    assert_eq!(held["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    held["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    let refused = api.update("configmaps", held.clone()).unwrap_err();
    assert_eq!(refused.code, 422);
    held["metadata"]["finalizers"] = json!([]);
    api.update("configmaps", held).unwrap();
    assert_eq!(api.get("configmaps", "a").unwrap_err().code, 404);
    let mut body = config("b");
    body["metadata"]["finalizers"] = json!(["orphan", "mine"]);
    let refused = api.create("configmaps", "default", body).unwrap_err();
    let why = "metadata.finalizers[1]: Invalid value: \"mine\": name is neither a standard \
               finalizer name nor is it fully qualified";
    assert!(refused.message.ends_with(why), "{}", refused.message);
}

#[test]
fn propagation_becomes_a_finalizer_for_the_garbage_collector() {
    let api = Harness::new();
    api.create("configmaps", "default", config("a")).unwrap();
    let options = json!({"propagationPolicy": "Foreground"});
    let held = object(api.delete("configmaps", "a", options).unwrap());
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let labels = json!({"a": "b"});
    let template = json!({"metadata": {"labels": labels}, "spec": {
        "containers": [{"name": "a", "image": "i"}]}});
    let body =
        json!({"metadata": {"name": "a"}, "spec": {"selector": labels, "template": template}});
    api.create("replicationcontrollers", "default", body).unwrap();
    let held = object(api.delete("replicationcontrollers", "a", json!({})).unwrap());
    assert_eq!(held["metadata"]["finalizers"], json!(["orphan"]));
    let options = json!({"propagationPolicy": "Background"});
    api.delete("replicationcontrollers", "a", options).unwrap();
    assert_eq!(api.get("replicationcontrollers", "a").unwrap_err().code, 404);
    let uid = json!({"preconditions": {"uid": "other"}});
    assert_eq!(api.delete("configmaps", "a", uid).unwrap_err().code, 409);
}

#[test]
fn what_is_applied_need_not_say_what_the_object_has() {
    let api = Harness::new();
    let kind = api.api.kinds().resource("events.k8s.io", "v1", "events").cloned().unwrap();
    let request = |verb, body| Request {
        kind: Arc::clone(&kind),
        body,
        ..api.request(verb, "events", "default", "a")
    };
    let event = json!({"metadata": {"name": "a"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"namespace": "default"}, "reportingController": "c", "type": "Normal",
        "reportingInstance": "i", "action": "Do", "reason": "Why"});
    api.call(request(Verb::Create, Body::Object(event))).unwrap();
    let apply = |configuration: Value| {
        let bytes = configuration.to_string().into_bytes().into();
        let mut request = request(Verb::Patch, Body::Encoded(Content::ApplyPatch, bytes));
        request.options.field_manager = "test".into();
        api.call(request)
    };
    let labels = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "a", "labels": {"x": "y"}}});
    assert_eq!(object(apply(labels.clone()).unwrap())["metadata"]["labels"]["x"], "y");
    api.delete("events", "a", json!({})).unwrap();
    let refused = apply(labels.clone()).unwrap_err();
    assert!(refused.message.contains("eventTime: Required value"), "{}", refused.message);
    let mut that = labels;
    that["eventTime"] = "2026-01-01T00:00:00.000000Z".into();
    that["metadata"]["uid"] = "1".into();
    let refused = apply(that).unwrap_err();
    assert!(refused.message.contains("uid mismatch"), "{}", refused.message);
    assert_eq!(refused.code, 409);
}

#[test]
fn what_a_json_patch_says_beside_its_operations_is_told() {
    let api = Harness::new();
    api.create("configmaps", "default", config("a")).unwrap();
    let patch = |strictness: FieldValidation| {
        let bytes = br#"[{"op": "add", "path": "/data/b", "value": "1", "value": "2", "to": "c"}]"#;
        let body = Body::Encoded(Content::JsonPatch, bytes.as_slice().into());
        let mut request = api.request(Verb::Patch, "configmaps", "default", "a");
        request.options.field_validation = strictness;
        api.call(Request { body, ..request })
    };
    let odd = ["json patch duplicate field \"[0].value\"", "json patch unknown field \"[0].to\""];
    assert_eq!(patch(FieldValidation::Warn).unwrap().warnings, odd);
    let refused = patch(FieldValidation::Strict).unwrap_err();
    assert!(refused.code == 422 && refused.message.ends_with(&odd.join(", ")), "{refused:?}");
}

#[test]
fn odd_fields_are_told_as_upstreams_readers_come_upon_them() {
    let api = Harness::new();
    let send = |verb: Verb, content: Content, text: &str, strictness: FieldValidation| {
        let mut request = api.request(verb, "configmaps", "default", "");
        request.name = if verb == Verb::Patch { "a".into() } else { String::new() };
        request.options.field_validation = strictness;
        request.options.field_manager = "test".into();
        api.call(Request {
            body: Body::Encoded(content, text.as_bytes().to_vec().into()),
            ..request
        })
    };
    let strictly = |verb, content, text: &str| {
        send(verb, content, text, FieldValidation::Strict).unwrap_err().message
    };
    let json =
        r#"{"spec": 1, "data": {"b": "1", "b": "2"}, "aspect": 1, "metadata": {"name": "a"}}"#;
    let message = strictly(Verb::Create, Content::Json, json);
    let odd = "unknown field \"spec\", duplicate field \"data.b\", unknown field \"aspect\"";
    assert!(message.ends_with(&format!("strict decoding error: {odd}")), "{message}");
    let yaml = "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  b: v\n  b: w\n";
    let twice = "line 7: key \"b\" already set in map";
    let unmarshal = format!("yaml: unmarshal errors:\n  {twice}");
    let message = strictly(Verb::Create, Content::Yaml, &format!("{yaml}more: 1\n"));
    let said = format!("strict decoding error: {unmarshal}, unknown field \"more\"");
    assert!(message.ends_with(&said), "{message}");
    assert_eq!(
        strictly(Verb::Patch, Content::ApplyPatch, yaml),
        format!("error strict decoding YAML: error converting YAML to JSON: {unmarshal}")
    );
    let applied = send(Verb::Patch, Content::ApplyPatch, yaml, FieldValidation::Warn).unwrap();
    assert_eq!(applied.warnings, [twice]);
}

#[test]
fn a_binding_binds_the_pod_of_its_name() {
    let api = Harness::new();
    let pod =
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    api.create("pods", "default", pod).unwrap();
    let binding =
        |name: &str| json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    api.create("bindings", "default", binding("a")).unwrap();
    assert_eq!(api.get("pods", "a").unwrap()["spec"]["nodeName"], "n");
    let missing = api.create("bindings", "default", binding("b")).unwrap_err();
    assert_eq!(missing.message, "pods \"b\" not found");
}

#[test]
fn a_dry_run_answers_and_stores_nothing() {
    let api = Harness::new();
    let mut request = api.request(Verb::Create, "configmaps", "default", "");
    request.body = Body::Object(config("a"));
    request.options.dry_run = true;
    assert_eq!(api.call(request).unwrap().code, 201);
    assert_eq!(api.get("configmaps", "a").unwrap_err().code, 404);
}

#[test]
fn a_plan_is_written_together_or_not_at_all() {
    let api = Harness::new();
    let create = |name: &str| Request {
        body: Body::Object(config(name)),
        ..api.request(Verb::Create, "configmaps", "default", "")
    };
    now(api.api.transact(vec![create("a"), create("b")], vec![])).unwrap();
    now(api.api.transact(vec![create("c"), create("a")], vec![])).unwrap_err();
    assert_eq!(api.get("configmaps", "c").unwrap_err().code, 404);
    let first = api.get("configmaps", "a").unwrap();
    let key = coracle_api::Key::new("configmaps", "default", "a");
    let stale = vec![(key, Expect::Revision(1))];
    let refused = now(api.api.transact(vec![create("d")], stale)).unwrap_err();
    assert_eq!(&*refused.reason, "Conflict");
    // A later write of a plan sees what an earlier one leaves.
    let mut change = first;
    change["data"]["a"] = "2".into();
    let update = Request {
        body: Body::Object(change),
        ..api.request(Verb::Update, "configmaps", "default", "a")
    };
    let delete = api.request(Verb::Delete, "configmaps", "default", "a");
    now(api.api.transact(vec![update, delete], vec![])).unwrap();
    assert_eq!(api.get("configmaps", "a").unwrap_err().code, 404);
}

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {"length": {"type": "integer"}, "color": {"type": "string", "default": "red"}},
    }}});
    json!({"metadata": {"name": "boats.example.com"}, "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
    }})
}

#[test]
fn a_custom_resource_is_served_until_its_definition_is_gone() {
    let api = Harness::new();
    api.create("customresourcedefinitions", "", definition()).unwrap();
    let boat = json!({"metadata": {"name": "a"}, "spec": {"length": 3}});
    let made = api.create("boats", "default", boat).unwrap();
    assert_eq!(made["spec"], json!({"length": 3, "color": "red"}));
    let wrong = json!({"metadata": {"name": "b"}, "spec": {"length": "x"}});
    assert_eq!(api.create("boats", "default", wrong).unwrap_err().code, 422);
    let mut delete =
        api.request(Verb::Delete, "customresourcedefinitions", "", "boats.example.com");
    delete.body = Body::Object(json!({}));
    let mut going = object(api.call(delete.clone()).unwrap());
    assert_eq!(object(api.call(delete).unwrap()), going, "again says nothing new");
    assert_eq!(going["status"]["conditions"][2]["reason"], "InstanceDeletionPending");
    let late = api.create("boats", "default", json!({"metadata": {"name": "b"}})).unwrap_err();
    assert_eq!(
        late.message,
        "boats.example.com \"b\" is forbidden: create not allowed while custom resource definition \
         is terminating"
    );
    api.delete("boats", "a", json!({})).unwrap();
    assert!(api.api.kinds().iter().any(|kind| kind.plural == "boats"));
    going["metadata"]["finalizers"] = json!([]);
    api.update("customresourcedefinitions", going).unwrap();
    assert!(api.api.kinds().iter().all(|kind| kind.plural != "boats"));
}

#[test]
fn a_quota_counts_what_is_there_and_refuses_what_is_too_much() {
    let api = Harness::new();
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
    api.create("resourcequotas", "default", quota).unwrap();
    api.create("configmaps", "default", config("a")).unwrap();
    let refused = api.create("configmaps", "default", config("b")).unwrap_err();
    assert_eq!(
        refused.message,
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: \
         configmaps=1, limited: configmaps=1"
    );
    api.delete("configmaps", "a", json!({})).unwrap();
    api.create("configmaps", "default", config("b")).unwrap();
}

#[test]
fn a_deletion_can_be_tried() {
    let api = Harness::new();
    api.create("configmaps", "default", config("a")).unwrap();
    api.create(
        "services",
        "default",
        json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}}),
    )
    .unwrap();
    for plural in ["configmaps", "services"] {
        api.delete(plural, "a", json!({"dryRun": ["All"]})).unwrap();
        api.get(plural, "a").unwrap();
    }
}

#[test]
fn a_body_of_a_wrong_shape_is_refused_wherever_it_is_sent() {
    let api = Harness::new();
    api.create("statefulsets", "default", stateful_set("a")).unwrap();
    let bodies = [json!([]), json!("x"), json!({"spec": "x"}), json!({"spec": []})];
    for body in bodies {
        for (verb, plural, name, subresource) in [
            (Verb::Update, "statefulsets", "a", "scale"),
            (Verb::Update, "statefulsets", "a", "status"),
            (Verb::Create, "statefulsets", "", ""),
            (Verb::Create, "serviceaccounts", "default", "token"),
            (Verb::Create, "subjectaccessreviews", "", ""),
            (Verb::Create, "customresourcedefinitions", "", ""),
        ] {
            let mut request = api.request(verb, plural, "default", name);
            request.subresource = Subresource::parse(subresource);
            request.body = Body::Object(body.clone());
            let status = api.call(request).unwrap_err();
            assert!((400..500).contains(&status.code), "{plural}/{subresource} {body}: {status}");
        }
    }
}

/// A pod as a client writes it, with `more` in its spec.
fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "main", "image": "example.com/main:1"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Conformance asks for it: a pod that runs as it was written is of generation 1.
#[test]
fn a_choice_of_node_is_no_new_generation() {
    let api = Harness::new();
    api.create("pods", "default", pod("a", json!({}))).unwrap();
    let request = api.request(Verb::Create, "pods", "default", "a");
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    let body = Body::Object(binding);
    api.call(Request { subresource: Some(Subresource::Binding), body, ..request }).unwrap();
    let bound = api.get("pods", "a").unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["metadata"]["generation"], 1);
}

#[test]
fn the_clusters_own_priority_classes_stay() {
    let api = Harness::new();
    for (name, value) in [("system-node-critical", 2_000_001_000), ("own", 1)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        api.create("priorityclasses", "", class).unwrap();
    }
    let delete = |name| api.call(api.request(Verb::Delete, "priorityclasses", "", name));
    assert_eq!(
        delete("system-node-critical").unwrap_err().message,
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a \
         system priority class and cannot be deleted"
    );
    assert!(delete("own").is_ok());
}
