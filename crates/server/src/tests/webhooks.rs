//! Admission webhooks: who is asked about which write, and what becomes of the answers.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::{
    CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES, PODS, SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};

use super::*;
use crate::pipeline::outside::Outside;
use crate::pipeline::write::calls::{Call, Given};

type Answers = Box<dyn Fn(&str, &Value) -> Result<Value, String> + Send + Sync>;

/// Webhooks that answer by their path: the `response` but for its uid, or why there is none.
struct Hooks {
    /// Path and `request` of each review.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    answers: Answers,
}

#[async_trait]
impl Outside for Hooks {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        let Call::Post(post) = call else { return Ok(Given::Token("token".into())) };
        let path = post.url.split('/').nth(3).unwrap().split('?').next().unwrap();
        let review: Value = serde_json::from_str(&post.body).unwrap();
        assert_eq!(review["kind"], "AdmissionReview");
        let request = review["request"].clone();
        self.asked.lock().unwrap().push((path.to_owned(), request.clone()));
        Ok(Given::Posted((self.answers)(path, &request).map(|mut response| {
            response["uid"] = request["uid"].clone();
            let version = &review["apiVersion"];
            json!({"kind": "AdmissionReview", "apiVersion": version, "response": response})
                .to_string()
        })))
    }
}

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn hooked(
    answers: impl Fn(&str, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (Harness, Asked) {
    let (api, asked) = (Harness::new(), Asked::default());
    let answers = Box::new(answers);
    api.api.set_outside(Arc::new(Hooks { asked: Arc::clone(&asked), answers }));
    (api, asked)
}

/// A webhook that wants to see all writes to `resources`, with `more` said of it.
fn hook(name: &str, resources: &[&str], more: Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"service": {"namespace": "hooks", "name": "hook", "path": format!("/{name}")}},
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
            "resources": resources}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        hook[field] = value.clone();
    }
    hook
}

fn configure(api: &Harness, resource: &str, name: &str, hooks: &[Value]) {
    let plural = resource.split('.').next().unwrap();
    api.create(plural, "", json!({"metadata": {"name": name}, "webhooks": hooks})).unwrap();
}

