//! How large what a schema describes may be: upstream's `SchemaDeclType`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::declared::{escape, is_embedded};

/// Bytes that a request may have.
const MAX_REQUEST: i64 = 3 * 1024 * 1024;
/// Bytes that the shortest text takes.
const TEXT: i64 = 2;

/// A part of a schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sized {
    /// Characters, elements or entries at most; of what has no size nothing.
    pub(crate) most: u64,
    /// Bytes that it takes at least.
    pub(crate) least_bytes: i64,
    /// By the names that expressions use.
    pub(crate) fields: BTreeMap<String, Sized>,
    pub(crate) element: Option<Box<Sized>>,
    pub(crate) key: Option<Box<Sized>>,
}

/// What `schema` limits by `field`.
pub(crate) fn limit(schema: &Json, field: &str) -> Option<i64> {
    schema[field].as_i64().map(|it| it.max(0))
}

impl Sized {
    /// What `schema` describes; `None` for what expressions cannot see. `is_resource` says that it is a
    /// whole object with metadata.
    pub(crate) fn of(schema: &Json, is_resource: bool) -> Option<Self> {
        if schema["x-kubernetes-int-or-string"] == true {
            let most =
                limit(schema, "maxLength").map_or(MAX_REQUEST - 2, |most| most.saturating_mul(4));
            return Some(Self::leaf(most, 1));
        }
        match schema["type"].as_str().unwrap_or_default() {
            "array" => {
                let items = Self::of(&schema["items"], is_embedded(&schema["items"]))?;
                let guess = (MAX_REQUEST - 2).checked_div(items.least_bytes.saturating_add(1));
                let most = limit(schema, "maxItems").or(guess).unwrap_or(MAX_REQUEST);
                let element = Some(Box::new(items));
                Some(Self { element, ..Self::leaf(most, 2) })
            }
            "object" => Self::object(schema, is_resource),
            "string" => Some(Self::text(schema)),
            "boolean" => Some(Self::leaf(0, 4)),
            "number" | "integer" => Some(Self::leaf(0, 1)),
            _ if is_resource => Self::object(schema, is_resource),
            _ => None,
        }
    }

    fn leaf(most: i64, least_bytes: i64) -> Self {
        Self { most: most.unsigned_abs(), least_bytes, ..Self::default() }
    }

    fn text(schema: &Json) -> Self {
        let limit = limit(schema, "maxLength");
        match schema["format"].as_str().unwrap_or_default() {
            "byte" => Self::leaf(limit.unwrap_or(MAX_REQUEST - 2), TEXT),
            "duration" => Self::leaf(32, 3),
            "date" => Self::leaf(12, 12),
            "date-time" => Self::leaf(32, 21),
            _ => {
                let longest = schema["enum"].as_array().filter(|all| !all.is_empty()).map(|all| {
                    let lengths = all.iter().filter_map(Json::as_str).map(str::len);
                    i64::try_from(lengths.max().unwrap_or_default()).unwrap_or(MAX_REQUEST)
                });
                let limit = limit.map(|most| most.saturating_mul(4)).or(longest);
                Self::leaf(limit.unwrap_or(MAX_REQUEST - 2), TEXT)
            }
        }
    }

    fn object(schema: &Json, is_resource: bool) -> Option<Self> {
        let others = &schema["additionalProperties"];
        if others.is_object() {
            let value = Self::of(others, is_embedded(others))?;
            let guess = (MAX_REQUEST - 2).checked_div(value.least_bytes.saturating_add(6));
            let most = limit(schema, "maxProperties").or(guess).unwrap_or(MAX_REQUEST);
            return Some(Self {
                element: Some(Box::new(value)),
                key: Some(Box::new(Self::leaf(0, TEXT))),
                ..Self::leaf(most, 2)
            });
        }
        let mut made = Self::leaf(0, 2);
        let required = schema["required"].as_array();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let Some(field) = Self::of(property, is_embedded(property)) else { continue };
            let is_required = required.is_some_and(|all| all.iter().any(|it| it == name.as_str()));
            if is_required && property["default"].is_null() {
                let name = i64::try_from(name.len()).unwrap_or(MAX_REQUEST);
                made.least_bytes = made
                    .least_bytes
                    .saturating_add(name)
                    .saturating_add(field.least_bytes)
                    .saturating_add(4);
            }
            if let Some(name) = escape(name) {
                made.fields.insert(name, field);
            }
        }
        if is_resource {
            let text = || Self::leaf(MAX_REQUEST - 2, TEXT);
            let mut metadata = Self::leaf(0, 2);
            metadata.fields.extend(["name", "generateName"].map(|name| (name.to_owned(), text())));
            made.fields.extend(["apiVersion", "kind"].map(|name| (name.to_owned(), text())));
            made.fields.insert("metadata".to_owned(), metadata);
        }
        Some(made)
    }

    /// How often there can be what this describes, in places that have no limit.
    pub(crate) fn most_often(&self) -> u64 {
        let often = MAX_REQUEST.checked_div(self.least_bytes.saturating_add(1));
        often.unwrap_or(MAX_REQUEST).unsigned_abs()
    }
}
