//! What a write asks of the outside: answered once, and kept while others are faster.

use std::sync::Mutex;

use async_trait::async_trait;
use coracle_api::resources::{CONFIG_MAPS, SECRETS, SERVICES};
use coracle_api::token_secrets;
use coracle_store::Snapshot;

use super::*;
use crate::pipeline::outside::Outside;
use crate::pipeline::write::Facts;
use crate::pipeline::write::calls::{Answers, Call, Given, Moment};
use crate::pipeline::write::prepare::{Next, prepare};

/// Answers calls, and does something meanwhile.
struct Slow {
    asked: Arc<Mutex<Vec<Call>>>,
    meanwhile: Box<dyn Fn() + Send + Sync>,
    answer: Result<Given, Status>,
}

#[async_trait]
impl Outside for Slow {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        self.asked.lock().unwrap().push(call.clone());
        (self.meanwhile)();
        self.answer.clone()
    }
}

fn token_of_bot(api: &Harness) -> Request {
    api.create("serviceaccounts", "default", json!({"metadata": {"name": "bot"}})).unwrap();
    let mut request = api.request(Verb::Create, "serviceaccounts", "default", "bot");
    request.subresource = Some(Subresource::Token);
    request.body = Body::Object(json!({"spec": {}}));
    request
}

/// Sets an outside that answers with `answer` after `meanwhile`; what it is asked.
fn slow(
    api: &Harness,
    answer: Result<Given, Status>,
    meanwhile: impl Fn() + Send + Sync + 'static,
) -> Arc<Mutex<Vec<Call>>> {
    let asked = Arc::default();
    let meanwhile = Box::new(meanwhile);
    api.api.set_outside(Arc::new(Slow { asked: Arc::clone(&asked), meanwhile, answer }));
    asked
}

#[test]
fn an_answer_is_used_again_when_others_were_faster() {
    let api = Harness::new();
    let request = token_of_bot(&api);
    let rival = Harness { api: api.api.clone() };
    // While the token is signed, somebody writes to the account on which it rests.
    let asked = slow(&api, Ok(Given::Token("signed".into())), move || {
        let mut account = rival.get("serviceaccounts", "bot").unwrap();
        account["metadata"]["labels"] = json!({"a": "b"});
        rival.update("serviceaccounts", account).unwrap();
    });
    let answer = object(api.call(request).unwrap());
    assert_eq!(answer["status"]["token"], "signed");
    let asked = asked.lock().unwrap();
    let [Call::Sign { claims }] = asked.as_slice() else { panic!("{asked:?}") };
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:default:bot");
}

#[test]
fn what_a_token_rests_on_must_still_be_there_when_it_is_given_away() {
    let api = Harness::new();
    let request = token_of_bot(&api);
    let rival = Harness { api: api.api.clone() };
    slow(&api, Ok(Given::Token("signed".into())), move || {
        rival.delete("serviceaccounts", "bot", json!({})).unwrap();
    });
    assert_eq!(api.call(request).unwrap_err().code, 404);
}

