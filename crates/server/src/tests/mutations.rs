//! Policies that change what is written.

use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::pipeline::outside::Outside;
use crate::pipeline::write::calls::{Call, Given};

fn write(api: &Harness, plural: &str, name: &str, spec: Value) -> Value {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let request = api.request(Verb::Create, plural, "default", "");
    let user = User { groups: vec!["system:masters".into()], ..User::default() };
    api.call(Request { user, body: Body::Object(body), ..request }).map(object).unwrap()
}

/// A policy about `resource`, bound to all that it is about.
fn policy(api: &Harness, name: &str, resource: &str, mutations: &[(&str, &str)], more: Value) {
    let mutation = |(form, expression): &(&str, &str)| {
        let field = if *form == "JSONPatch" { "jsonPatch" } else { "applyConfiguration" };
        json!({"patchType": form, field: {"expression": expression}})
    };
    let mutations: Vec<Value> = mutations.iter().map(mutation).collect();
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": ["*"],
            "apiVersions": ["*"], "resources": [resource]}]},
        "reinvocationPolicy": "Never",
        "mutations": mutations,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    write(api, "mutatingadmissionpolicies", name, spec);
    let binding = json!({"policyName": name});
    write(api, "mutatingadmissionpolicybindings", &format!("{name}-b"), binding);
}

const APPLY: &str = "ApplyConfiguration";
const PATCH: &str = "JSONPatch";

fn refused(api: &Harness) -> (u16, String, String) {
    let status = api.create("statefulsets", "default", stateful_set("refused")).unwrap_err();
    (status.code, status.reason.into_string(), status.message)
}

#[test]
fn objects_are_changed_step_by_step_and_get_their_defaults() {
    let api = Harness::new();
    let steps = [
        (
            APPLY,
            "Object{spec: Object.spec{replicas: variables.few + 4, template: \
            Object.spec.template{spec: Object.spec.template.spec{containers: \
            [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}",
        ),
        (
            PATCH,
            "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'seen': \
            string(object.spec.replicas)}}, JSONPatch{op: 'add', path: '/metadata/labels/' + \
            jsonpatch.escapeKey('a/b'), value: 'c'}]",
        ),
        (
            PATCH,
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 9}, JSONPatch{op: 'remove', \
            path: '/spec/template'}]",
        ),
    ];
    let more = json!({"variables": [{"name": "few", "expression": "1"}]});
    policy(&api, "p", "statefulsets", &steps, more);
    let made = api.create("statefulsets", "default", stateful_set("a")).unwrap();
    assert_eq!(made["spec"]["replicas"], 5);
    assert_eq!(made["metadata"]["labels"], json!({"seen": "5", "a/b": "c"}));
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[0]["name"]), (2, &json!("main")));
    assert_eq!(containers[1]["terminationMessagePolicy"], "File", "defaults come after a change");
    let owners = made["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(owners.len(), 1, "nobody is said to own what a policy adds: {owners:?}");
    assert!(!owners[0].to_string().contains("side"), "{owners:?}");
    api.delete("statefulsets", "a", json!({})).unwrap();
}

#[test]
fn what_goes_wrong_is_told_unless_it_is_forgiven() {
    for (form, expression, why) in [
        (
            APPLY,
            "Object{spec: Object.spec{paint: 'red'}}",
            "error applying patch: failed to convert patch object to typed object: .spec.paint: field \
             not declared in schema",
        ),
        (
            APPLY,
            "Object{spec: Object.spec{template: Object.spec.template{spec: \
            Object.spec.template.spec{nodeSelector: {'a': 'b'}}}}}",
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or \
             structs: .spec.template.spec.nodeSelector",
        ),
        (
            APPLY,
            "Object{spec: Object.status{}}",
            "type mismatch: unexpected type name \"Object.status\", expected \"Object.spec\", which \
             matches field name path from root Object type",
        ),
        (
            APPLY,
            "Object{spec: Object.spec{replicas: object.none}}",
            "expression 'Object{spec: Object.spec{replicas: object.none}}' resulted in error: no such \
             key: none",
        ),
        (
            PATCH,
            "[JSONPatch{op: 'remove', path: '/spec/none'}]",
            "JSON Patch: error in remove for path: '/spec/none': Unable to remove nonexistent key: none: missing value",
        ),
    ] {
        for (fails, is_refused) in [("Fail", true), ("Ignore", false)] {
            let api = Harness::new();
            let more = json!({"failurePolicy": fails});
            policy(&api, "p", "statefulsets", &[(form, expression)], more);
            if is_refused {
                let said = format!("policy 'p' with binding 'p-b' denied request: {why}");
                assert_eq!(refused(&api), (403, "Invalid".to_owned(), said));
            } else {
                api.create("statefulsets", "default", stateful_set("a")).unwrap();
            }
        }
    }
}

