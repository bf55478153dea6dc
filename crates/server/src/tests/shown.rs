//! What readers see that is not stored as they see it.

use coracle_api::computed;
use coracle_api::print::IncludeObject;

use super::*;
use crate::Frame;
use crate::edge::negotiate::{Encoding, Form, Shape};
use crate::edge::render::{Rendered, Rendering};

fn json_form() -> Form {
    Form { shape: Shape::Whole, encoding: Encoding::Json }
}

fn sent(api: &Harness, plural: &str, reply: &Reply) -> Value {
    let kind = api.request(Verb::Get, plural, "", "").kind;
    let rendering = Rendering {
        kind: &kind,
        form: json_form(),
        include: IncludeObject::default(),
        now: api.api.source().now(),
    };
    match rendering.reply(reply).unwrap() {
        Rendered::Whole(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Rendered::Pieces(_) => panic!("a short answer is one piece"),
    }
}

#[test]
fn components_say_how_they_are() {
    let api = Harness::new();
    let states = || {
        let reply = api.list("componentstatuses", Options::default()).unwrap();
        let list = sent(&api, "componentstatuses", &reply);
        assert_eq!(list["kind"], "ComponentStatusList");
        let items = list["items"].as_array().unwrap().clone();
        let state = |item: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let name = text(&item["metadata"]["name"]);
            format!("{name} {}", text(&item["conditions"][0]["status"]))
        };
        items.iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["controller-manager Unknown", "etcd-0 True", "scheduler Unknown"]);
    api.api.tell(computed::CONTROLLER_MANAGER, Ok(()));
    api.api.tell(computed::SCHEDULER, Err("stopped".to_owned()));
    assert_eq!(states(), ["controller-manager True", "etcd-0 True", "scheduler False"]);
    let one = api.get("componentstatuses", "scheduler").unwrap();
    assert_eq!(one["conditions"][0]["message"], "stopped");
    assert_eq!(api.get("componentstatuses", "nope").unwrap_err().code, 404);
    let options = Options { field_selector: "metadata.name=etcd-0".into(), ..Options::default() };
    assert_eq!(api.list("componentstatuses", options).unwrap().items().len(), 1);
    let made = api.create("componentstatuses", "", json!({"metadata": {"name": "x"}}));
    assert_eq!(made.unwrap_err().code, 405);
}

/// A default that came to the schema later was in new objects alone.
#[test]
fn an_old_object_is_read_with_the_defaults_of_today() {
    let api = Harness::new();
    let mut boats = definition();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    boats.pointer_mut(spec).unwrap().as_object_mut().unwrap().remove("color");
    let mut boats = api.create("customresourcedefinitions", "", boats).unwrap();
    api.create("boats", "default", json!({"metadata": {"name": "a"}, "spec": {"length": 3}}))
        .unwrap();
    boats.pointer_mut(spec).unwrap()["color"] = json!({"type": "string", "default": "red"});
    api.update("customresourcedefinitions", boats).unwrap();

    let get = api.call(api.request(Verb::Get, "boats", "default", "a")).unwrap();
    assert_eq!(sent(&api, "boats", &get)["spec"]["color"], "red");
    let list = api.list("boats", Options::default()).unwrap();
    assert_eq!(sent(&api, "boats", &list)["items"][0]["spec"]["color"], "red");
    let kind = api.request(Verb::Get, "boats", "", "").kind;
    let (include, now) = (IncludeObject::default(), api.api.source().now());
    let rendering = Rendering { kind: &kind, form: json_form(), include, now };
    let frame = Frame::Added(Arc::clone(get.object().unwrap()));
    let line: Value = serde_json::from_slice(&rendering.frame(&frame, true).unwrap()).unwrap();
    assert_eq!(line["object"]["spec"]["color"], "red");
    // What is stored is changed by the next write alone.
    assert!(api.get("boats", "a").unwrap()["spec"]["color"].is_null());
    let mut boat = api.get("boats", "a").unwrap();
    boat["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(api.update("boats", boat).unwrap()["spec"]["color"], "red");
}
