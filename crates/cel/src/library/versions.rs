//! Versions.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::function::{Outcome, Row, rows};
use crate::meter::Failure;
use crate::text::semver::Semver;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "semver" "(string) -> Semver" Receiver => |_, a| made(a);
    "semver" "(string, bool) -> Semver" Receiver => |_, a| made(a);
    "isSemver" "(string) -> bool" Receiver => |_, a| Ok(Value::Bool(parsed(a)?.is_ok()));
    "isSemver" "(string, bool) -> bool" Receiver => |_, a| Ok(Value::Bool(parsed(a)?.is_ok()));
    "major" "Semver.() -> int" One => |_, a| number(a, 0);
    "minor" "Semver.() -> int" One => |_, a| number(a, 1);
    "patch" "Semver.() -> int" One => |_, a| number(a, 2);
    "isLessThan" "Semver.(Semver) -> bool" One => |_, a| Ok(Value::Bool(order(a)?.is_lt()));
    "isGreaterThan" "Semver.(Semver) -> bool" One => |_, a| Ok(Value::Bool(order(a)?.is_gt()));
    "compareTo" "Semver.(Semver) -> int" One => |_, a| Ok(Value::Int(order(a)? as i64));
};

fn parsed(args: &[Value]) -> Result<Result<Semver, String>, Failure> {
    match args {
        [Value::Text(text)] | [Value::Text(text), Value::Bool(false)] => Ok(Semver::parse(text)),
        [Value::Text(text), Value::Bool(true)] => Ok(Semver::parse(&Semver::normalized(text))),
        _ => Err(Failure::no_overload("semver", args)),
    }
}

fn made<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    parsed(args)?.map(|it| Value::Semver(Arc::new(it))).map_err(Failure::new)
}

fn number<'a>(args: &[Value<'a>], index: usize) -> Outcome<'a> {
    match args {
        [Value::Semver(it)] => Ok(Value::Int(i64::try_from(it.numbers[index]).unwrap_or(i64::MAX))),
        _ => Err(Failure::no_overload("major", args)),
    }
}

fn order(args: &[Value]) -> Result<Ordering, Failure> {
    match args {
        [Value::Semver(a), Value::Semver(b)] => Ok(a.cmp(b)),
        _ => Err(Failure::no_overload("compareTo", args)),
    }
}