fn patch(operations: Value) -> Value {
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

fn paths(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().drain(..).map(|(path, _)| path).collect()
}

fn one(asked: &Asked) -> Value {
    let mut asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.pop().unwrap().1
}

#[test]
fn a_review_tells_what_is_done_to_what_and_by_whom() {
    let (api, asked) = hooked(|_, _| Ok(json!({"allowed": true})));
    let all = hook("all", &["*/*"], json!({}));
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "one", &[all]);
    api.create(CONFIG_MAPS, "default", config("a")).unwrap();
    let created = one(&asked);
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    for (field, wanted) in [
        ("kind", kind.clone()),
        ("requestKind", kind),
        ("resource", resource.clone()),
        ("requestResource", resource),
        ("name", json!("a")),
        ("namespace", json!("default")),
        ("operation", json!("CREATE")),
        ("userInfo", json!({"username": "test"})),
        ("oldObject", Value::Null),
        ("dryRun", json!(false)),
        ("options", json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"})),
    ] {
        assert_eq!(created[field], wanted, "{field}");
    }
    assert!(created.get("subResource").is_none());
    assert_eq!(created["object"]["kind"], "ConfigMap");
    let uid = &created["object"]["metadata"]["uid"];
    assert!(uid.is_string() && *uid != created["uid"], "it is stored under {uid}");

    let mut changed = config("a");
    changed["data"]["a"] = json!("2");
    api.update(CONFIG_MAPS, changed).unwrap();
    let updated = one(&asked);
    assert_eq!(updated["operation"], "UPDATE");
    assert_eq!(
        (&updated["object"]["data"]["a"], &updated["oldObject"]["data"]["a"]),
        (&json!("2"), &json!("1"))
    );
    assert_eq!(updated["options"]["kind"], "UpdateOptions");

    api.delete(CONFIG_MAPS, "a", json!({"propagationPolicy": "Background"})).unwrap();
    let deleted = one(&asked);
    assert_eq!((&deleted["operation"], &deleted["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(deleted["oldObject"]["data"]["a"], "2");
    assert_eq!(deleted["options"]["propagationPolicy"], "Background");
}

#[test]
fn parts_of_objects_are_shown_as_what_they_are() {
    let (api, asked) = hooked(|_, request| {
        let doubled = json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]);
        Ok(if request["subResource"] == "scale" {
            patch(doubled)
        } else {
            json!({"allowed": true})
        })
    });
    let spec = stateful_set("web")["spec"].clone();
    api.create("deployments", "default", json!({"metadata": {"name": "web"}, "spec": spec}))
        .unwrap();
    let container = json!({"name": "main", "image": "a:1"});
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [container]}});
    api.create(PODS, "default", pod).unwrap();
    let parts = ["pods/*", "deployments/scale", "serviceaccounts/token"];
    configure(&api, MUTATING_WEBHOOK_CONFIGURATIONS, "one", &[hook("all", &parts, json!({}))]);

    let mut scale = api.request(Verb::Update, "deployments", "default", "web");
    scale.subresource = Some(Subresource::Scale);
    scale.body = Body::Object(json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": "web"}, "spec": {"replicas": 2}}));
    assert_eq!(object(api.call(scale).unwrap())["spec"]["replicas"], 4);
    let asked_for = one(&asked);
    assert_eq!(asked_for["kind"]["kind"], "Scale");
    assert_eq!(asked_for["requestResource"]["resource"], *DEPLOYMENTS.split('.').next().unwrap());
    assert_eq!(
        (&asked_for["object"]["spec"]["replicas"], &asked_for["oldObject"]["spec"]["replicas"]),
        (&json!(2), &json!(1))
    );

    let mut binding = api.request(Verb::Create, PODS, "default", "web");
    binding.subresource = Some(Subresource::Binding);
    binding.body = Body::Object(json!({"metadata": {"name": "web"}, "target": {"name": "node"}}));
    api.call(binding).unwrap();
    let bound = one(&asked);
    assert_eq!((&bound["operation"], &bound["subResource"]), (&json!("CREATE"), &json!("binding")));
    assert_eq!(bound["kind"], json!({"group": "", "version": "v1", "kind": "Binding"}));
    assert_eq!(
        (&bound["object"]["target"]["name"], &bound["name"]),
        (&json!("node"), &json!("web"))
    );

    let mut exec = api.request(Verb::Get, PODS, "default", "web");
    exec.subresource = Some(Subresource::Exec);
    exec.body =
        Body::Object(json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls"]}));
    api.call(exec).unwrap();
    let connected = one(&asked);
    assert_eq!((&connected["operation"], &connected["options"]), (&json!("CONNECT"), &Value::Null));
    assert_eq!(
        (&connected["kind"]["kind"], &connected["object"]["command"][0]),
        (&json!("PodExecOptions"), &json!("ls"))
    );
}

#[test]
fn a_refusal_is_the_first_in_order_and_all_validating_ones_are_asked_at_once() {
    let (api, asked) = hooked(|path, _| {
        let result = json!({"code": 403, "reason": "Forbidden", "message": format!("by {path}")});
        Ok(json!({"allowed": path == "b", "status": result, "warnings": [format!("of {path}")],
            "auditAnnotations": {"by": path}}))
    });
    let hooks = ["b", "c", "a"].map(|name| hook(name, &[CONFIG_MAPS], json!({})));
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "one", &hooks);
    let status = api.create(CONFIG_MAPS, "default", config("x")).unwrap_err();
    let message = "admission webhook \"c.example.com\" denied the request: by c";
    assert_eq!((status.code, &*status.reason, &*status.message), (403, "Forbidden", message));
    assert_eq!(paths(&asked), ["b", "c", "a"]);
    assert_eq!(status.warnings, ["of b", "of c", "of a"]);
    assert_eq!(status.annotations, None);
    let mut audited = api.request(Verb::Create, CONFIG_MAPS, "default", "");
    (audited.body, audited.options.is_audited) = (Body::Object(config("x")), true);
    let remembered = api.call(audited).unwrap_err().annotations.unwrap_or_default();
    let expected =
        json!({"a.example.com/by": "a", "b.example.com/by": "b", "c.example.com/by": "c"});
    assert_eq!(json!(remembered), expected);
    assert_eq!(api.get(CONFIG_MAPS, "x").unwrap_err().code, 404);
}

