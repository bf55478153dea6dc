//! When two values are the same, and which is less.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{List, Map, Struct, Value};
use crate::meter::{Failure, Meter};
use crate::types::Identity;

/// Bytes of text that are compared in a step.
pub(crate) const COMPARED_AT_ONCE: usize = 64;

/// Whether `a` and `b` are the same. Numbers are, whatever their types; values of other types are not.
///
/// # Errors
/// When more was compared than one evaluation may.
pub(crate) fn equal(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool, Failure> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => {
            meter.work(a.len().min(b.len()) / COMPARED_AT_ONCE)?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.work(a.len().min(b.len()) / COMPARED_AT_ONCE)?;
            a == b
        }
        (Value::List(a), Value::List(b)) => lists(a, b, meter)?,
        (Value::Map(a), Value::Map(b)) => maps(a, b, meter)?,
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b, meter)?,
            (a, b) => a.is_none() == b.is_none(),
        },
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Url(a), Value::Url(b)) => a == b,
        (Value::Cidr(a), Value::Cidr(b)) => a == b,
        (Value::Format(a), Value::Format(b)) => std::ptr::eq(*a, *b),
        (Value::Double(a), Value::Double(b)) => a == b,
        (Value::Struct(a), Value::Struct(b)) => structs(a, b, meter)?,
        (a, b) => order(a, b) == Some(Ordering::Equal),
    })
}

fn lists(a: &List, b: &List, meter: &mut Meter) -> Result<bool, Failure> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let (List::Json(ours, ty), List::Json(theirs, _)) = (a, b) {
        match &ty.identity {
            Identity::Order => {}
            Identity::Value => {
                meter.work(a.len())?;
                let names = |items: &[Json]| -> BTreeSet<String> {
                    items.iter().map(ToString::to_string).collect()
                };
                return Ok(names(ours) == names(theirs));
            }
            Identity::Keys(keys) => return keyed((a, ours), (b, theirs), keys, meter),
        }
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equal(&a, &b, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn keyed(
    (a, ours): (&List, &[Json]),
    (b, theirs): (&List, &[Json]),
    keys: &[String],
    meter: &mut Meter,
) -> Result<bool, Failure> {
    let places: BTreeMap<String, usize> =
        theirs.iter().enumerate().map(|(at, item)| (List::key_of(item, keys), at)).collect();
    for (item, value) in ours.iter().zip(a.iter()) {
        let other = places.get(&List::key_of(item, keys)).and_then(|at| b.get(*at));
        match other {
            Some(other) if equal(&value, &other, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn structs(a: &Struct, b: &Struct, meter: &mut Meter) -> Result<bool, Failure> {
    if a.name != b.name || a.fields.len() != b.fields.len() {
        return Ok(false);
    }
    for (name, value) in &a.fields {
        match b.fields.get(name) {
            Some(other) if equal(value, other, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn maps(a: &Map, b: &Map, meter: &mut Meter) -> Result<bool, Failure> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let (Some(ours), Some(_)) = (a.json(), b.json()) {
        for name in ours.keys() {
            match (a.json_field(name), b.json_field(name)) {
                (Some(a), Some(b)) if equal(&a, &b, meter)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    for key in a.keys() {
        match (a.get(&key), b.get(&key)) {
            (Some(a), Some(b)) if equal(&a, &b, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Which of two is less; `None` where that cannot be said.
///
/// # Errors
/// When more was compared than one evaluation may.
pub(crate) fn compare(
    a: &Value,
    b: &Value,
    meter: &mut Meter,
) -> Result<Option<Ordering>, Failure> {
    if let (Value::Text(a), Value::Text(b)) = (a, b) {
        meter.work(a.len().min(b.len()) / COMPARED_AT_ONCE)?;
    }
    Ok(order(a, b))
}

/// Which of two is less, for who has counted what that takes.
pub(crate) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Quantity(a), Value::Quantity(b)) => Some(a.cmp(b)),
        (Value::Semver(a), Value::Semver(b)) => Some(a.cmp(b)),
        (Value::Ip(a), Value::Ip(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => whole(b).map(|b| with_float(*a, b))?,
        (a, Value::Double(b)) => whole(a).map(|a| with_float(*b, a).map(Ordering::reverse))?,
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// A float against a whole number.
fn with_float(float: f64, whole: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Beyond 2^70 no whole number of ours is.
    let bounded = float.clamp(-1.2e21, 1.2e21);
    let floor = bounded.floor();
    let order = (floor as i128).cmp(&whole);
    Some(order.then(bounded.partial_cmp(&floor)?))
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(it) => Some(i128::from(*it)),
        Value::Uint(it) => Some(i128::from(*it)),
        _ => None,
    }
}