#[test]
fn two_mistakes_are_told_together() {
    let api = Harness::new();
    let wrong = "[JSONPatch{op: 'remove', path: '/none'}]";
    policy(&api, "p", "statefulsets", &[(PATCH, wrong), (PATCH, wrong)], json!({}));
    let status = api.create("statefulsets", "default", stateful_set("a")).unwrap_err();
    assert_eq!(status.details.unwrap().causes.len(), 2);
}

#[test]
fn custom_resources_and_scales_are_changed_by_their_schemas() {
    let api = Harness::new();
    api.create("customresourcedefinitions", "", definition()).unwrap();
    let longer = "Object{spec: Object.spec{length: object.spec.length + 1}}";
    policy(&api, "boats", "boats", &[(APPLY, longer)], json!({}));
    let boat = json!({"metadata": {"name": "a"}, "spec": {"length": 1}});
    assert_eq!(api.create("boats", "default", boat).unwrap()["spec"]["length"], 2);
    let more = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}";
    policy(&api, "scales", "statefulsets/scale", &[(APPLY, more)], json!({}));
    api.create("statefulsets", "default", stateful_set("a")).unwrap();
    let mut request = api.request(Verb::Update, "statefulsets", "default", "a");
    request.subresource = Some(Subresource::Scale);
    request.body = Body::Object(json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "a", "namespace": "default"}, "spec": {"replicas": 4}}));
    assert_eq!(object(api.call(request).unwrap())["spec"]["replicas"], 5);
}

#[test]
fn policies_that_want_to_see_an_object_again_do_when_others_changed_it() {
    for (reinvoked, seen) in [("IfNeeded", 2), ("Never", 1)] {
        let api = Harness::new();
        let count = "Object{metadata: Object.metadata{labels: {'n': string(has(object.metadata.labels) \
                     && 'n' in object.metadata.labels ? int(object.metadata.labels['n']) + 1 : 1)}}}";
        let more = json!({"reinvocationPolicy": reinvoked});
        policy(&api, "a", "statefulsets", &[(APPLY, count)], more);
        policy(
            &api,
            "b",
            "statefulsets",
            &[(APPLY, "Object{spec: Object.spec{replicas: 7}}")],
            json!({}),
        );
        let made = api.create("statefulsets", "default", stateful_set("a")).unwrap();
        assert_eq!(made["spec"]["replicas"], 7);
        assert_eq!(made["metadata"]["labels"]["n"], seen.to_string(), "{reinvoked}");
    }
}

/// A webhook that labels what it sees with how often that was.
struct Hook(Arc<Mutex<usize>>);

#[async_trait]
impl Outside for Hook {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        let Call::Post(post) = call else { return Ok(Given::Token("token".into())) };
        let review: Value = serde_json::from_str(&post.body).unwrap();
        *self.0.lock().unwrap() += 1;
        let labels = &review["request"]["object"]["metadata"]["labels"];
        let patch = match labels["hooked"].is_null() {
            true => json!([{"op": "add", "path": "/metadata/labels", "value": {"hooked": "once"}}]),
            false => json!([{"op": "add", "path": "/metadata/labels/hooked", "value": "twice"}]),
        };
        let response = json!({"uid": review["request"]["uid"], "allowed": true,
            "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())});
        let version = &review["apiVersion"];
        let review =
            json!({"kind": "AdmissionReview", "apiVersion": version, "response": response});
        Ok(Given::Posted(Ok(review.to_string())))
    }
}

#[test]
fn policies_come_before_webhooks_and_each_may_see_what_the_other_did() {
    let (api, asked) = (Harness::new(), Arc::new(Mutex::new(0)));
    api.api.set_outside(Arc::new(Hook(Arc::clone(&asked))));
    let hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "h", "name": "h"}},
        "reinvocationPolicy": "IfNeeded", "rules": [{"operations": ["*"], "apiGroups": ["*"],
        "apiVersions": ["*"], "resources": ["statefulsets"]}]});
    let hooks = json!({"metadata": {"name": "h"}, "webhooks": [hook]});
    api.create("mutatingwebhookconfigurations", "", hooks).unwrap();
    let copied = "Object{metadata: Object.metadata{annotations: {'hooked': \
                  object.?metadata.labels.hooked.orValue('no')}}}";
    policy(
        &api,
        "p",
        "statefulsets",
        &[(APPLY, copied)],
        json!({"reinvocationPolicy": "IfNeeded"}),
    );
    let made = api.create("statefulsets", "default", stateful_set("a")).unwrap();
    assert_eq!(
        made["metadata"]["annotations"]["hooked"], "once",
        "the policy saw what the webhook did"
    );
    assert_eq!(
        made["metadata"]["labels"]["hooked"], "twice",
        "and the webhook what the policy did"
    );
    assert_eq!(*asked.lock().unwrap(), 2);
}
