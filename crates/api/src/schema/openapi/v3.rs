//! A path of an OpenAPI v3 document.

use serde_json::{Map, Value, json};

use super::parameters::Parameter;
use super::paths::{Body, Operation, Path};
use super::{ANSWERS, DELETE_OPTIONS, PATCH, patch_types};
use crate::schema::REFERENCE;

/// The path item, with the operations under `tag`.
pub(super) fn path_item(path: &Path, tag: &str) -> Value {
    path.item(|operation| operation_value(operation, tag), parameter)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut value = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "schema": {"type": parameter.ty, "uniqueItems": true},
    });
    if parameter.place == "path" {
        value["required"] = true.into();
    }
    value
}

fn operation_value(operation: &Operation, tag: &str) -> Value {
    let (group, version, kind) = &operation.gvk;
    let mut value = json!({
        "tags": [tag],
        "description": operation.about,
        "operationId": operation.id,
        "responses": responses(operation),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    if !operation.parameters.is_empty() {
        value["parameters"] = operation.parameters.iter().copied().map(parameter).collect();
    }
    if let Some(body) = request_body(&operation.body) {
        value["requestBody"] = body;
    }
    value
}

fn request_body(body: &Body) -> Option<Value> {
    let (types, schema, required) = match body {
        Body::None => return None,
        Body::Object(name) => (vec!["*/*"], name.as_str(), true),
        Body::Patch { strategic } => (patch_types(*strategic), PATCH, true),
        Body::DeleteOptions => (vec!["*/*"], DELETE_OPTIONS, false),
    };
    let mut value = json!({"content": content(&types, &reference(schema))});
    if required {
        value["required"] = true.into();
    }
    Some(value)
}

fn responses(operation: &Operation) -> Value {
    let mut all = Map::new();
    let content = match &operation.answer {
        Some(schema) => content(ANSWERS, &reference(schema)),
        None => content(&["*/*"], &json!({"type": "string"})),
    };
    for (code, meaning) in operation.codes {
        all.insert((*code).into(), json!({"description": meaning, "content": content}));
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(all)
}

fn content(types: &[&str], schema: &Value) -> Value {
    let entries = types.iter().map(|ty| ((*ty).to_string(), json!({"schema": schema})));
    Value::Object(entries.collect())
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("{REFERENCE}{schema}")})
}
