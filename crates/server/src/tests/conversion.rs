//! Custom objects whose versions a webhook converts.

use std::sync::Mutex;

use async_trait::async_trait;
use coracle_api::resources::CONFIG_MAPS;

use super::*;
use crate::pipeline::outside::Outside;
use crate::pipeline::write::calls::{Call, Given};

/// Tells `hostPort` of version 1 in two fields in version 2, and counts the objects of each question.
#[derive(Clone, Default)]
struct Converter {
    asked: Arc<Mutex<Vec<usize>>>,
    fails: Arc<std::sync::atomic::AtomicBool>,
}

fn converted(object: &Value, version: &str) -> Value {
    let mut new = object.clone();
    new["apiVersion"] = version.into();
    new["spec"] = match (version, &object["spec"]) {
        ("example.com/v2", spec) => {
            let (host, port) = spec["hostPort"].as_str().unwrap().split_once(':').unwrap();
            json!({"host": host, "port": port})
        }
        (_, spec) => {
            let (host, port) = (spec["host"].as_str().unwrap(), spec["port"].as_str().unwrap());
            json!({"hostPort": format!("{host}:{port}")})
        }
    };
    new
}

#[async_trait]
impl Outside for Converter {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        let Call::Post(post) = call else { panic!("{call:?}") };
        let request = serde_json::from_str::<Value>(&post.body).unwrap()["request"].clone();
        let objects = request["objects"].as_array().unwrap();
        self.asked.lock().unwrap().push(objects.len());
        let fails = self.fails.load(std::sync::atomic::Ordering::Relaxed);
        let version = request["desiredAPIVersion"].as_str().unwrap();
        let made: Vec<Value> = objects.iter().map(|object| converted(object, version)).collect();
        let result = match fails {
            true => json!({"status": "Failure", "message": "no idea"}),
            false => json!({"status": "Success"}),
        };
        let response = json!({"uid": request["uid"], "result": result, "convertedObjects": made});
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": response});
        Ok(Given::Posted(Ok(review.to_string())))
    }
}

/// An API with boats, which are stored in version 1.
fn boats() -> (Harness, Converter) {
    let (api, converter) = (Harness::new(), Converter::default());
    api.api.set_outside(Arc::new(converter.clone()));
    let version = |name: &str, fields: &[&str]| {
        let fields: serde_json::Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"}))).collect();
        let spec = json!({"type": "object", "properties": fields});
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": schema}})
    };
    let client = json!({"service": {"namespace": "shop", "name": "hook"}});
    let webhook = json!({"clientConfig": client, "conversionReviewVersions": ["v1"]});
    let definition = json!({"metadata": {"name": "boats.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
        "conversion": {"strategy": "Webhook", "webhook": webhook},
        "versions": [version("v1", &["hostPort"]), version("v2", &["host", "port"])],
    }});
    api.create("customresourcedefinitions", "", definition).unwrap();
    (api, converter)
}

impl Harness {
    fn boat(&self, version: &str, verb: Verb, name: &str, body: Body) -> Result<Value, Status> {
        let kind = Arc::clone(self.api.kinds().resource("example.com", version, "boats").unwrap());
        let request = self.request(verb, CONFIG_MAPS, "default", name);
        self.call(Request { kind, body, ..request }).map(object)
    }
}

fn boat(name: &str, spec: Value) -> Body {
    Body::Object(json!({"metadata": {"name": name}, "spec": spec}))
}

#[test]
fn an_object_is_written_and_read_in_every_version_and_stored_in_one() {
    let (api, converter) = boats();
    let (one, two) = (json!({"hostPort": "a:1"}), json!({"host": "a", "port": "1"}));
    let made = api.boat("v2", Verb::Create, "", boat("x", two.clone())).unwrap();
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &two));
    let snapshot = api.api.snapshot();
    let stored = snapshot.find("boats.example.com", "default", "x").unwrap().value();
    assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("example.com/v1"), &one));
    let read = |version| api.boat(version, Verb::Get, "x", Body::Empty).unwrap();
    assert_eq!((&read("v1")["spec"], &read("v2")["spec"]), (&one, &two));
    assert_eq!(read("v2")["metadata"], made["metadata"]);

    let patch =
        Body::Encoded(Content::MergePatch, json!({"spec": {"port": "2"}}).to_string().into());
    let patched = api.boat("v2", Verb::Patch, "x", patch).unwrap();
    assert_eq!(patched["spec"], json!({"host": "a", "port": "2"}));
    assert_eq!(read("v1")["spec"], json!({"hostPort": "a:2"}));
    assert_eq!(patched["metadata"]["generation"], 2);

    let mut replaced = read("v2");
    replaced["spec"]["host"] = json!("b");
    api.boat("v2", Verb::Update, "x", Body::Object(replaced)).unwrap();
    assert_eq!(read("v1")["spec"], json!({"hostPort": "b:2"}));
    assert!(converter.asked.lock().unwrap().iter().all(|objects| *objects == 1));
}

#[test]
fn a_list_is_one_question_and_what_was_converted_is_kept() {
    let (api, converter) = boats();
    for name in ["x", "y", "z"] {
        api.boat("v1", Verb::Create, "", boat(name, json!({"hostPort": "a:1"}))).unwrap();
    }
    assert!(converter.asked.lock().unwrap().is_empty(), "what is stored is what is asked for");
    let list = |version| api.boat(version, Verb::List, "", Body::Empty).unwrap();
    let hosts = |list: &Value| {
        let all = list.as_array().unwrap().iter();
        all.map(|boat| boat["spec"]["host"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&list("v2")), ["a", "a", "a"]);
    list("v2");
    assert_eq!(*converter.asked.lock().unwrap(), [3]);
    api.boat("v1", Verb::Create, "", boat("w", json!({"hostPort": "b:1"}))).unwrap();
    assert_eq!(hosts(&list("v2")), ["b", "a", "a", "a"]);
    assert_eq!(*converter.asked.lock().unwrap(), [3, 1]);
}

#[test]
fn a_webhook_that_cannot_convert_is_told_of_and_nothing_is_written() {
    let (api, converter) = boats();
    api.boat("v1", Verb::Create, "", boat("x", json!({"hostPort": "a:1"}))).unwrap();
    converter.fails.store(true, std::sync::atomic::Ordering::Relaxed);
    let of = "conversion webhook for example.com";
    let said = api.boat("v2", Verb::Get, "x", Body::Empty).unwrap_err();
    assert_eq!((said.code, said.message), (500, format!("{of}/v1, Kind=Boat failed: no idea")));
    let made = api.boat("v2", Verb::Create, "", boat("y", json!({"host": "a", "port": "1"})));
    assert_eq!(made.unwrap_err().message, format!("{of}/v2, Kind=Boat failed: no idea"));
    assert!(api.api.snapshot().find("boats.example.com", "default", "y").is_none());
    // What needs no conversion goes on.
    assert!(api.boat("v1", Verb::Get, "x", Body::Empty).is_ok());
    assert!(api.boat("v1", Verb::Delete, "x", Body::Empty).is_ok());
}
