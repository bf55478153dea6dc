//! Patches of every kind, of built-in objects: what they do to lists that are merged by key, to
//! directives and to who owns which field.

use coracle_api::Verb;
use coracle_server::{Body, Content, Options};
use serde_json::{Map, Value, json};

use crate::choices::Choices;
use crate::harness::{Harness, encoded, is_the_clients};

pub fn case(choices: &mut Choices) {
    let api = Harness::new(None);
    let (group, plural, mut object) = choices.one(&objects());
    let send = |verb, name: &str, body, manager: &str, force| {
        let field_manager = manager.to_owned();
        let options = Options { field_manager, force, ..Options::default() };
        api.send(group, "v1", plural, verb, name, body, options)
    };
    if choices.chance(20) {
        let mut changed = choices.mutated(&object);
        if changed.is_object() {
            changed["metadata"] = json!({"name": "a"});
        }
        object = changed;
    }
    let body = encoded(choices, &object);
    let mut now = match send(Verb::Create, "", body, "maker", false) {
        Ok(made) => made,
        Err(refused) => return is_the_clients(&refused),
    };
    for _ in 0..30 {
        let (content, patch) = patch(choices, &now);
        let (manager, force) = (choices.one(&["maker", "other"]), choices.chance(50));
        let patch = || Body::Encoded(content, patch.to_string().into());
        match send(Verb::Patch, "a", patch(), manager, force) {
            Ok(patched) => {
                if content == Content::ApplyPatch {
                    let again = send(Verb::Patch, "a", patch(), manager, force);
                    assert_eq!(again.as_ref(), Ok(&patched), "what is applied twice is there");
                }
                now = patched;
            }
            Err(refused) => is_the_clients(&refused),
        }
        let read = send(Verb::Get, "a", Body::Empty, "maker", false).unwrap();
        assert_eq!(read, now, "a patch is done, or it is not");
        let same = send(Verb::Update, "a", Body::Object(now.clone()), "other", false);
        assert_eq!(same.as_ref(), Ok(&now), "what is stored may be written");
    }
}

fn objects() -> Vec<(&'static str, &'static str, Value)> {
    let container = |name: &str| {
        json!({"name": name, "image": "example.com/a:1",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 80, "protocol": "UDP"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "resources": {"requests": {"cpu": "100m"}}})
    };
    let labels = json!({"app": "a"});
    let pod = json!({"containers": [container("a"), container("b")],
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "a"}}]});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    let of = |kind: &str, group: &str, rest: Value| {
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let mut object = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": "a", "labels": labels, "finalizers": ["example.com/a"]}});
        rest.as_object().unwrap().iter().for_each(|(name, value)| object[name] = value.clone());
        object
    };
    let set = json!({"selector": {"matchLabels": labels}, "template": template, "replicas": 2});
    let ports = json!([{"name": "a", "port": 1}, {"name": "b", "port": 1, "protocol": "UDP"}]);
    vec![
        ("apps", "deployments", of("Deployment", "apps", json!({"spec": set}))),
        ("", "pods", of("Pod", "", json!({"spec": pod}))),
        (
            "",
            "services",
            of(
                "Service",
                "",
                json!({"spec": {"ports": ports, "clusterIP": "None",
            "selector": labels}}),
            ),
        ),
        ("", "configmaps", of("ConfigMap", "", json!({"data": {"a": "1", "b": "2"}}))),
        (
            "",
            "serviceaccounts",
            of(
                "ServiceAccount",
                "",
                json!({
            "secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "b"}, {"name": "c"}]}),
            ),
        ),
    ]
}

fn patch(choices: &mut Choices, object: &Value) -> (Content, Value) {
    match choices.below(4) {
        0 => (Content::JsonPatch, operations(choices, object)),
        1 => (Content::MergePatch, part(choices, object, false)),
        2 => (Content::StrategicMergePatch, part(choices, object, true)),
        _ => {
            let mut applied = part(choices, object, false);
            if !applied.is_object() {
                return (Content::ApplyPatch, applied);
            }
            for fixed in ["apiVersion", "kind"] {
                applied[fixed] = object[fixed].clone();
            }
            applied["metadata"] = json!({"name": "a"});
            if choices.chance(30) {
                applied["metadata"]["labels"] = json!({choices.name(): "x"});
            }
            if choices.chance(5) {
                applied = choices.mutated(&applied);
            }
            (Content::ApplyPatch, applied)
        }
    }
}

fn operations(choices: &mut Choices, object: &Value) -> Value {
    let mut all = Vec::new();
    for _ in 0..=choices.below(4) {
        let path = choices.pointer(object);
        let from = choices.pointer(object);
        let value = match object.pointer(&from) {
            Some(value) if choices.chance(50) => choices.mutated(value),
            _ => choices.json(2),
        };
        let op = choices.one(&["add", "remove", "replace", "move", "copy", "test", "none"]);
        let mut operation = json!({"op": op, "path": path, "from": from, "value": value});
        if choices.chance(10) {
            operation = choices.mutated(&operation);
        }
        all.push(operation);
    }
    let all = Value::from(all);
    if choices.chance(3) { choices.mutated(&all) } else { all }
}

/// Some of an object, changed; with the directives of strategic merge patches or without.
fn part(choices: &mut Choices, object: &Value, is_strategic: bool) -> Value {
    let mut part = some_of(choices, object, is_strategic, 0);
    if !part.is_object() {
        part = json!({});
    }
    if choices.chance(80)
        && let Some(members) = part.as_object_mut()
    {
        members.remove("metadata");
        members.remove("status");
    }
    if choices.chance(3) { choices.mutated(&part) } else { part }
}

fn some_of(choices: &mut Choices, value: &Value, is_strategic: bool, depth: usize) -> Value {
    if choices.chance(3) {
        return choices.json(2);
    }
    match value {
        Value::Object(members) => {
            let mut some = Map::new();
            for (name, value) in members {
                let stays = matches!(name.as_str(), "name" | "containerPort" | "key" | "port");
                if stays && choices.chance(90) {
                    some.insert(name.clone(), value.clone());
                } else if choices.chance(if depth == 0 { 80 } else { 45 }) {
                    let own = match choices.chance(8) {
                        true => Value::Null,
                        false => some_of(choices, value, is_strategic, depth + 1),
                    };
                    some.insert(name.clone(), own);
                }
                if is_strategic && value.is_array() && choices.chance(10) {
                    let directive = choices.one(&["$setElementOrder", "$deleteFromPrimitiveList"]);
                    let list = some_of(choices, value, false, depth + 1);
                    some.insert(format!("{directive}/{name}"), list);
                }
            }
            if is_strategic && choices.chance(8) {
                let what = choices.one(&["delete", "replace", "merge", "none"]);
                some.insert("$patch".into(), what.into());
            }
            if is_strategic && choices.chance(4) {
                some.insert("$retainKeys".into(), json!([choices.name(), "emptyDir"]));
            }
            some.into()
        }
        Value::Array(items) => {
            let mut some = Vec::new();
            for item in items {
                if choices.chance(70) {
                    some.push(some_of(choices, item, is_strategic, depth + 1));
                }
            }
            if choices.chance(10) {
                some.reverse();
            }
            if choices.chance(10) && !some.is_empty() {
                some.push(choices.mutated(&some[0].clone()));
            }
            some.into()
        }
        leaf if choices.chance(25) => choices.mutated(leaf),
        leaf => leaf.clone(),
    }
}
