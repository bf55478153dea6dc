//! Values that may be absent. `or`, `orValue` and the like of [`crate::eval`] are here too: their
//! arguments are evaluated first, as a call's are.

use std::sync::Arc;

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "optional.of" "(A) -> optional(A)" One => |_, a| Ok(Value::option(a.first().cloned()));
    "optional.ofNonZeroValue" "(A) -> optional(A)" One => |_, a| {
        Ok(Value::option(a.first().filter(|it| !is_zero(it)).cloned()))
    };
    "optional.none" "() -> optional(A)" One => |_, _| Ok(Value::Optional(None));
    "hasValue" "optional(A).() -> bool" One => |_, a| {
        Ok(Value::Bool(receiver("hasValue", a)?.is_some()))
    };
    "value" "optional(A).() -> A" One => |_, a| match receiver("value", a)? {
        Some(value) => Ok((**value).clone()),
        None => Err(Failure::new("optional.none() dereference")),
    };
    "or" "optional(A).(optional(A)) -> optional(A)" One => |_, a| match receiver("or", a)? {
        Some(value) => Ok(Value::Optional(Some(Arc::clone(value)))),
        None => other("or", a),
    };
    "orValue" "optional(A).(A) -> A" One => |_, a| match receiver("orValue", a)? {
        Some(value) => Ok((**value).clone()),
        None => other("orValue", a),
    };
    "cel.@mapInsert" "(map(A, B), A, B) -> map(A, B)" One => insert;
    "cel.@mapInsert" "(map(A, B), map(A, B)) -> map(A, B)" One => insert;
};

fn receiver<'b, 'a>(
    name: &str,
    args: &'b [Value<'a>],
) -> Result<Option<&'b Arc<Value<'a>>>, Failure> {
    match args.first() {
        Some(Value::Optional(it)) => Ok(it.as_ref()),
        _ => Err(Failure::no_overload(name, args)),
    }
}

fn other<'a>(name: &str, args: &[Value<'a>]) -> Outcome<'a> {
    args.get(1).cloned().ok_or_else(|| Failure::no_overload(name, args))
}

/// Whether `value` is what its type starts with.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(it) => !it,
        Value::Int(it) | Value::Duration(it) => *it == 0,
        Value::Uint(it) => *it == 0,
        Value::Double(it) => *it == 0.0,
        Value::Text(it) => it.is_empty(),
        Value::Bytes(it) => it.is_empty(),
        Value::List(it) => it.is_empty(),
        Value::Map(it) => it.is_empty(),
        _ => false,
    }
}

fn insert<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    // Comprehensions insert in place; nobody else can write this call.
    Err(Failure::no_overload("cel.@mapInsert", args))
}
