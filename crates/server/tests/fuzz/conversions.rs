//! Conversion webhooks that answer anything: what comes of it is an object in the version that was
//! asked for, with its identity, or an error; and what is stored stays what it was.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coracle_api::{Call, Given, Status, Verb};
use coracle_server::{Body, Content, Options, Outside};
use serde_json::{Value, json};

use crate::choices::Choices;
use crate::harness::Harness;

const GROUP: &str = "example.com";

/// Answers as its choices say: mostly rightly, never for long.
struct Hostile(Mutex<Choices>);

#[async_trait]
impl Outside for Hostile {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        let Call::Post(post) = call else { return Err(Status::internal("not asked here")) };
        let choices = &mut *self.0.lock().unwrap();
        if choices.chance(3) {
            return Err(Status::internal("no way"));
        }
        let review: Value = serde_json::from_str(&post.body).unwrap();
        Ok(Given::Posted(Ok(answer(choices, &review["request"]))))
    }
}

fn answer(choices: &mut Choices, request: &Value) -> String {
    let version = request["desiredAPIVersion"].as_str().unwrap();
    let mut objects = request["objects"].as_array().unwrap().clone();
    for object in &mut objects {
        object["apiVersion"] = version.into();
        let field = if version.ends_with("v1") { "a" } else { "b" };
        object["spec"] = json!({field: "1"});
        if choices.chance(10) {
            *object = choices.mutated(object);
        }
        if let Some(metadata) = object.get_mut("metadata").filter(|_| choices.chance(5)) {
            *metadata = choices.mutated(metadata);
        }
    }
    match choices.below(30) {
        0 => drop(objects.pop()),
        1 => objects.extend(objects.first().cloned()),
        2 => objects.reverse(),
        _ => {}
    }
    let mut review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": {"uid": request["uid"], "result": {"status": "Success"},
            "convertedObjects": objects}});
    if choices.chance(8) {
        review["response"] = choices.mutated(&review["response"]);
    }
    if choices.chance(5) {
        review = choices.mutated(&review);
    }
    let mut text = review.to_string();
    match choices.below(30) {
        0 => text.truncate(text.floor_char_boundary(choices.below(40))),
        1 => text = choices.json(3).to_string(),
        2 => text = "[".repeat(choices.below(3000)),
        3 => text.push_str(&choices.text()),
        _ => {}
    }
    text
}

pub fn case(choices: &mut Choices) {
    let hostile = Hostile(Mutex::new(Choices::new(choices.number())));
    let api = Harness::new(Some(Arc::new(hostile)));
    let made = api.send(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        Verb::Create,
        "",
        Body::Object(definition(choices)),
        Options::default(),
    );
    made.unwrap();
    for _ in 0..60 {
        step(choices, &api);
    }
}

fn step(choices: &mut Choices, api: &Harness) {
    let (version, name) = (choices.one(&["v1", "v2"]), choices.one(&["x", "y"]));
    let field = if version == "v1" { "a" } else { "b" };
    let object = json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Boat",
        "metadata": {"name": name}, "spec": {field: choices.text()}});
    let stored = |name: &str| {
        let snapshot = api.api.snapshot();
        snapshot.find("boats.example.com", "default", name).map(|it| it.value().clone())
    };
    let before = stored(name);
    let send = |verb, name: &str, body| {
        let options = Options { field_manager: "fuzzer".into(), ..Options::default() };
        api.send(GROUP, version, "boats", verb, name, body, options)
    };
    let (is_read, answered) = match choices.below(6) {
        0 => (false, send(Verb::Create, "", Body::Object(object))),
        1 => (false, send(Verb::Update, name, Body::Object(object))),
        2 => {
            let patch = json!({"spec": object["spec"], "metadata": {"labels": {"l": "m"}}});
            let patch = Body::Encoded(Content::MergePatch, patch.to_string().into());
            (false, send(Verb::Patch, name, patch))
        }
        3 => {
            let applied = Body::Encoded(Content::ApplyPatch, object.to_string().into());
            (false, send(Verb::Patch, name, applied))
        }
        4 => (true, send(Verb::List, "", Body::Empty)),
        _ => (true, send(Verb::Get, name, Body::Empty)),
    };
    let after = stored(name);
    if is_read {
        assert_eq!(after, before, "who reads changes nothing");
    }
    if let (Some(before), Some(after)) = (&before, &after) {
        assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    }
    if let Some(after) = &after {
        assert_eq!(after["apiVersion"], "example.com/v1", "what is stored is of one version");
        assert_eq!(after["metadata"]["name"], name);
    }
    match answered {
        Ok(Value::Array(items)) => items.iter().for_each(|item| is_right(item, version)),
        Ok(object) => is_right(&object, version),
        Err(refused) => assert!(refused.code >= 400 && !refused.message.is_empty(), "{refused:?}"),
    }
}

fn is_right(object: &Value, version: &str) {
    assert_eq!(object["apiVersion"], format!("{GROUP}/{version}"));
    assert_eq!(
        (&object["kind"], &object["metadata"]["namespace"]),
        (&json!("Boat"), &json!("default"))
    );
    assert!(object["metadata"]["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "{object}");
}

fn definition(choices: &mut Choices) -> Value {
    let version = |name: &str, field: &str, is_open: bool| {
        let mut spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        if is_open {
            spec["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": schema}})
    };
    let client = json!({"service": {"namespace": "shop", "name": "hook"}});
    let webhook = json!({"clientConfig": client, "conversionReviewVersions": ["v1"]});
    json!({"metadata": {"name": "boats.example.com"}, "spec": {
        "group": GROUP, "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
        "conversion": {"strategy": "Webhook", "webhook": webhook},
        "versions": [version("v1", "a", choices.chance(30)), version("v2", "b", choices.chance(30))],
    }})
}