#[test]
fn mutating_webhooks_see_what_those_before_them_left_and_some_see_it_again() {
    let (api, asked) = hooked(|path, request| {
        let data = &request["object"]["data"];
        let add =
            |key: &str| patch(json!([{"op": "add", "path": format!("/data/{key}"), "value": "x"}]));
        Ok(match path {
            "first" if data["second"].is_null() => add("first"),
            "second" => add("second"),
            _ => json!({"allowed": true}),
        })
    });
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    configure(
        &api,
        MUTATING_WEBHOOK_CONFIGURATIONS,
        "b",
        &[hook("second", &[CONFIG_MAPS], json!({}))],
    );
    configure(&api, MUTATING_WEBHOOK_CONFIGURATIONS, "a", &[hook("first", &[CONFIG_MAPS], again)]);
    configure(
        &api,
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        "c",
        &[hook("last", &[CONFIG_MAPS], json!({}))],
    );
    let made = api.create(CONFIG_MAPS, "default", config("x")).unwrap();
    assert_eq!(made["data"], json!({"a": "1", "first": "x", "second": "x"}));
    let asked: Vec<_> = asked.lock().unwrap().drain(..).collect();
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["first", "second", "first", "last"]);
    assert_eq!(asked[1].1["object"]["data"]["first"], "x");
    // Before it has a name and a uid, and after.
    assert!(asked[0].1["object"]["metadata"]["uid"].is_null());
    assert_eq!(asked[3].1["object"]["metadata"]["uid"], made["metadata"]["uid"]);

    let mut audited = api.request(Verb::Create, CONFIG_MAPS, "default", "");
    (audited.body, audited.options.is_audited) = (Body::Object(config("y")), true);
    let remembered = api.call(audited).unwrap().annotations;
    let of = |key: &str| -> Option<Value> {
        let said = remembered.get(&format!("{key}.webhook.admission.k8s.io/round_0_index_1"))?;
        Some(serde_json::from_str(said).unwrap())
    };
    let said = json!({"configuration": "b", "webhook": "second.example.com", "mutated": true});
    assert_eq!(of("mutation"), Some(said));
    assert_eq!(of("patch").unwrap()["patch"][0]["path"], "/data/second");
    assert_eq!(remembered.len(), 5, "{remembered:?}");
}

#[test]
fn what_a_webhook_makes_is_read_defaulted_and_checked_as_what_a_client_sends() {
    let (api, _) = hooked(|_, request| {
        Ok(match request["object"]["metadata"]["name"].as_str().unwrap() {
            "more" => patch(json!([
                {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "b:1"}},
                {"op": "add", "path": "/spec/nobody", "value": "knows"},
            ])),
            "wrong" => {
                patch(json!([{"op": "replace", "path": "/spec/containers/0/name", "value": "A_"}]))
            }
            "typed" => patch(json!([{"op": "replace", "path": "/spec/containers", "value": 7}])),
            "missing" => patch(json!([{"op": "replace", "path": "/spec/a/b/c", "value": 7}])),
            _ => patch(json!([{"op": "replace", "path": "/kind", "value": "Secret"}])),
        })
    });
    configure(&api, MUTATING_WEBHOOK_CONFIGURATIONS, "a", &[hook("a", &[PODS], json!({}))]);
    let create = |name: &str| {
        let container = json!({"name": "main", "image": "a:1"});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
        api.create(PODS, "default", pod)
    };
    let made = create("more").unwrap();
    let side = &made["spec"]["containers"][1];
    assert_eq!(
        (&side["name"], &side["terminationMessagePolicy"]),
        (&json!("side"), &json!("File"))
    );
    assert!(made["spec"]["nobody"].is_null());
    let wrong = create("wrong").unwrap_err();
    assert_eq!(wrong.code, 422, "{wrong}");
    assert!(wrong.message.contains("spec.containers[0].name"), "{wrong}");
    for garbage in ["typed", "missing", "other"] {
        let status = create(garbage).unwrap_err();
        assert_eq!((status.code, &*status.reason), (500, "InternalError"), "{garbage}: {status}");
    }
}

