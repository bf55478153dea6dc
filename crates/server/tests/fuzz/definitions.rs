//! Definitions with schemas of all kinds, and objects of them: created, changed, read.

use coracle_api::Verb;
use coracle_server::{Body, Content, Options};
use serde_json::{Map, Value, json};

use crate::choices::{Choices, metadata};
use crate::harness::{Harness, encoded, is_the_clients};

const GROUP: &str = "example.com";

pub fn case(choices: &mut Choices) {
    let api = Harness::new(None);
    let schema = root(choices);
    let definition = definition(choices, &schema);
    let body = encoded(choices, &definition);
    let (verb, plural) = (Verb::Create, "customresourcedefinitions");
    let made = api.send("apiextensions.k8s.io", "v1", plural, verb, "", body, Options::default());
    if let Err(refused) = made {
        return is_the_clients(&refused);
    }
    for at in 0..15 {
        object(choices, &api, &schema, &format!("o{at}"));
    }
    if api.kind(GROUP, "v1", "boats").is_some() {
        let all = send(&api, Verb::List, "", Body::Empty);
        assert!(all.is_ok(), "{all:?}");
    }
}

/// One object: made, written as it was read, changed.
fn object(choices: &mut Choices, api: &Harness, schema: &Value, name: &str) {
    let mut value = fitting(choices, schema, 0);
    if choices.chance(30) {
        value = choices.mutated(&value);
    }
    if !value.is_object() {
        value = json!({});
    }
    value["apiVersion"] = json!(format!("{GROUP}/v1"));
    value["kind"] = "Boat".into();
    value["metadata"] = metadata(choices, name);
    let body = encoded(choices, &value);
    let made = match send(api, Verb::Create, "", body) {
        Ok(made) => made,
        Err(refused) => return is_the_clients(&refused),
    };
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    let read = send(api, Verb::Get, &name, Body::Empty).unwrap();
    assert_eq!(read, made);
    // What is stored is right as it is, and stays so; unless it is its change that a rule judges.
    let again = send(api, Verb::Update, &name, Body::Object(read.clone()));
    let judges_changes = schema.to_string().contains("oldSelf");
    assert!(judges_changes || again.as_ref() == Ok(&read), "{schema}: {read} became {again:?}");
    let mut changed = choices.mutated(&read);
    if !changed.is_object() {
        changed = json!({});
    }
    for fixed in ["apiVersion", "kind", "metadata"] {
        changed[fixed] = read[fixed].clone();
    }
    let body = match choices.below(3) {
        0 => return told(send(api, Verb::Update, &name, Body::Object(changed))),
        1 => Body::Encoded(Content::MergePatch, changed.to_string().into()),
        _ => {
            let metadata = json!({"name": name});
            changed["metadata"] = metadata;
            Body::Encoded(Content::ApplyPatch, changed.to_string().into())
        }
    };
    told(send(api, Verb::Patch, &name, body));
}

fn told(answer: Result<Value, coracle_api::Status>) {
    if let Err(refused) = answer {
        is_the_clients(&refused);
    }
}

fn send(api: &Harness, verb: Verb, name: &str, body: Body) -> Result<Value, coracle_api::Status> {
    let options = Options { field_manager: "fuzzer".into(), ..Options::default() };
    api.send(GROUP, "v1", "boats", verb, name, body, options)
}

fn definition(choices: &mut Choices, schema: &Value) -> Value {
    let mut version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema}});
    if choices.chance(40) {
        let mut subresources = json!({"status": {}});
        if choices.chance(40) {
            subresources["scale"] = json!({"specReplicasPath": ".spec.a",
                "statusReplicasPath": ".status.b", "labelSelectorPath": ".status.c"});
        }
        version["subresources"] = subresources;
    }
    if choices.chance(20) {
        version["additionalPrinterColumns"] = json!([{"name": choices.text(), "type": "string",
            "jsonPath": format!(".spec.{}", choices.name())}]);
    }
    if choices.chance(20) {
        version["selectableFields"] = json!([{"jsonPath": format!(".spec.{}", choices.name())}]);
    }
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": GROUP,
            "scope": choices.one(&["Namespaced", "Cluster"]),
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [version],
        },
    });
    if choices.chance(5) {
        definition["spec"]["preserveUnknownFields"] = choices.chance(50).into();
    }
    if choices.chance(10) {
        definition = choices.mutated(&definition);
    }
    definition
}

