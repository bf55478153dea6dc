//! Custom resources against the `openAPIV3Schema` of their definition, with upstream's texts.
//! Rules in CEL are the crate `cel`'s.

use regex_lite::Regex;
use serde_json::{Number, Value, json};

use crate::{FieldError, FieldErrorKind};

/// What is wrong with `object` by the schema `root`. `apiVersion`, `kind` and `metadata` are
/// checked as those of every object.
pub fn validate(root: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    required(root, object, "", &mut errors);
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in
        fields.filter(|(n, _)| !matches!(n.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        let schema = &root["properties"][name];
        if !schema.is_null() {
            check(schema, value, name, &mut errors);
        }
    }
    errors
}

/// What is wrong with a value by its schema; paths are below the value.
pub fn of_value(schema: &Value, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, "", &mut errors);
    errors
}

fn check(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !schema.is_object() {
        // Nothing is said of it: a field that is kept although nobody knows it.
        return;
    }
    if value.is_null() {
        if schema["nullable"] != true {
            errors.push(wrong_type(schema, value, path));
        }
        return;
    }
    if !fits_type(schema, value) {
        errors.push(wrong_type(schema, value, path));
        return;
    }
    one_of(schema, value, path, errors);
    match value {
        Value::String(text) => string(schema, text, path, errors),
        Value::Number(number) => bounds(schema, number, path, errors),
        Value::Array(items) => {
            count(schema, items.len(), ["minItems", "maxItems"], path, errors);
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), errors);
            }
        }
        Value::Object(fields) => {
            count(schema, fields.len(), ["minProperties", "maxProperties"], path, errors);
            required(schema, value, path, errors);
            for (name, value) in fields {
                let known = &schema["properties"][name];
                let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
                check(schema, value, &format!("{path}.{name}"), errors);
            }
        }
        _ => {}
    }
    combined(schema, value, path, errors);
}

fn fits_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => true,
    }
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> FieldError {
    let wanted = schema["type"].as_str().unwrap_or("integer,string");
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let shown = json!(found).to_string();
    FieldError {
        field: path.to_owned(),
        kind: FieldErrorKind::TypeInvalid(shown),
        detail: format!("{path} in body must be of type {wanted}: \"{found}\""),
    }
}

fn required(schema: &Value, object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in names.filter(|name| object.get(name).is_none()) {
        let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        errors.push(FieldError::required(field, ""));
    }
}

fn one_of(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(allowed) = schema["enum"].as_array() else { return };
    if allowed.contains(value) {
        return;
    }
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    errors.push(FieldError {
        field: path.to_owned(),
        kind: FieldErrorKind::NotSupported {
            value: value.to_string(),
            supported: allowed.iter().map(shown).collect(),
        },
        detail: String::new(),
    });
}

fn invalid(path: &str, value: &Value, what: &str) -> FieldError {
    FieldError::invalid(path, value, format!("{path} in body {what}"))
}

fn string(schema: &Value, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count();
    let shorter = schema["minLength"].as_u64().is_some_and(|min| (length as u64) < min);
    if shorter {
        let what = format!("should be at least {} chars long", schema["minLength"]);
        errors.push(invalid(path, &json!(text), &what));
    }
    if let Some(max) = schema["maxLength"].as_u64().filter(|max| length as u64 > *max) {
        let kind = FieldErrorKind::TooLong(usize::try_from(max).unwrap_or(usize::MAX));
        errors.push(FieldError { field: path.into(), kind, detail: String::new() });
    }
    let Some(pattern) = schema["pattern"].as_str() else { return };
    // A pattern that we cannot read forbids nothing, rather than everything.
    if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
        errors.push(invalid(path, &json!(text), &format!("should match '{pattern}'")));
    }
}

fn bounds(schema: &Value, number: &Number, path: &str, errors: &mut Vec<FieldError>) {
    let Some(found) = number.as_f64() else { return };
    let shown = Value::Number(number.clone());
    if let Some(min) = schema["minimum"].as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if found < min || (exclusive && found <= min) {
            let word = if exclusive { "greater than" } else { "greater than or equal to" };
            let what = format!("should be {word} {}", schema["minimum"]);
            errors.push(invalid(path, &shown, &what));
        }
    }
    if let Some(max) = schema["maximum"].as_f64() {
        let exclusive = schema["exclusiveMaximum"] == true;
        if found > max || (exclusive && found >= max) {
            let word = if exclusive { "less than" } else { "less than or equal to" };
            let what = format!("should be {word} {}", schema["maximum"]);
            errors.push(invalid(path, &shown, &what));
        }
    }
    if let Some(step) = schema["multipleOf"].as_f64()
        && (found / step).fract() != 0.0
    {
        let what = format!("should be a multiple of {}", schema["multipleOf"]);
        errors.push(invalid(path, &shown, &what));
    }
}

fn count(
    schema: &Value,
    found: usize,
    [min, max]: [&str; 2],
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let what = if min == "minItems" { "items" } else { "properties" };
    if schema[min].as_u64().is_some_and(|min| (found as u64) < min) {
        let detail = format!("should have at least {} {what}", schema[min]);
        errors.push(invalid(path, &json!(found), &detail));
    }
    if let Some(max) = schema[max].as_u64().and_then(|max| usize::try_from(max).ok())
        && found > max
    {
        let kind = FieldErrorKind::TooMany(found, max);
        errors.push(FieldError { field: path.into(), kind, detail: String::new() });
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn combined(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fits = |schema: &Value| {
        let mut errors = Vec::new();
        check(schema, value, path, &mut errors);
        errors.is_empty()
    };
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(part, value, path, errors);
    }
    let fitting = |name: &str| {
        schema[name].as_array().map(|parts| parts.iter().filter(|part| fits(part)).count())
    };
    if fitting("anyOf") == Some(0) {
        errors.push(invalid(path, value, "must validate at least one schema (anyOf)"));
    }
    if fitting("oneOf").is_some_and(|count| count != 1) {
        errors.push(invalid(path, value, "must validate one and only one schema (oneOf)"));
    }
    if schema["not"].is_object() && fits(&schema["not"]) {
        errors.push(invalid(path, value, "must not validate the schema (not)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(spec: Value) -> Vec<String> {
        let root = json!({"type": "object", "properties": {"spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
                "port": {"x-kubernetes-int-or-string": true},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 1},
            },
        }}});
        let object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {}, "spec": spec});
        validate(&root, &object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_does_not_fit_the_schema_is_named() {
        assert!(errors(json!({"size": 1, "mode": "a", "port": "x", "name": "abc"})).is_empty());
        assert_eq!(errors(json!({})), ["spec.size: Required value"]);
        assert_eq!(
            errors(json!({"size": 0})),
            ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"]
        );
        assert_eq!(
            errors(json!({"size": "x"})),
            [
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""
            ]
        );
        assert_eq!(
            errors(json!({"size": 1, "mode": "c"})),
            ["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""]
        );
        assert_eq!(errors(json!({"size": 1, "name": "A1", "tags": ["a", "b"]})).len(), 2);
    }
}
