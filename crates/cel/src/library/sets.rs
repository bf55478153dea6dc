//! Lists taken as sets.

use crate::function::{Context, Row, rows};
use crate::meter::Failure;
use crate::value::{List, Value, equal};

pub(super) const ROWS: &[Row] = rows! {
    "sets.contains" "(list(A), list(A)) -> bool" Product => |c, a| {
        let (ours, theirs) = both(a)?;
        Ok(Value::Bool(contains(c, ours, theirs)?))
    };
    "sets.equivalent" "(list(A), list(A)) -> bool" ProductTwice => |c, a| {
        let (ours, theirs) = both(a)?;
        Ok(Value::Bool(contains(c, ours, theirs)? && contains(c, theirs, ours)?))
    };
    "sets.intersects" "(list(A), list(A)) -> bool" Product => |c, a| {
        let (ours, theirs) = both(a)?;
        for item in theirs.iter() {
            if is_among(c, ours, &item)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    };
};

fn both<'b, 'a>(args: &'b [Value<'a>]) -> Result<(&'b List<'a>, &'b List<'a>), Failure> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(Failure::no_overload("sets.contains", args)),
    }
}

fn is_among(context: &mut Context, list: &List, wanted: &Value) -> Result<bool, Failure> {
    for item in list.iter() {
        if equal(wanted, &item, &mut context.meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains(context: &mut Context, list: &List, all: &List) -> Result<bool, Failure> {
    for item in all.iter() {
        if !is_among(context, list, &item)? {
            return Ok(false);
        }
    }
    Ok(true)
}
