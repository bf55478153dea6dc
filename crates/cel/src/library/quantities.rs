//! Amounts: `1Gi`, `500m`.

use std::cmp::Ordering;

use coracle_api::Quantity;

use crate::function::{Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "quantity" "(string) -> Quantity" Receiver => |_, a| {
        parsed(a)?.map(Value::Quantity).map_err(|error| Failure::new(error.to_string()))
    };
    "isQuantity" "(string) -> bool" Receiver => |_, a| Ok(Value::Bool(parsed(a)?.is_ok()));
    "isInteger" "Quantity.() -> bool" One => |_, a| Ok(Value::Bool(integer(of(a)?).is_some()));
    "asInteger" "Quantity.() -> int" One => |_, a| {
        let why = "cannot convert value to integer";
        integer(of(a)?).map(Value::Int).ok_or_else(|| Failure::new(why))
    };
    "asApproximateFloat" "Quantity.() -> double" One => |_, a| {
        Ok(Value::Double(approximate(of(a)?)))
    };
    "sign" "Quantity.() -> int" One => |_, a| Ok(Value::Int(of(a)?.signum().into()));
    "add" "Quantity.(Quantity) -> Quantity" One => |_, a| with(a, |x, y| Value::Quantity(x.plus(y)));
    "add" "Quantity.(int) -> Quantity" One => |_, a| with(a, |x, y| Value::Quantity(x.plus(y)));
    "sub" "Quantity.(Quantity) -> Quantity" One => |_, a| {
        with(a, |x, y| Value::Quantity(x.plus(y.negated())))
    };
    "sub" "Quantity.(int) -> Quantity" One => |_, a| {
        with(a, |x, y| Value::Quantity(x.plus(y.negated())))
    };
    "isLessThan" "Quantity.(Quantity) -> bool" One => |_, a| with(a, |x, y| Value::Bool(x < y));
    "isGreaterThan" "Quantity.(Quantity) -> bool" One => |_, a| with(a, |x, y| Value::Bool(x > y));
    "compareTo" "Quantity.(Quantity) -> int" One => |_, a| with(a, |x, y| match x.cmp(&y) {
        Ordering::Less => Value::Int(-1),
        Ordering::Equal => Value::Int(0),
        Ordering::Greater => Value::Int(1),
    });
};

fn parsed(args: &[Value]) -> Result<Result<Quantity, impl std::fmt::Display>, Failure> {
    match args {
        [Value::Text(text)] => Ok(Quantity::parse(text)),
        _ => Err(Failure::no_overload("quantity", args)),
    }
}

fn of(args: &[Value]) -> Result<Quantity, Failure> {
    match args {
        [Value::Quantity(it)] => Ok(*it),
        _ => Err(Failure::no_overload("isInteger", args)),
    }
}

fn with<'a>(args: &[Value<'a>], of: fn(Quantity, Quantity) -> Value<'a>) -> Outcome<'a> {
    match args {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(of(*a, *b)),
        [Value::Quantity(a), Value::Int(b)] => Ok(of(*a, Quantity::from_count(*b))),
        _ => Err(Failure::no_overload("compareTo", args)),
    }
}

/// As a whole number, if it is one of 64 bits.
fn integer(quantity: Quantity) -> Option<i64> {
    let value = quantity.value();
    (Quantity::from_count(value) == quantity).then_some(value)
}

fn approximate(quantity: Quantity) -> f64 {
    match integer(quantity) {
        Some(whole) => whole as f64,
        None if quantity.value().unsigned_abs() < 1 << 50 => quantity.milli_value() as f64 / 1000.0,
        None => quantity.value() as f64,
    }
}
