//! Maps: those of JSON, objects with known fields, and those that were made.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value};
use crate::types::{ObjectType, Type};

/// A key of a map. Whole numbers are the same whatever their type.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// With sign.
    Int(i64),
    /// Without sign.
    Uint(u64),
    /// Text.
    Text(Text<'a>),
}

impl<'a> Key<'a> {
    /// `value` as a key, if it may be one. A float that is whole is looked up as that.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        match value {
            Value::Bool(it) => Some(Self::Bool(*it)),
            Value::Int(it) => Some(Self::Int(*it)),
            Value::Uint(it) => Some(Self::Uint(*it)),
            Value::Text(it) => Some(Self::Text(it.clone())),
            Value::Double(it) if it.fract() == 0.0 && it.abs() < 9e18 => {
                Some(Self::Int(*it as i64))
            }
            _ => None,
        }
    }

    /// As a value.
    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(it) => Value::Bool(*it),
            Self::Int(it) => Value::Int(*it),
            Self::Uint(it) => Value::Uint(*it),
            Self::Text(it) => Value::Text(it.clone()),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(it) => Some(i128::from(*it)),
            Self::Uint(it) => Some(i128::from(*it)),
            _ => None,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let class = |key: &Self| match key {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Uint(_) => 1,
            Self::Text(_) => 2,
        };
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => (**a).cmp(&**b),
            (a, b) => class(a).cmp(&class(b)).then_with(|| a.number().cmp(&b.number())),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

/// A map or an object.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// As it stands in JSON, and the type of its values.
    Json(&'a serde_json::Map<String, Json>, &'a Type),
    /// An object, and what is known of its fields.
    Object(&'a serde_json::Map<String, Json>, &'a ObjectType),
    /// As it was made.
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) | Self::Object(fields, _) => fields.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is at `key`.
    #[must_use]
    pub fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Made(entries), key) => entries.get(key).cloned(),
            (_, Key::Text(name)) => self.field(name),
            _ => None,
        }
    }

    /// What is at the key `name`, or in the field that expressions call so.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(fields, ty) => fields.get(name).map(|value| Value::of(value, ty)),
            Self::Object(fields, object) => {
                let field = object.fields.get(name)?;
                let value = fields.get(&*field.json)?;
                // A field that is null is one that is not there.
                (!value.is_null()).then(|| Value::of(value, &field.ty))
            }
            Self::Made(entries) => {
                let name = Text::Made(name.into());
                entries.get(&Key::Text(name)).cloned()
            }
        }
    }

    /// All keys in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key<'a>> {
        match self {
            Self::Json(fields, _) | Self::Object(fields, _) => {
                fields.keys().map(|key| Key::Text(Text::Borrowed(key))).collect()
            }
            Self::Made(entries) => entries.keys().cloned().collect(),
        }
    }

    /// What it was read from, if it was not made.
    pub(crate) fn json(&self) -> Option<&'a serde_json::Map<String, Json>> {
        match self {
            Self::Json(fields, _) | Self::Object(fields, _) => Some(fields),
            Self::Made(_) => None,
        }
    }

    /// What is in the field that JSON calls `name`.
    pub(crate) fn json_field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Object(fields, object) => {
                let ty = object.fields.values().find(|field| *field.json == *name);
                let value = fields.get(name)?;
                Some(Value::of(value, ty.map_or(&super::DYN, |field| &field.ty)))
            }
            other => other.field(name),
        }
    }
}