#[test]
fn a_webhook_cannot_rename_what_is_there_nor_change_what_goes() {
    let (api, _) = hooked(|_, request| {
        let rename = json!([{"op": "add", "path": "/metadata/uid", "value": "other"}]);
        Ok(if request["operation"] == "CREATE" { json!({"allowed": true}) } else { patch(rename) })
    });
    configure(&api, MUTATING_WEBHOOK_CONFIGURATIONS, "a", &[hook("a", &[CONFIG_MAPS], json!({}))]);
    let mut made = api.create(CONFIG_MAPS, "default", config("x")).unwrap();
    made["data"]["a"] = json!("2");
    let status = api.update(CONFIG_MAPS, made).unwrap_err();
    assert_eq!(status.code, 422);
    assert!(status.message.contains("metadata.uid: Invalid value: \"other\": field is immutable"));
    let status = api.delete(CONFIG_MAPS, "x", json!({})).unwrap_err();
    let why = "Internal error occurred: admission webhook \"a.example.com\" attempted to modify the \
               object, which is not supported for this operation";
    assert_eq!((status.code, &*status.message), (500, why));
}

#[test]
fn a_webhook_that_cannot_be_asked_stops_the_write_or_does_not() {
    let refused = "failed to call webhook: Post \"https://hook.hooks.svc:443/a?timeout=10s\": \
                   context deadline exceeded";
    for kind in [VALIDATING_WEBHOOK_CONFIGURATIONS, MUTATING_WEBHOOK_CONFIGURATIONS] {
        let (api, asked) = hooked(|_, _| Err(refused.to_owned()));
        let open = hook("open", &[CONFIG_MAPS], json!({"failurePolicy": "Ignore"}));
        configure(&api, kind, "open", &[open]);
        let mut audited = api.request(Verb::Create, CONFIG_MAPS, "default", "");
        (audited.body, audited.options.is_audited) = (Body::Object(config("x")), true);
        let remembered = api.call(audited).unwrap().annotations;
        let mut open = remembered.iter().filter(|(key, _)| key.starts_with("failed-open."));
        let (key, name) = open.next().unwrap();
        assert!(key.ends_with(".webhook.admission.k8s.io/round_0_index_0"), "{key}");
        assert_eq!((&**name, open.next()), ("open.example.com", None));
        assert_eq!(paths(&asked), ["open"]);
        configure(&api, kind, "shut", &[hook("a", &[CONFIG_MAPS, "*"], json!({}))]);
        let status = api.create(CONFIG_MAPS, "default", config("y")).unwrap_err();
        let message =
            format!("Internal error occurred: failed calling webhook \"a.example.com\": {refused}");
        assert_eq!((status.code, &*status.reason, status.message), (500, "InternalError", message));
        // Whoever is locked out can still take it away.
        api.delete(kind.split('.').next().unwrap(), "shut", json!({})).unwrap();
        api.create(CONFIG_MAPS, "default", config("y")).unwrap();
    }
}

#[test]
fn a_dry_run_asks_only_those_without_side_effects() {
    let (api, asked) = hooked(|_, _| Ok(json!({"allowed": true})));
    let dry = |name: &str| {
        let mut request = api.request(Verb::Create, CONFIG_MAPS, "default", "");
        request.options.dry_run = true;
        request.body = Body::Object(config(name));
        api.call(request)
    };
    let safe = hook("safe", &[CONFIG_MAPS], json!({"sideEffects": "NoneOnDryRun"}));
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "safe", &[safe]);
    dry("x").unwrap();
    let request = one(&asked);
    assert_eq!(
        (&request["dryRun"], &request["options"]["dryRun"]),
        (&json!(true), &json!(["All"]))
    );
}