/// A schema of an object with `spec` and `status`.
fn root(choices: &mut Choices) -> Value {
    let (spec, status) = (schema(choices, 4), schema(choices, 2));
    let mut root = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    if choices.chance(20) {
        rules(choices, &mut root);
    }
    if choices.chance(5) { choices.mutated(&root) } else { root }
}

fn schema(choices: &mut Choices, depth: usize) -> Value {
    let mut schema = match choices.below(if depth == 0 { 6 } else { 12 }) {
        0 | 1 => string(choices),
        2 => number(choices, "integer"),
        3 => number(choices, "number"),
        4 => json!({"type": "boolean"}),
        5 => json!({"x-kubernetes-int-or-string": true}),
        6 | 7 => list(choices, depth - 1),
        8 => json!({"type": "object", "additionalProperties": self::schema(choices, depth - 1)}),
        9 if choices.chance(30) => {
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
        }
        9 if choices.chance(30) => {
            json!({"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true})
        }
        _ => object_of(choices, depth - 1),
    };
    if choices.chance(10) {
        schema["nullable"] = true.into();
    }
    if choices.chance(15) {
        schema["default"] = fitting(choices, &schema.clone(), 0);
    }
    if choices.chance(8) {
        let junctor = choices.one(&["allOf", "anyOf", "oneOf"]);
        schema[junctor] = (0..=choices.below(2)).map(|_| partial(choices)).collect();
    }
    if choices.chance(4) {
        schema["not"] = partial(choices);
    }
    if choices.chance(12) {
        rules(choices, &mut schema);
    }
    if choices.chance(2) { choices.mutated(&schema) } else { schema }
}

/// What may stand below a junctor.
fn partial(choices: &mut Choices) -> Value {
    match choices.below(5) {
        0 => json!({"required": [choices.name()]}),
        1 => json!({"minimum": choices.integer()}),
        2 => json!({"enum": [choices.json(1), choices.json(1)]}),
        3 => json!({"properties": {choices.name(): {"maxLength": choices.below(4)}}}),
        _ => json!({"pattern": choices.one(&["^a", "b$", "[0-9]+"])}),
    }
}

fn string(choices: &mut Choices) -> Value {
    let formats = ["date-time", "date", "duration", "byte", "uuid", "ipv4", "uri", "cidr", "odd"];
    let patterns = ["^[a-z]*$", "(a|b)+", "^.{0,3}$", "\\d", "(?i)A", "[", "(?=a)", "^(a+)+$"];
    let mut schema = json!({"type": "string"});
    match choices.below(8) {
        0 => schema["format"] = choices.one(&formats).into(),
        1 => schema["pattern"] = choices.one(&patterns).into(),
        2 => schema["maxLength"] = choices.below(6).into(),
        3 => schema["enum"] = json!([choices.text(), "a"]),
        4 => schema["minLength"] = choices.integer().into(),
        _ => {}
    }
    schema
}

fn number(choices: &mut Choices, of_type: &str) -> Value {
    let mut schema = json!({"type": of_type});
    match choices.below(8) {
        0 => schema["minimum"] = choices.integer().into(),
        1 => schema["maximum"] = choices.integer().into(),
        2 => schema["multipleOf"] = choices.one(&[json!(2), json!(0.5), json!(0), json!(-3)]),
        3 => schema["format"] = choices.one(&["int32", "int64", "float", "double"]).into(),
        4 => {
            schema["minimum"] = choices.integer().into();
            schema["exclusiveMinimum"] = true.into();
        }
        _ => {}
    }
    schema
}

fn list(choices: &mut Choices, depth: usize) -> Value {
    let mut list = json!({"type": "array", "items": schema(choices, depth)});
    match choices.below(6) {
        0 => list["x-kubernetes-list-type"] = "set".into(),
        1 => list["x-kubernetes-list-type"] = "atomic".into(),
        2 | 3 => {
            let mut item = object_of(choices, depth.min(1));
            item["properties"]["key"] = json!({"type": "string"});
            match choices.chance(70) {
                true => item["required"] = json!(["key"]),
                false => item["properties"]["key"]["default"] = "k".into(),
            }
            list["items"] = item;
            list["x-kubernetes-list-type"] = "map".into();
            list["x-kubernetes-list-map-keys"] = json!(["key"]);
        }
        _ => {}
    }
    match choices.below(8) {
        0 => list["maxItems"] = choices.below(4).into(),
        1 => list["minItems"] = choices.below(3).into(),
        2 => list["uniqueItems"] = choices.chance(50).into(),
        _ => {}
    }
    list
}

fn object_of(choices: &mut Choices, depth: usize) -> Value {
    let count = choices.below(4);
    let properties: Map<String, Value> =
        (0..count).map(|_| (choices.name(), schema(choices, depth))).collect();
    let mut object = json!({"type": "object", "properties": properties});
    match choices.below(10) {
        0 => object["required"] = json!([choices.name()]),
        1 => object["x-kubernetes-preserve-unknown-fields"] = true.into(),
        2 => object["x-kubernetes-map-type"] = choices.one(&["granular", "atomic"]).into(),
        3 => object["maxProperties"] = choices.below(3).into(),
        _ => {}
    }
    object
}

fn rules(choices: &mut Choices, schema: &mut Value) {
    let rules = [
        "self == self",
        "has(self.a)",
        "self.a == oldSelf.a",
        "self.all(x, x == x)",
        "size(self) < 3",
        "self.a.matches('^a')",
        "self > 1",
        "self == oldSelf",
        "!has(self.b) || true",
        "self.exists_one(x, has(x.key))",
        "self.map(x, x).size() >= 0",
        "self.metadata.name != ''",
        "oldSelf.hasValue() ? true : false",
        "self[0] == 1 || true",
        "1 / self > 0",
        "self.",
        "isSorted(self)",
        "self.isSorted()",
        "self.spec.a == self.status.a",
    ];
    let mut rule = json!({"rule": choices.one(&rules)});
    match choices.below(8) {
        0 => rule["message"] = choices.text().into(),
        1 => {
            rule["messageExpression"] =
                choices.one(&["'a' + string(self)", "self", "''", "'x'.repeat(3)"]).into()
        }
        2 => rule["fieldPath"] = choices.one(&[".a", ".spec.a", ".b['c']", "a", ".a[0]"]).into(),
        3 => {
            rule["reason"] = choices.one(&["FieldValueInvalid", "FieldValueForbidden", "x"]).into()
        }
        4 => rule["optionalOldSelf"] = choices.chance(50).into(),
        _ => {}
    }
    schema["x-kubernetes-validations"] = json!([rule]);
}

/// A value that mostly fits `schema`.
fn fitting(choices: &mut Choices, schema: &Value, depth: usize) -> Value {
    if choices.chance(3) || depth > 8 {
        return choices.json(1);
    }
    if let Some(default) = schema.get("default").filter(|_| choices.chance(20)) {
        return default.clone();
    }
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(values) if !values.is_empty() => choices.one(values),
            _ => choices.text().into(),
        },
        Some("integer") => choices.integer().into(),
        Some("number") => choices.one(&[json!(1), json!(0.5), json!(-3), json!(1e10)]),
        Some("boolean") => choices.chance(50).into(),
        Some("array") => {
            let items = &schema["items"];
            (0..choices.below(4)).map(|_| fitting(choices, items, depth + 1)).collect()
        }
        Some("object") => {
            let mut members = Map::new();
            for (name, of) in schema["properties"].as_object().into_iter().flatten() {
                if choices.chance(75) {
                    members.insert(name.clone(), fitting(choices, of, depth + 1));
                }
            }
            if let Some(of) = schema.get("additionalProperties").filter(|it| it.is_object()) {
                for _ in 0..choices.below(3) {
                    members.insert(choices.name(), fitting(choices, of, depth + 1));
                }
            }
            if choices.chance(10) {
                members.insert(choices.name(), choices.json(2));
            }
            members.into()
        }
        _ => choices.json(2),
    }
}
