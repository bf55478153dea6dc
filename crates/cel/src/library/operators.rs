//! Arithmetic, comparison and what is in what.

use std::cmp::Ordering;

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::cost::Cost;
use crate::function::{Context, Outcome, Row, Run, rows};
use crate::meter::Failure;
use crate::text::time;
use crate::value::{Key, Value, compare, equal};

pub(super) const ROWS: &[Row] = rows! {
    "_==_" "(A, A) -> bool" Shorter => |c, a| same(c, a).map(Value::Bool);
    "_!=_" "(A, A) -> bool" Shorter => |c, a| same(c, a).map(|it| Value::Bool(!it));
    "@in" "(A, list(A)) -> bool" Searched => is_in;
    "@in" "(A, map(A, B)) -> bool" One => is_in;
    "!_" "(bool) -> bool" One => |_, a| match a {
        [Value::Bool(it)] => Ok(Value::Bool(!it)),
        _ => Err(Failure::no_overload("!_", a)),
    };
    "@not_strictly_false" "(bool) -> bool" One => |_, a| {
        Ok(Value::Bool(!matches!(a, [Value::Bool(false)])))
    };
    "-_" "(int) -> int" One => negate;
    "-_" "(double) -> double" One => negate;
    "-_" "(duration) -> duration" One => negate;
    "_+_" "(int, int) -> int" One => plus;
    "_+_" "(uint, uint) -> uint" One => plus;
    "_+_" "(double, double) -> double" One => plus;
    "_+_" "(string, string) -> string" Both => plus;
    "_+_" "(bytes, bytes) -> bytes" Both => plus;
    "_+_" "(list(A), list(A)) -> list(A)" One => plus;
    "_+_" "(timestamp, duration) -> timestamp" One => plus;
    "_+_" "(duration, timestamp) -> timestamp" One => plus;
    "_+_" "(duration, duration) -> duration" One => plus;
    "_-_" "(int, int) -> int" One => minus;
    "_-_" "(uint, uint) -> uint" One => minus;
    "_-_" "(double, double) -> double" One => minus;
    "_-_" "(timestamp, timestamp) -> duration" One => minus;
    "_-_" "(timestamp, duration) -> timestamp" One => minus;
    "_-_" "(duration, duration) -> duration" One => minus;
    "_*_" "(int, int) -> int" One => times;
    "_*_" "(uint, uint) -> uint" One => times;
    "_*_" "(double, double) -> double" One => times;
    "_/_" "(int, int) -> int" One => divided;
    "_/_" "(uint, uint) -> uint" One => divided;
    "_/_" "(double, double) -> double" One => divided;
    "_%_" "(int, int) -> int" One => rest;
    "_%_" "(uint, uint) -> uint" One => rest;
};

/// What may be compared with what; numbers with all numbers.
const PAIRS: &[(&str, Cost)] = &[
    ("(bool, bool) -> bool", Cost::One),
    ("(int, int) -> bool", Cost::One),
    ("(int, double) -> bool", Cost::One),
    ("(int, uint) -> bool", Cost::One),
    ("(uint, uint) -> bool", Cost::One),
    ("(uint, double) -> bool", Cost::One),
    ("(uint, int) -> bool", Cost::One),
    ("(double, double) -> bool", Cost::One),
    ("(double, int) -> bool", Cost::One),
    ("(double, uint) -> bool", Cost::One),
    ("(string, string) -> bool", Cost::Shorter),
    ("(bytes, bytes) -> bool", Cost::Shorter),
    ("(timestamp, timestamp) -> bool", Cost::One),
    ("(duration, duration) -> bool", Cost::One),
];

pub(super) fn comparisons() -> impl Iterator<Item = Row> {
    let operators: [(&str, Run); 4] = [
        ("_<_", |c, a| ordered(c, a, Ordering::is_lt)),
        ("_<=_", |c, a| ordered(c, a, Ordering::is_le)),
        ("_>_", |c, a| ordered(c, a, Ordering::is_gt)),
        ("_>=_", |c, a| ordered(c, a, Ordering::is_ge)),
    ];
    operators.into_iter().flat_map(|(name, run)| {
        PAIRS.iter().map(move |(signature, cost)| Row { name, signature, cost: *cost, run })
    })
}