#[test]
fn rules_and_selectors_say_which_writes_a_webhook_sees() {
    let (api, asked) = hooked(|_, _| Ok(json!({"allowed": true})));
    let labelled = |labels: Value| json!({"matchLabels": labels});
    let rules = |operations: Value, resources: Value, scope: &str| {
        json!([{"operations": operations, "apiGroups": [""], "apiVersions": ["v1"],
            "resources": resources, "scope": scope}])
    };
    configure(
        &api,
        VALIDATING_WEBHOOK_CONFIGURATIONS,
        "all",
        &[
            hook("shop", &["*"], json!({"namespaceSelector": labelled(json!({"team": "shop"}))})),
            hook("red", &["*"], json!({"objectSelector": labelled(json!({"colour": "red"}))})),
            hook(
                "news",
                &[],
                json!({"rules": rules(json!(["CREATE"]), json!(["secrets"]), "Namespaced")}),
            ),
            hook("wide", &[], json!({"rules": rules(json!(["*"]), json!(["*"]), "Cluster")})),
            hook("parts", &["configmaps/*"], json!({})),
        ],
    );
    let shop = json!({"metadata": {"name": "shop", "labels": {"team": "shop"}}});
    api.create(NAMESPACES, "", shop).unwrap();
    // The namespace is chosen by its own labels; its account comes with it.
    assert_eq!(paths(&asked), ["shop", "wide", "shop"]);
    api.create(SECRETS, "shop", json!({"metadata": {"name": "a"}})).unwrap();
    assert_eq!(paths(&asked), ["shop", "news"]);
    let red = json!({"metadata": {"name": "a", "labels": {"colour": "red"}}});
    api.create(CONFIG_MAPS, "default", red).unwrap();
    assert_eq!(paths(&asked), ["red", "parts"]);
    // It was red.
    api.update(CONFIG_MAPS, json!({"metadata": {"name": "a"}})).unwrap();
    assert_eq!(paths(&asked), ["red", "parts"]);
    api.update(CONFIG_MAPS, json!({"metadata": {"name": "a"}, "data": {"b": "c"}})).unwrap();
    assert_eq!(paths(&asked), ["parts"]);
}

#[test]
fn a_webhook_sees_an_object_in_the_version_that_its_rules_name() {
    let (api, asked) = hooked(|_, request| {
        let add = json!([{"op": "add", "path": "/spec/b", "value": "2"}]);
        assert_eq!(request["object"]["apiVersion"], "example.com/v2");
        Ok(patch(add))
    });
    let any = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &str, is_stored: bool| json!({"name": name, "served": true, "storage": is_stored, "schema": any});
    api.create(CUSTOM_RESOURCE_DEFINITIONS.split('.').next().unwrap(), "", json!({
        "metadata": {"name": "boats.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [version("v1", true), version("v2", false)]},
    }))
    .unwrap();
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["example.com"],
        "apiVersions": ["v2"], "resources": ["boats"]}]);
    let exact = json!({"rules": rules, "matchPolicy": "Exact"});
    configure(
        &api,
        MUTATING_WEBHOOK_CONFIGURATIONS,
        "a",
        &[hook("exact", &[], exact), hook("equivalent", &[], json!({"rules": rules}))],
    );
    let kind = Arc::clone(api.api.kinds().resource("example.com", "v1", "boats").unwrap());
    let mut request = api.request(Verb::Create, CONFIG_MAPS, "default", "");
    request.body = Body::Object(json!({"metadata": {"name": "x"}, "spec": {"a": "1"}}));
    let made = object(api.call(Request { kind, ..request }).unwrap());
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.com/v1"), &json!({"a": "1", "b": "2"}))
    );
    let request = one(&asked);
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
}

