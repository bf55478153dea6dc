//! Values seen through the schema: which paths a value has, how two values differ, how one is
//! merged into the other, and what is left when paths are taken away.
//!
//! The rules are those of upstream's structured-merge-diff: scalars, atomic lists and atomic maps
//! are one field; other maps are the fields in them; lists with keys are their items.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{FieldSet, PathElement};
use crate::patch::go_text;
use crate::schema::{ListType, Object, Schema, Type};

/// A type in its place: the field that refers to it may say that it is atomic there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    schema: &'a Schema,
    ty: &'a Type,
    atomic: Option<bool>,
}

/// How a value at a place is treated.
enum Shape<'a> {
    /// As one.
    Leaf,
    /// Member by member.
    Map,
    /// By the items' keys.
    Keyed(&'a Type, &'a [Box<str>]),
    /// By the items themselves.
    Set(&'a Type),
}

/// What changed between two values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new one.
    pub added: FieldSet,
    /// In both, with different values.
    pub modified: FieldSet,
    /// Only in the old one.
    pub removed: FieldSet,
}

impl Comparison {
    /// All that changed, without what is at or below `ignored`.
    #[must_use]
    pub fn without(&self, ignored: &FieldSet) -> Self {
        Self {
            added: self.added.without(ignored),
            modified: self.modified.without(ignored),
            removed: self.removed.without(ignored),
        }
    }
}

/// Why a value does not fit the schema: path and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Mismatch {
    /// `.spec.replicas`
    pub path: String,
    /// `expected numeric (int or float), got string`
    pub problem: String,
}

impl<'a> Place<'a> {
    /// The place of a whole object.
    pub fn root(schema: &'a Schema, ty: &'a Type) -> Self {
        Self { schema, ty, atomic: None }
    }

    fn item(self, ty: &'a Type) -> Self {
        Self { ty, atomic: None, ..self }
    }

    fn object(self) -> Option<&'a Object> {
        match self.schema.resolve(self.ty) {
            Type::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether the schema names the member `name` of the map here.
    fn names(self, name: &str) -> bool {
        self.object().is_some_and(|object| object.field(name).is_some())
    }

    fn member(self, name: &str) -> Self {
        match self.schema.resolve(self.ty) {
            Type::Object(object) => match object.field(name) {
                Some(field) => Self { ty: &field.ty, atomic: field.atomic, ..self },
                None => self.item(&Type::Any),
            },
            Type::Map(map) => self.item(&map.elem),
            _ => self.item(&Type::Any),
        }
    }

    fn shape(self, value: &Value) -> Shape<'a> {
        let ty = self.schema.resolve(self.ty);
        let atomic = |by_type: bool| self.atomic.unwrap_or(by_type);
        match (ty, value) {
            (Type::Object(object), Value::Object(_)) if !atomic(object.atomic) => Shape::Map,
            (Type::Map(map), Value::Object(_)) if !atomic(map.atomic) => Shape::Map,
            (Type::Any, Value::Object(_)) => Shape::Map,
            (Type::Array(array), Value::Array(_)) => match &array.list_type {
                ListType::Map(keys) => Shape::Keyed(&array.elem, keys),
                ListType::Set => Shape::Set(&array.elem),
                ListType::Atomic => Shape::Leaf,
            },
            _ => Shape::Leaf,
        }
    }

