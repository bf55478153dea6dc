//! The types that an `openAPIV3Schema` declares, and how expressions call its fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::types::{Field, Identity, ListType, ObjectType, Type};

/// Words that no expression may have for a name.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What expressions call the property `name`: `foo-bar` is `foo__dash__bar`. `None` for one that they
/// cannot name.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) || name.is_empty() {
        return None;
    }
    let mut escaped = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '_' if letters.next_if_eq(&'_').is_some() => escaped.push_str("__underscores__"),
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            letter if letter.is_ascii_alphanumeric() || letter == '_' => escaped.push(letter),
            _ => return None,
        }
    }
    Some(escaped)
}

/// The type of what `schema` describes, called `name`; `None` for what expressions cannot see.
/// `is_resource` says that it is a whole object with metadata.
#[must_use]
pub fn declared(schema: &Json, is_resource: bool, name: &str) -> Option<Type> {
    if schema["x-kubernetes-int-or-string"] == true {
        return Some(Type::Dyn);
    }
    Some(match schema["type"].as_str().unwrap_or_default() {
        "boolean" => Type::Bool,
        "integer" => Type::Int,
        "number" => Type::Double,
        "string" => match schema["format"].as_str().unwrap_or_default() {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        },
        "array" => {
            let items = &schema["items"];
            let of = format!("{name}.@idx");
            let element = declared(items, is_embedded(items), &of)?;
            Type::List(Arc::new(ListType { element, identity: identity(schema) }))
        }
        "object" => object(schema, is_resource, name)?,
        _ if is_resource => object(schema, is_resource, name)?,
        _ => return None,
    })
}

pub(crate) fn is_embedded(schema: &Json) -> bool {
    schema["x-kubernetes-embedded-resource"] == true
}

fn identity(schema: &Json) -> Identity {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Identity::Value,
        Some("map") => Identity::Keys(keys(schema)),
        _ => Identity::Order,
    }
}

/// What tells the elements of a list apart that is a map.
pub(crate) fn keys(schema: &Json) -> Vec<String> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    keys.filter_map(Json::as_str).map(str::to_owned).collect()
}

fn object(schema: &Json, is_resource: bool, name: &str) -> Option<Type> {
    let others = &schema["additionalProperties"];
    if others.is_object() {
        let value = declared(others, is_embedded(others), &format!("{name}.@elem"))?;
        return Some(Type::map(Type::String, value));
    }
    let mut fields = BTreeMap::new();
    for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
        let Some(escaped) = escape(property) else { continue };
        let of = format!("{name}.{escaped}");
        if let Some(ty) = declared(schema, is_embedded(schema), &of) {
            fields.insert(escaped, Field { json: property.as_str().into(), ty });
        }
    }
    if is_resource {
        let text = |json: &str| (json.to_owned(), Field { json: json.into(), ty: Type::String });
        let of = ObjectType {
            name: format!("{name}.metadata"),
            fields: ["name", "generateName"].map(text).into(),
        };
        fields.extend(["apiVersion", "kind"].map(text));
        let ty = Type::Object(Arc::new(of));
        fields.insert("metadata".to_owned(), Field { json: "metadata".into(), ty });
    }
    Some(Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, escaped) in [
            ("foo", Some("foo")),
            ("foo-bar", Some("foo__dash__bar")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b_c", Some("a__underscores__b_c")),
            ("namespace", Some("__namespace__")),
            ("$ref", None),
            ("1a", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
        }
    }

    #[test]
    fn a_schema_declares_what_can_be_seen() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "number"}, "i": {"type": "integer"}, "b": {"type": "string", "format": "byte"},
            "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"},
            "e": {"x-kubernetes-int-or-string": true}, "u": {"x-kubernetes-preserve-unknown-fields": true},
            "m": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "$x": {"type": "string"}, "metadata": {"type": "object"},
        }});
        let Some(Type::Object(object)) = declared(&schema, true, "self") else {
            panic!("{schema}")
        };
        let shown: Vec<String> =
            object.fields.iter().map(|(name, field)| format!("{name} {}", field.ty)).collect();
        assert_eq!(
            shown,
            [
                "apiVersion string",
                "b bytes",
                "d duration",
                "e dyn",
                "i int",
                "kind string",
                "m map(string, list(string))",
                "metadata self.metadata",
                "n double",
                "t timestamp",
            ]
        );
    }
}