fn ordered<'a>(
    context: &mut Context,
    args: &[Value<'a>],
    holds: fn(Ordering) -> bool,
) -> Outcome<'a> {
    let [a, b] = args else { return Err(Failure::no_overload("_<_", args)) };
    match compare(a, b, &mut context.meter)? {
        Some(order) => Ok(Value::Bool(holds(order))),
        None => Err(Failure::new("NaN values cannot be ordered")),
    }
}

fn same(context: &mut Context, args: &[Value]) -> Result<bool, Failure> {
    match args {
        [a, b] => equal(a, b, &mut context.meter),
        _ => Err(Failure::no_overload("_==_", args)),
    }
}

fn is_in<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [value, Value::List(list)] => {
            for item in list.iter() {
                if equal(value, &item, &mut context.meter)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [value, Value::Map(map)] => {
            let key = Key::of(value);
            Ok(Value::Bool(key.is_some_and(|key| map.get(&key).is_some())))
        }
        _ => Err(Failure::no_overload("@in", args)),
    }
}

const INT: &str = "integer overflow";
const UINT: &str = "unsigned integer overflow";
const DURATION: &str = "duration overflow";

/// The result of an operation that may leave its range.
fn whole<'a, T>(result: Option<T>, of: fn(T) -> Value<'a>, why: &str) -> Outcome<'a> {
    result.map(of).ok_or_else(|| Failure::new(why))
}

fn negate<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(it)] => whole(it.checked_neg(), Value::Int, INT),
        [Value::Double(it)] => Ok(Value::Double(-it)),
        [Value::Duration(it)] => whole(it.checked_neg(), Value::Duration, DURATION),
        _ => Err(Failure::no_overload("-_", args)),
    }
}

/// `time` and so many nanoseconds, within the years 1 to 9999.
fn moved<'a>(time: DateTime, by: i64) -> Outcome<'a> {
    let moved = time.checked_add(SignedDuration::from_nanos(by)).ok();
    let moved = moved.filter(|it| time::is_within(*it));
    whole(moved, Value::Timestamp, "timestamp overflow")
}

pub(super) fn plus<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => whole(a.checked_add(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => whole(a.checked_add(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::Text(a), Value::Text(b)] => {
            context.meter.bytes(a.len().saturating_add(b.len()))?;
            Ok(Value::text([&**a, &**b].concat()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            context.meter.bytes(a.len().saturating_add(b.len()))?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => {
            context.meter.elements(a.len().saturating_add(b.len()))?;
            Ok(Value::list(a.plus(b)))
        }
        [Value::Timestamp(time), Value::Duration(by)]
        | [Value::Duration(by), Value::Timestamp(time)] => moved(*time, *by),
        [Value::Duration(a), Value::Duration(b)] => {
            whole(a.checked_add(*b), Value::Duration, DURATION)
        }
        _ => Err(Failure::no_overload("_+_", args)),
    }
}

fn minus<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => whole(a.checked_sub(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => whole(a.checked_sub(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let nanos = i64::try_from(a.duration_since(*b).as_nanos()).ok();
            whole(nanos, Value::Duration, DURATION)
        }
        [Value::Timestamp(time), Value::Duration(by)] => match by.checked_neg() {
            Some(back) => moved(*time, back),
            None => Err(Failure::new("timestamp overflow")),
        },
        [Value::Duration(a), Value::Duration(b)] => {
            whole(a.checked_sub(*b), Value::Duration, DURATION)
        }
        _ => Err(Failure::no_overload("_-_", args)),
    }
}

fn times<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => whole(a.checked_mul(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => whole(a.checked_mul(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(Failure::no_overload("_*_", args)),
    }
}

fn divided<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Failure::new("division by zero"))
        }
        [Value::Int(a), Value::Int(b)] => whole(a.checked_div(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => whole(a.checked_div(*b), Value::Uint, UINT),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(Failure::no_overload("_/_", args)),
    }
}

fn rest<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Failure::new("modulus by zero"))
        }
        [Value::Int(a), Value::Int(b)] => whole(a.checked_rem(*b), Value::Int, INT),
        [Value::Uint(a), Value::Uint(b)] => whole(a.checked_rem(*b), Value::Uint, UINT),
        _ => Err(Failure::no_overload("_%_", args)),
    }
}