    /// The path element of an item of a keyed list; a missing key counts with its default.
    fn key(self, item: &Value, keys: &[Box<str>]) -> Result<PathElement, String> {
        let Value::Object(fields) = item else {
            return Err("associative list with keys may not have non-map elements".to_string());
        };
        let mut found = Map::new();
        for key in keys {
            let default = || self.object()?.field(key)?.default.as_deref().cloned();
            match fields.get(key.as_ref()).cloned().or_else(default) {
                Some(value) => drop(found.insert(key.to_string(), value)),
                None => {
                    return Err(format!(
                        "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                    ));
                }
            }
        }
        Ok(PathElement::key(found))
    }

    /// The members of a map or the items of a list that is not atomic, each with its path
    /// element and place; `None` for a leaf. Items without a key are left out.
    fn parts(self, value: &Value) -> Option<Vec<(PathElement, Self, &Value)>> {
        match (self.shape(value), value) {
            (Shape::Map, Value::Object(map)) => Some(
                map.iter()
                    .map(|(name, value)| (PathElement::field(name), self.member(name), value))
                    .collect(),
            ),
            (Shape::Keyed(elem, keys), Value::Array(items)) => {
                let place = self.item(elem);
                let part = |item| Some((place.key(item, keys).ok()?, place, item));
                Some(items.iter().filter_map(part).collect())
            }
            (Shape::Set(elem), Value::Array(items)) => {
                let part = |item| (PathElement::value(item), self.item(elem), item);
                Some(items.iter().map(part).collect())
            }
            _ => None,
        }
    }
}

/// All paths of `value`: the leaves, the items of keyed lists, the members of maps that are no
/// structs, and what is empty.
pub fn field_set(place: Place<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    let Some(parts) = place.parts(value) else { return set };
    let is_map = value.is_object();
    for (element, part, value) in parts {
        let below = field_set(part, value);
        let named = is_map && element.field_name().is_some_and(|name| place.names(name));
        let leaf = match value {
            Value::Array(items) if items.is_empty() => matches!(part.shape(value), Shape::Leaf),
            _ => below.is_empty(),
        };
        if leaf || !named {
            set.insert_element(&element);
        }
        set.set_below(&element, below);
    }
    set
}

/// What changes from `old` to `new`, which are in the form in which Go writes them: what is always
/// there is nobody's.
pub fn compare(place: Place<'_>, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    compare_at(place, Some(old), Some(new), &mut Vec::new(), &mut comparison);
    comparison
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn compare_at(
    place: Place<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<PathElement>,
    found: &mut Comparison,
) {
    // Most of what is written is as it was.
    if old == new {
        return;
    }
    let old_parts = old.and_then(|value| place.parts(value));
    let new_parts = new.and_then(|value| place.parts(value));
    let absent = |value: Option<&Value>| value.is_none_or(Value::is_null);
    let comparable = (old_parts.is_some() || absent(old)) && (new_parts.is_some() || absent(new));
    let leaf = !comparable || (is_empty(old) && is_empty(new));
    match (old, new) {
        (None, Some(_)) => found.added.insert(path),
        (Some(_), None) => found.removed.insert(path),
        (Some(old), Some(new)) if leaf && old != new => found.modified.insert(path),
        _ => {}
    }
    if leaf {
        return;
    }
    let mut sides: BTreeMap<PathElement, (Place<'_>, Option<&Value>, Option<&Value>)> =
        BTreeMap::new();
    for (element, place, value) in old_parts.into_iter().flatten() {
        sides.entry(element).or_insert((place, None, None)).1.get_or_insert(value);
    }
    for (element, place, value) in new_parts.into_iter().flatten() {
        sides.entry(element).or_insert((place, None, None)).2.get_or_insert(value);
    }
    for (element, (place, old, new)) in sides {
        path.push(element);
        compare_at(place, old, new, path, found);
        path.pop();
    }
}

/// `live` with all that `config` says.
pub fn merge(place: Place<'_>, live: &Value, config: &Value) -> Value {
    match (place.shape(live), place.shape(config), live, config) {
        (Shape::Map, Shape::Map, Value::Object(live), Value::Object(config)) => {
            let mut result = live.clone();
            for (name, value) in config {
                let merged = match live.get(name) {
                    Some(old) => merge(place.member(name), old, value),
                    None => value.clone(),
                };
                result.insert(name.clone(), merged);
            }
            Value::Object(result)
        }
        (Shape::Keyed(..) | Shape::Set(_), Shape::Keyed(..) | Shape::Set(_), _, _) => {
            merge_lists(place, live, config)
        }
        _ => config.clone(),
    }
}

/// Items of `config` keep their order; those only in `live` stay before the items they preceded.
fn merge_lists(place: Place<'_>, live: &Value, config: &Value) -> Value {
    let live = place.parts(live).unwrap_or_default();
    let config = place.parts(config).unwrap_or_default();
    let (mut result, mut left) = (Vec::new(), live.iter().peekable());
    let wanted = |element: &PathElement| config.iter().any(|(other, ..)| other == element);
    for (position, (element, part, value)) in config.iter().enumerate() {
        while let Some((other, _, item)) = left.peek() {
            let merged = config.iter().take(position).any(|(earlier, ..)| earlier == other);
            if wanted(other) && !merged {
                break;
            }
            if !merged {
                result.push((*item).clone());
            }
            left.next();
        }
        let old = live.iter().find(|(other, ..)| other == element);
        result.push(old.map_or_else(|| (*value).clone(), |(_, _, old)| merge(*part, old, value)));
    }
    result.extend(left.filter(|(other, ..)| !wanted(other)).map(|(_, _, item)| (*item).clone()));
    Value::Array(result)
}

/// `value` without the paths in `set`. What held nothing else stays, empty.
pub fn remove(place: Place<'_>, value: &Value, set: &FieldSet) -> Value {
    let Some(parts) = place.parts(value) else { return value.clone() };
    if parts.iter().all(|(element, ..)| set.below(element).is_none()) {
        return value.clone();
    }
    let (mut map, mut items) = (Map::new(), Vec::new());
    for (element, part, value) in parts {
        if set.has(&element) {
            continue;
        }
        let left =
            set.below(&element).map_or_else(|| value.clone(), |set| remove(part, value, set));
        match element.field_name() {
            Some(name) => drop(map.insert(name.to_string(), left)),
            None => items.push(left),
        }
    }
    if value.is_object() { Value::Object(map) } else { Value::Array(items) }
}

/// The set with the structs on the way to its paths added: who owns `spec.a` can remove `spec`.
#[must_use]
pub fn with_structs(place: Place<'_>, set: &FieldSet) -> FieldSet {
    let mut result = set.clone();
    for (element, below) in set.children() {
        let part = match (element.field_name(), place.schema.resolve(place.ty)) {
            (Some(name), _) => {
                if !below.is_empty() && place.names(name) {
                    result.insert_element(element);
                }
                place.member(name)
            }
            (None, Type::Array(array)) => place.item(&array.elem),
            (None, _) => place.item(&Type::Any),
        };
        result.set_below(element, with_structs(part, below));
    }
    result
}

/// How `value`, an applied configuration, does not fit the schema, in upstream's words.
pub fn check(place: Place<'_>, value: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    check_at(place, value, "", &mut found);
    found
}

fn check_at(place: Place<'_>, value: &Value, path: &str, found: &mut Vec<Mismatch>) {
    if let Some(problem) = wrong_type(place.schema.resolve(place.ty), value) {
        found.push(Mismatch { path: path.to_string(), problem });
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{path}.{name}");
                let known = place
                    .object()
                    .is_none_or(|object| object.preserve_unknown || object.field(name).is_some());
                if known {
                    check_at(place.member(name), value, &path, found);
                } else {
                    let problem = "field not declared in schema".to_string();
                    found.push(Mismatch { path, problem });
                }
            }
        }
        Value::Array(items) => check_items(place, items, path, found),
        _ => {}
    }
}

/// Paths of what `value` says of lists, maps and structs that are one value each, by fields of structs
/// and by items of lists.
pub fn atomics(place: Place<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    atomics_at(place, value, "", &mut found);
    found
}

fn atomics_at(place: Place<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    let is_one = matches!(place.shape(value), Shape::Leaf);
    match value {
        Value::Object(map) => {
            found.extend(is_one.then(|| path.to_owned()));
            for (name, value) in map.iter().filter(|(name, _)| place.names(name)) {
                atomics_at(place.member(name), value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            found.extend(is_one.then(|| path.to_owned()));
            let Type::Array(array) = place.schema.resolve(place.ty) else { return };
            for (index, item) in items.iter().enumerate() {
                atomics_at(place.item(&array.elem), item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn check_items(place: Place<'_>, items: &[Value], path: &str, found: &mut Vec<Mismatch>) {
    let Type::Array(array) = place.schema.resolve(place.ty) else { return };
    let part = place.item(&array.elem);
    let mut seen = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let element = match &array.list_type {
            ListType::Map(keys) => part.key(item, keys),
            ListType::Set => Ok(PathElement::value(item)),
            ListType::Atomic => Ok(PathElement::index(index)),
        };
        match element {
            Err(problem) => {
                let problem = format!("element {index}: {problem}");
                found.push(Mismatch { path: path.to_string(), problem });
            }
            Ok(element) => {
                check_at(part, item, &format!("{path}{element}"), found);
                let times = seen.entry(element.clone()).or_insert(0);
                *times += 1;
                if *times == 2 {
                    let problem = format!("duplicate entries for key {element}");
                    found.push(Mismatch { path: path.to_string(), problem });
                }
            }
        }
    }
}

fn wrong_type(ty: &Type, value: &Value) -> Option<String> {
    match (ty, value) {
        (_, Value::Null)
        | (Type::Any, _)
        | (Type::Boolean, Value::Bool(_))
        | (Type::Integer | Type::Integer32 | Type::Number, Value::Number(_))
        | (Type::String(_), Value::String(_))
        | (Type::IntOrString | Type::Quantity, Value::String(_) | Value::Number(_))
        | (Type::Array(_), Value::Array(_))
        | (Type::Map(_) | Type::Object(_), Value::Object(_)) => None,
        (Type::Integer | Type::Integer32 | Type::Number, _) => {
            let found = match value {
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Array(_) => "[]interface {}",
                _ => "map[string]interface {}",
            };
            Some(format!("expected numeric (int or float), got {found}"))
        }
        (Type::String(_), _) => {
            let shown = go_text(value);
            Some(format!("expected string, got &value.valueUnstructured{{Value:{shown}}}"))
        }
        (Type::Boolean, _) => Some(format!("expected boolean, got &{{{}}}", go_text(value))),
        (Type::Array(_), _) => Some(format!("expected list, got &{{{}}}", go_text(value))),
        (Type::Map(_) | Type::Object(_), _) => {
            Some(format!("expected map, got &{{{}}}", go_text(value)))
        }
        _ => Some(format!("expected any scalar, got &{{{}}}", go_text(value))),
    }
}