#[test]
fn a_webhook_is_asked_when_its_conditions_hold() {
    let (api, asked) = hooked(|_, _| Ok(json!({"allowed": true})));
    let conditions = json!([
        {"name": "create", "expression": "request.operation == 'CREATE' && oldObject == null"},
        {"name": "named", "expression": "object.metadata.name != 'skip-me'"},
    ]);
    let hooks = [hook("a", &[CONFIG_MAPS], json!({"matchConditions": conditions}))];
    configure(&api, MUTATING_WEBHOOK_CONFIGURATIONS, "a", &hooks);
    api.create(CONFIG_MAPS, "default", config("skip-me")).unwrap();
    assert!(paths(&asked).is_empty());
    let mut made = api.create(CONFIG_MAPS, "default", config("x")).unwrap();
    assert_eq!(paths(&asked).len(), 1);
    made["data"] = json!({"a": "changed"});
    api.update(CONFIG_MAPS, made).unwrap();
    assert!(paths(&asked).is_empty(), "an update is none of its business");
}

#[test]
fn a_condition_that_cannot_be_told_is_for_the_failure_policy() {
    let (api, asked) = hooked(|_, _| Ok(json!({"allowed": true})));
    let conditions = json!([{"name": "a", "expression": "object.spec.x == 1"}]);
    let open = json!({"matchConditions": conditions, "failurePolicy": "Ignore"});
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "a", &[hook("a", &[CONFIG_MAPS], open)]);
    api.create(CONFIG_MAPS, "default", config("x")).unwrap();
    let shut = json!({"matchConditions": conditions});
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "b", &[hook("b", &[CONFIG_MAPS], shut)]);
    let status = api.create(CONFIG_MAPS, "default", config("y")).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            403,
            "configmaps \"y\" is forbidden: expression 'object.spec.x == 1' resulted in error: no such \
             key: spec"
        )
    );
    assert!(paths(&asked).is_empty());
}

#[test]
fn a_condition_that_makes_no_sense_is_refused_when_it_is_written() {
    let (api, _) = hooked(|_, _| Ok(json!({"allowed": true})));
    let bad = json!({"matchConditions": [{"name": "a", "expression": "object.x ="}]});
    let body = json!({"metadata": {"name": "a"}, "webhooks": [hook("a", &[CONFIG_MAPS], bad)]});
    let status = api.create("validatingwebhookconfigurations", "", body).unwrap_err();
    assert_eq!(status.code, 422);
    let told = "webhooks[0].matchConditions[0].expression: Invalid value: \"object.x =\": compilation \
                failed: ERROR: <input>:1:10: Syntax error";
    assert!(status.message.contains(told), "{status}");
}

/// The same question of one request is asked once, whoever was faster; another one is asked anew.
#[test]
fn an_answer_holds_for_as_long_as_its_question_is_the_same() {
    let rival = Arc::new(Mutex::new(None::<Harness>));
    let other = Arc::clone(&rival);
    let (api, asked) = hooked(move |_, request| {
        let rival = other.lock().unwrap().take();
        if let Some(rival) = rival {
            let mut object = request["oldObject"].clone();
            object["data"]["rival"] = json!("was here");
            rival.update(CONFIG_MAPS, object).unwrap();
        }
        Ok(json!({"allowed": true}))
    });
    api.create(CONFIG_MAPS, "default", config("x")).unwrap();
    let all = hook("a", &[CONFIG_MAPS], json!({"failurePolicy": "Ignore"}));
    configure(&api, VALIDATING_WEBHOOK_CONFIGURATIONS, "a", &[all]);
    *rival.lock().unwrap() = Some(Harness { api: api.api.clone() });
    api.update(CONFIG_MAPS, config("x")).unwrap();
    let asked = asked.lock().unwrap();
    let before: Vec<_> = asked.iter().map(|(_, request)| &request["oldObject"]["data"]).collect();
    let (plain, changed) = (json!({"a": "1"}), json!({"a": "1", "rival": "was here"}));
    // The client's, the rival's, and the client's over what the rival left.
    assert_eq!(before, [&plain, &plain, &changed]);
}
