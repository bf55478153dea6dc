//! Fields and elements of values.

use super::Evaluation;
use crate::function::Outcome;
use crate::meter::Failure;
use crate::node::Node;
use crate::value::{Key, Map, Value};

fn no_such_key<'a>(key: &str) -> Outcome<'a> {
    Err(Failure::new(format!("no such key: {key}")))
}

/// A key as errors show it.
fn shown(key: &Value) -> String {
    match key {
        Value::Text(text) => text.to_string(),
        Value::Int(it) => it.to_string(),
        Value::Uint(it) => it.to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Double(it) => it.to_string(),
        other => other.type_name().to_owned(),
    }
}

impl<'a> Evaluation<'a, '_> {
    /// The value of `node`, of which a part is wanted.
    fn operand(&mut self, node: &'a Node) -> Outcome<'a> {
        let value = self.node(node)?;
        // What is no attribute becomes one.
        self.context.meter.charge(u64::from(!node.is_attribute()))?;
        Ok(value)
    }

    pub(super) fn select(&mut self, of: &'a Node, field: &str) -> Outcome<'a> {
        let value = self.operand(of)?;
        self.context.meter.charge(1)?;
        match value {
            Value::Map(map) => map.field(field).map_or_else(|| no_such_key(field), Ok),
            Value::Optional(of) => Ok(optional_field(of.as_deref(), field)),
            Value::Struct(made) => {
                made.fields.get(field).cloned().map_or_else(|| no_such_key(field), Ok)
            }
            Value::Null => no_such_key(field),
            other => Err(Failure::no_overload("select", &[other])),
        }
    }

    pub(super) fn optional_select(&mut self, of: &'a Node, field: &str) -> Outcome<'a> {
        let value = self.operand(of)?;
        self.context.meter.charge(1)?;
        match &value {
            Value::Optional(of) => Ok(optional_field(of.as_deref(), field)),
            value => Ok(optional_field(Some(value), field)),
        }
    }

    pub(super) fn has(&mut self, of: &'a Node, field: &str) -> Outcome<'a> {
        match self.operand(of)? {
            Value::Map(map) => Ok(Value::Bool(has(&map, field))),
            Value::Optional(of) => match of.as_deref() {
                Some(Value::Map(map)) => Ok(Value::Bool(has(map, field))),
                _ => Ok(Value::Bool(false)),
            },
            Value::Struct(made) => Ok(Value::Bool(made.fields.contains_key(field))),
            Value::Null => Ok(Value::Bool(false)),
            other => Err(Failure::no_overload("has", &[other])),
        }
    }

    pub(super) fn index(&mut self, both: &'a [Node; 2]) -> Outcome<'a> {
        let (value, key) = self.both(both)?;
        match &value {
            Value::Optional(of) => {
                let found = of.as_deref().map(|value| element(value, &key)).transpose()?;
                Ok(Value::option(found.flatten()))
            }
            value => match element(value, &key)? {
                Some(found) => Ok(found),
                None if matches!(value, Value::List(_)) => {
                    Err(Failure::new(format!("index out of bounds: {}", shown(&key))))
                }
                None => no_such_key(&shown(&key)),
            },
        }
    }

    pub(super) fn optional_index(&mut self, both: &'a [Node; 2]) -> Outcome<'a> {
        let (value, key) = self.both(both)?;
        match &value {
            Value::Optional(of) => {
                let found = of.as_deref().map(|value| element(value, &key)).transpose()?;
                Ok(Value::option(found.flatten()))
            }
            value => Ok(Value::option(element(value, &key)?)),
        }
    }

    fn both(&mut self, [of, at]: &'a [Node; 2]) -> Result<(Value<'a>, Value<'a>), Failure> {
        let value = self.operand(of)?;
        let key = self.node(at)?;
        self.context.meter.charge(1)?;
        Ok((value, key))
    }
}

fn has(map: &Map, field: &str) -> bool {
    map.field(field).is_some()
}

fn optional_field<'a>(value: Option<&Value<'a>>, field: &str) -> Value<'a> {
    match value {
        Some(Value::Map(map)) => Value::option(map.field(field)),
        Some(Value::Struct(made)) => Value::option(made.fields.get(field).cloned()),
        _ => Value::Optional(None),
    }
}

/// What is at `key`, if anything.
fn element<'a>(value: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, Failure> {
    match (value, key) {
        (Value::List(list), key) => {
            let index = match key {
                Value::Int(it) => usize::try_from(*it).ok(),
                Value::Uint(it) => usize::try_from(*it).ok(),
                Value::Double(it) if it.fract() == 0.0 && *it >= 0.0 && *it < 9e15 => {
                    Some(*it as usize)
                }
                other => {
                    let ty = other.type_name();
                    return Err(Failure::new(format!("unsupported index type '{ty}' in list")));
                }
            };
            Ok(index.and_then(|index| list.get(index)))
        }
        (Value::Map(map), key) => match Key::of(key) {
            Some(key) => Ok(map.get(&key)),
            None => Err(Failure::new(format!("unsupported key type: {}", key.type_name()))),
        },
        (value, key) => Err(Failure::no_overload("_[_]", &[value.clone(), key.clone()])),
    }
}
