//! Regular expressions.

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "matches" "string.(string) -> bool" Pattern => matches;
    "matches" "(string, string) -> bool" Pattern => matches;
    "find" "string.(string) -> string" Pattern => find;
    "findAll" "string.(string) -> list(string)" Pattern => find_all;
    "findAll" "string.(string, int) -> list(string)" Pattern => find_all;
};

fn matches<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Text(text), Value::Text(pattern)] = args else {
        return Err(Failure::no_overload("matches", args));
    };
    context.meter.work(text.len())?;
    context.patterns.with(pattern, |regex| Value::Bool(regex.is_match(text)))
}

fn find<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Text(text), Value::Text(pattern)] = args else {
        return Err(Failure::no_overload("find", args));
    };
    context.meter.work(text.len())?;
    context.meter.bytes(text.len())?;
    context.patterns.with(pattern, |regex| {
        Value::from(regex.find(text).map(|found| found.as_str()).unwrap_or_default())
    })
}

fn find_all<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern, limit) = match args {
        [Value::Text(text), Value::Text(pattern)] => (text, pattern, -1),
        [Value::Text(text), Value::Text(pattern), Value::Int(limit)] => (text, pattern, *limit),
        _ => return Err(Failure::no_overload("findAll", args)),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    context.meter.work(text.len().saturating_mul(2))?;
    context.meter.bytes(text.len())?;
    context.meter.elements(limit.min(text.len() + 1))?;
    context.patterns.with(pattern, |regex| {
        let found = regex.find_iter(text).take(limit);
        Value::list(found.map(|found| Value::from(found.as_str())).collect())
    })
}