#[test]
fn a_call_that_fails_is_what_the_client_gets() {
    let api = Harness::new();
    let request = token_of_bot(&api);
    let asked = slow(&api, Err(Status::internal("the key is lost")), || ());
    let status = api.call(request).unwrap_err();
    assert_eq!((status.code, status.message.contains("the key is lost")), (500, true), "{status}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn nothing_is_asked_for_a_request_that_is_refused_anyway() {
    let api = Harness::new();
    let mut request = token_of_bot(&api);
    request.body = Body::Object(json!({"spec": {"expirationSeconds": 1}}));
    let asked = slow(&api, Ok(Given::Token("signed".into())), || ());
    assert_eq!(api.call(request).unwrap_err().code, 422);
    assert!(asked.lock().unwrap().is_empty());
}

/// What `request` stores on `snapshot`, as its answers of the outside stand.
fn stored(api: &Harness, snapshot: &Snapshot, request: &Request, answers: &Answers) -> Value {
    let kinds = api.api.kinds();
    let facts = Facts { kinds: &kinds, cluster: api.api.cluster() };
    let Next::Ready(prepared) = prepare(snapshot, request, answers, facts).unwrap() else {
        panic!("it asks the outside")
    };
    prepared.writes[0].object.as_ref().unwrap().value().clone()
}

#[test]
fn a_write_that_is_prepared_again_keeps_its_name_and_uid_unless_they_are_taken() {
    let api = Harness::new();
    let mut request = api.request(Verb::Create, CONFIG_MAPS, "default", "");
    request.body = Body::Object(json!({"metadata": {"generateName": "a-"}}));
    let answers = Answers::new(Moment { now: api.api.source().now(), seed: [200; 32] });
    let first = stored(&api, &api.api.snapshot(), &request, &answers);
    api.create(CONFIG_MAPS, "default", config("other")).unwrap();
    assert_eq!(stored(&api, &api.api.snapshot(), &request, &answers), first);
    let name = first["metadata"]["name"].as_str().unwrap();
    api.create(CONFIG_MAPS, "default", config(name)).unwrap();
    let again = stored(&api, &api.api.snapshot(), &request, &answers);
    assert_ne!(again["metadata"]["name"], first["metadata"]["name"]);
    assert_eq!(again["metadata"]["uid"], first["metadata"]["uid"]);
}

/// A name that is generated is there when addresses are given, and a Service that loses its choice to
/// another chooses again by the same draw.
#[test]
fn an_address_is_chosen_anew_when_another_was_faster() {
    let api = Harness::new();
    let mut request = api.request(Verb::Create, SERVICES, "default", "");
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    request.body = Body::Object(json!({"metadata": {"generateName": "a-"}, "spec": spec}));
    let answers = Answers::new(Moment { now: api.api.source().now(), seed: [200; 32] });
    let first = stored(&api, &api.api.snapshot(), &request, &answers);
    let rival = json!({"metadata": {"name": "rival"}, "spec": first["spec"]});
    api.create(SERVICES, "default", rival).unwrap();
    let again = stored(&api, &api.api.snapshot(), &request, &answers);
    assert_eq!(again["metadata"], first["metadata"]);
    assert_ne!(again["spec"]["clusterIP"], first["spec"]["clusterIP"]);
    assert_ne!(again["spec"]["ports"][0]["nodePort"], first["spec"]["ports"][0]["nodePort"]);
}

/// The token of a Secret names the Secret: a name that is generated is there when it is signed.
#[test]
fn a_secret_with_a_generated_name_gets_a_token_that_names_it() {
    let api = Harness::new();
    let account = api.create("serviceaccounts", "default", json!({"metadata": {"name": "bot"}}));
    let uid = account.unwrap()["metadata"]["uid"].clone();
    let asked = slow(&api, Ok(Given::Token("signed".into())), || ());
    let annotations = json!({token_secrets::ACCOUNT_NAME: "bot", token_secrets::ACCOUNT_UID: uid});
    let secret = json!({"type": token_secrets::TYPE,
        "metadata": {"generateName": "bot-", "annotations": annotations}});
    let mut request = api.request(Verb::Create, SECRETS, "default", "");
    request.body = Body::Object(secret);
    let made = object(api.call(request).unwrap());
    let asked = asked.lock().unwrap();
    let [Call::Sign { claims }] = asked.as_slice() else { panic!("{asked:?}") };
    let claims: Value = serde_json::from_str(claims).unwrap();
    let named = &claims["kubernetes.io/serviceaccount/secret.name"];
    assert_eq!(*named, made["metadata"]["name"]);
    assert!(named.as_str().is_some_and(|name| name.starts_with("bot-")), "{named}");
}

/// Two pods in two namespaces, of which one runs and was measured; and a node.
fn measured() -> Harness {
    let api = Harness::new();
    api.create("namespaces", "", json!({"metadata": {"name": "shop"}})).unwrap();
    api.create("nodes", "", json!({"metadata": {"name": "node-1", "labels": {"zone": "a"}}}))
        .unwrap();
    let mut usage = coracle_api::Usage::default();
    let at: Timestamp = "2026-01-01T00:00:07.5Z".parse().unwrap();
    let window = jiff::SignedDuration::from_millis(15_250);
    let amount = |nanocores| coracle_api::usage::Amount { nanocores, bytes: 20 << 20 };
    for (name, namespace) in [("web-0", "default"), ("cart-0", "shop"), ("young", "default")] {
        let container = json!({"name": "main", "image": "a:1"});
        let made = api.create("pods", namespace, json!({
            "metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]},
        }));
        let mut pod = made.unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        pod["status"]["phase"] = json!("Running");
        let mut request = api.request(Verb::Update, "pods", namespace, name);
        (request.subresource, request.body) = (Some(Subresource::Status), Body::Object(pod));
        api.call(request).unwrap();
        if name != "young" {
            let used = [("main", amount(123_456)), ("side", amount(2_000_000))];
            let used = used.map(|(name, amount)| (name.to_owned(), amount)).into();
            usage.pods.insert(uid, coracle_api::usage::Measured { at, window, used });
        }
    }
    let used = amount(500_000_000);
    usage.nodes.insert("node-1".into(), coracle_api::usage::Measured { at, window, used });
    slow(&api, Ok(Given::Usage(Arc::new(usage))), || ());
    api
}

fn metrics(api: &Harness, verb: Verb, plural: &str, namespace: &str, name: &str) -> Request {
    let kinds = api.api.kinds();
    let kind = Arc::clone(kinds.resource("metrics.k8s.io", "v1beta1", plural).unwrap());
    Request { kind, namespace: namespace.into(), ..api.request(verb, plural, namespace, name) }
}

#[test]
fn metrics_are_measured_for_whoever_asks() {
    let api = measured();
    let one = object(api.call(metrics(&api, Verb::Get, "pods", "default", "web-0")).unwrap());
    let usage = json!({"cpu": "123456n", "memory": "20Mi"});
    assert_eq!(one["containers"][0], json!({"name": "main", "usage": usage}));
    assert_eq!(
        (&one["window"], &one["timestamp"]),
        (&json!("15.25s"), &json!("2026-01-01T00:00:07Z"))
    );
    assert_eq!(one["metadata"]["labels"], json!({"app": "web-0"}));
    let list = |namespace: &str, options: Options| {
        let request = metrics(&api, Verb::List, "pods", namespace, "");
        let list = object(api.call(Request { options, ..request }).unwrap());
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(list("default", Options::default()), ["web-0"], "none of a pod that is young");
    assert_eq!(list("", Options::default()), ["web-0", "cart-0"]);
    let labels = Options { label_selector: "app=cart-0".into(), ..Options::default() };
    assert_eq!(list("", labels), ["cart-0"]);
    let fields = Options { field_selector: "metadata.namespace=shop".into(), ..Options::default() };
    assert_eq!(list("", fields), ["cart-0"]);
    let node = object(api.call(metrics(&api, Verb::Get, "nodes", "", "node-1")).unwrap());
    assert_eq!(node["usage"], json!({"cpu": "500m", "memory": "20Mi"}));
    assert_eq!(node["metadata"]["labels"]["zone"], "a");
}

#[test]
fn what_was_not_measured_is_refused_as_upstream_does() {
    let api = measured();
    let said = |plural: &str, namespace: &str, name: &str| {
        api.call(metrics(&api, Verb::Get, plural, namespace, name)).unwrap_err()
    };
    let pod = said("pods", "default", "young");
    assert_eq!(pod.message, "podmetrics.metrics.k8s.io \"default/young\" not found");
    assert_eq!((pod.code, pod.details.unwrap().kind.as_str()), (404, "podmetrics"));
    let node = said("nodes", "", "node-2");
    assert_eq!(node.message, "nodemetrics.metrics.k8s.io \"node-2\" not found");
}
