//! Lists: those of JSON, read element by element, and those that were made.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Value;
use crate::types::{Identity, ListType};

/// A list.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// As it stands in JSON, and what it is known to hold.
    Json(&'a [Json], &'a ListType),
    /// As it was made.
    Made(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, ty) => items.get(index).map(|item| Value::of(item, &ty.element)),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// What tells an element of a list apart from others: its fields `keys`.
    pub(crate) fn key_of(item: &Json, keys: &[String]) -> String {
        let parts: Vec<String> = keys.iter().map(|key| item[key.as_str()].to_string()).collect();
        parts.join("\0")
    }

    /// This list and `other`, as `+` makes it.
    pub(crate) fn plus(&self, other: &Self) -> Vec<Value<'a>> {
        let (Self::Json(ours, ty), Self::Json(theirs, _)) = (self, other) else {
            return self.iter().chain(other.iter()).collect();
        };
        let name = |item: &Json| match &ty.identity {
            Identity::Keys(keys) => Self::key_of(item, keys),
            _ => item.to_string(),
        };
        if ty.identity == Identity::Order {
            return self.iter().chain(other.iter()).collect();
        }
        let mut places: std::collections::BTreeMap<String, usize> =
            ours.iter().enumerate().map(|(at, item)| (name(item), at)).collect();
        let mut all: Vec<Value<'a>> = self.iter().collect();
        for (item, value) in theirs.iter().zip(other.iter()) {
            match places.get(&name(item)) {
                Some(at) => all[*at] = value,
                None => {
                    places.insert(name(item), all.len());
                    all.push(value);
                }
            }
        }
        all
    }
}
