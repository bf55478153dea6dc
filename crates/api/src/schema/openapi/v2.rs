//! The OpenAPI v2 document: the same paths and definitions in the older form.

use serde_json::{Map, Value, json};

use super::parameters::Parameter;
use super::paths::{Body, Operation, Path};
use super::{ANSWERS, DELETE_OPTIONS, PATCH, patch_types};
use crate::schema::REFERENCE;

const V2_REFERENCE: &str = "#/definitions/";
const PRESERVES: &str = "x-kubernetes-preserve-unknown-fields";
const KIND: &str = "x-kubernetes-group-version-kind";

/// The path item, with the operations under `tag`.
pub(super) fn path_item(path: &Path, tag: &str) -> Value {
    path.item(|operation| operation_value(operation, tag), parameter)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut value = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "type": parameter.ty,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        value["required"] = true.into();
    }
    value
}

fn operation_value(operation: &Operation, tag: &str) -> Value {
    let (group, version, kind) = &operation.gvk;
    let (consumes, body) = body(&operation.body);
    let query = operation.parameters.iter().copied().map(parameter);
    json!({
        "tags": [tag],
        "description": operation.about,
        "operationId": operation.id,
        "consumes": consumes,
        "produces": if operation.answer.is_some() { ANSWERS } else { &["*/*"] },
        "schemes": ["https"],
        "parameters": body.into_iter().chain(query).collect::<Value>(),
        "responses": responses(operation),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    })
}

fn body(body: &Body) -> (Vec<&'static str>, Option<Value>) {
    let parameter = |schema: &str, required: bool| {
        let schema = reference(schema);
        json!({"name": "body", "in": "body", "required": required, "schema": schema})
    };
    match body {
        Body::None => (vec!["*/*"], None),
        Body::Object(name) => (vec!["*/*"], Some(parameter(name, true))),
        Body::Patch { strategic } => (patch_types(*strategic), Some(parameter(PATCH, true))),
        Body::DeleteOptions => (vec!["*/*"], Some(parameter(DELETE_OPTIONS, false))),
    }
}

fn responses(operation: &Operation) -> Value {
    let mut all = Map::new();
    let schema = operation.answer.as_deref().map_or(json!({"type": "string"}), reference);
    for (code, meaning) in operation.codes {
        all.insert((*code).into(), json!({"description": meaning, "schema": schema}));
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(all)
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("{V2_REFERENCE}{schema}")})
}

/// What clients of v2 cannot be told of a custom resource they are told nothing of: they would take
/// `null`, or a field that is kept although nobody knows it, for a mistake.
fn loosen(map: &mut Map<String, Value>) {
    let says = |map: &Map<String, Value>, word: &str| map.get(word) == Some(&Value::Bool(true));
    let is_object = |map: &Map<String, Value>| map.get("type").is_some_and(|ty| ty == "object");
    if says(map, PRESERVES) && map.contains_key(KIND) {
        map.retain(|word, _| word == "type" || word == KIND);
        return;
    }
    let null: Vec<String> = match map.get("properties") {
        Some(Value::Object(all)) => {
            let may_be_null = all.iter().filter(|(_, property)| property["nullable"] == true);
            may_be_null.map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| null.iter().all(|null| name != null.as_str()));
    }
    if says(map, "nullable") {
        ["type", "items", "properties"].iter().for_each(|word| drop(map.remove(*word)));
    }
    if says(map, PRESERVES) {
        ["items", "properties"].iter().for_each(|word| drop(map.remove(*word)));
        if is_object(map) {
            map.remove("type");
        }
    }
    if says(map, "x-kubernetes-int-or-string") {
        map.remove("type");
    }
}

/// Turns a schema, and those inside it, from v3 to v2: references may have siblings, and there is
/// no choice of types.
pub(super) fn definition(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Array(mut all)) = map.remove("allOf")
        && let Some(Value::Object(only)) = all.pop()
    {
        map.extend(only);
    }
    if let Some(Value::String(target)) = map.get_mut("$ref") {
        *target = target.replace(REFERENCE, V2_REFERENCE);
    }
    if map.remove("oneOf").is_some() {
        map.insert("type".into(), "string".into());
    }
    loosen(map);
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(definition);
    }
    for inner in ["items", "additionalProperties"] {
        map.get_mut(inner).into_iter().for_each(definition);
    }
    // Words of v3 that custom resources may use and v2 does not know.
    for unknown in ["nullable", "anyOf", "not"] {
        map.remove(unknown);
    }
}
