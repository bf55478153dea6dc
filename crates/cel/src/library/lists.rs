//! Lists: sums, extremes, places, order, parts.

use std::cmp::Ordering;

use super::operators;
use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::{self, COMPARED_AT_ONCE, List, Value, compare, equal};

pub(super) const ROWS: &[Row] = rows! {
    "isSorted" "list(int).() -> bool" Elements => is_sorted;
    "isSorted" "list(uint).() -> bool" Elements => is_sorted;
    "isSorted" "list(double).() -> bool" Elements => is_sorted;
    "isSorted" "list(bool).() -> bool" Elements => is_sorted;
    "isSorted" "list(string).() -> bool" Elements => is_sorted;
    "isSorted" "list(bytes).() -> bool" Elements => is_sorted;
    "isSorted" "list(duration).() -> bool" Elements => is_sorted;
    "isSorted" "list(timestamp).() -> bool" Elements => is_sorted;
    "sum" "list(int).() -> int" Elements => |c, a| sum(c, a, Value::Int(0));
    "sum" "list(uint).() -> uint" Elements => |c, a| sum(c, a, Value::Uint(0));
    "sum" "list(double).() -> double" Elements => |c, a| sum(c, a, Value::Double(0.0));
    "sum" "list(duration).() -> duration" Elements => |c, a| sum(c, a, Value::Duration(0));
    "min" "list(int).() -> int" Elements => min;
    "min" "list(uint).() -> uint" Elements => min;
    "min" "list(double).() -> double" Elements => min;
    "min" "list(bool).() -> bool" Elements => min;
    "min" "list(string).() -> string" Elements => min;
    "min" "list(bytes).() -> bytes" Elements => min;
    "min" "list(duration).() -> duration" Elements => min;
    "min" "list(timestamp).() -> timestamp" Elements => min;
    "max" "list(int).() -> int" Elements => max;
    "max" "list(uint).() -> uint" Elements => max;
    "max" "list(double).() -> double" Elements => max;
    "max" "list(bool).() -> bool" Elements => max;
    "max" "list(string).() -> string" Elements => max;
    "max" "list(bytes).() -> bytes" Elements => max;
    "max" "list(duration).() -> duration" Elements => max;
    "max" "list(timestamp).() -> timestamp" Elements => max;
    "indexOf" "list(A).(A) -> int" Elements => |c, a| index_of(c, a, false);
    "lastIndexOf" "list(A).(A) -> int" Elements => |c, a| index_of(c, a, true);
    "slice" "list(A).(int, int) -> list(A)" One => slice;
    "flatten" "list(list(A)).() -> list(A)" One => flatten;
    "flatten" "list(dyn).() -> list(dyn)" One => flatten;
    "flatten" "list(dyn).(int) -> list(dyn)" One => flatten;
    "distinct" "list(A).() -> list(A)" Elements => distinct;
    "lists.range" "(int) -> list(int)" One => range;
    "reverse" "list(A).() -> list(A)" One => |c, a| {
        let list = receiver("reverse", a)?;
        c.meter.elements(list.len())?;
        Ok(Value::list(list.iter().rev().collect()))
    };
    "sort" "list(A).() -> list(A)" Elements => |c, a| sort(c, a);
    "@sortByAssociatedKeys" "list(A).(list(B)) -> list(A)" Elements => |c, a| sort(c, a);
    "first" "list(A).() -> optional(A)" One => |_, a| {
        Ok(Value::option(receiver("first", a)?.get(0)))
    };
    "last" "list(A).() -> optional(A)" One => |_, a| {
        let list = receiver("last", a)?;
        Ok(Value::option(list.len().checked_sub(1).and_then(|at| list.get(at))))
    };
};

fn receiver<'b, 'a>(name: &str, args: &'b [Value<'a>]) -> Result<&'b List<'a>, Failure> {
    match args.first() {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Failure::no_overload(name, args)),
    }
}

/// Which of two elements is less; only such as have an order.
fn order(context: &mut Context, a: &Value, b: &Value) -> Result<Ordering, Failure> {
    if a.type_name() != b.type_name() {
        return Err(Failure::new("list elements must have the same type"));
    }
    compare(a, b, &mut context.meter)?
        .ok_or_else(|| Failure::new("list elements must be comparable"))
}

fn is_sorted<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let list = receiver("isSorted", args)?;
    let mut before: Option<Value> = None;
    for item in list.iter() {
        if let Some(before) = &before
            && order(context, before, &item)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(context: &mut Context, args: &[Value<'a>], zero: Value<'a>) -> Outcome<'a> {
    let mut items = receiver("sum", args)?.iter();
    let Some(first) = items.next() else { return Ok(zero) };
    items.try_fold(first, |sum, item| operators::plus(context, &[sum, item]))
}

fn min<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(context, args, ("min", Ordering::is_lt))
}

fn max<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(context, args, ("max", Ordering::is_gt))
}

fn extreme<'a>(
    context: &mut Context,
    args: &[Value<'a>],
    (name, wins): (&str, fn(Ordering) -> bool),
) -> Outcome<'a> {
    let mut items = receiver(name, args)?.iter();
    let Some(mut best) = items.next() else {
        return Err(Failure::new(format!("{name} called on empty list")));
    };
    for item in items {
        if wins(order(context, &item, &best)?) {
            best = item;
        }
    }
    Ok(best)
}

fn index_of<'a>(context: &mut Context, args: &[Value<'a>], is_last: bool) -> Outcome<'a> {
    let list = receiver("indexOf", args)?;
    let Some(wanted) = args.get(1) else { return Err(Failure::no_overload("indexOf", args)) };
    let mut found = -1;
    for (index, item) in list.iter().enumerate() {
        if equal(wanted, &item, &mut context.meter)? {
            found = i64::try_from(index).unwrap_or(i64::MAX);
            if !is_last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn slice<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else {
        return Err(Failure::no_overload("slice", args));
    };
    let refuse = |why: &str| Err(Failure::new(format!("cannot slice({start}, {end}), {why}")));
    if *start < 0 || *end < 0 {
        return refuse("negative indexes not supported");
    }
    if start > end {
        return refuse("start index must be less than or equal to end index");
    }
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return refuse("list is too short");
    };
    if to > list.len() {
        return refuse(&format!("list is length {}", list.len()));
    }
    context.meter.elements(to - from)?;
    Ok(Value::list((from..to).filter_map(|index| list.get(index)).collect()))
}

fn flatten<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let list = receiver("flatten", args)?;
    let depth = match args.get(1) {
        Some(Value::Int(depth)) if *depth < 0 => {
            return Err(Failure::new("flatten: level must be non-negative"));
        }
        Some(Value::Int(depth)) => *depth,
        _ => 1,
    };
    let mut all: Vec<Value> = list.iter().collect();
    for _ in 0..depth.min(128) {
        if !all.iter().any(|item| matches!(item, Value::List(_))) {
            break;
        }
        let mut flat = Vec::new();
        for item in all {
            match item {
                Value::List(inner) => {
                    context.meter.elements(inner.len())?;
                    flat.extend(inner.iter());
                }
                other => flat.push(other),
            }
        }
        context.meter.charge(flat.len() as u64)?;
        all = flat;
    }
    Ok(Value::list(all))
}

fn distinct<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let mut kept: Vec<Value> = Vec::new();
    'items: for item in receiver("distinct", args)?.iter() {
        for other in &kept {
            if equal(other, &item, &mut context.meter)? {
                continue 'items;
            }
        }
        context.meter.elements(1)?;
        kept.push(item);
    }
    Ok(Value::list(kept))
}

fn range<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Int(end)] = args else { return Err(Failure::no_overload("lists.range", args)) };
    let count = usize::try_from(*end).unwrap_or_default();
    context.meter.charge(count as u64)?;
    context.meter.elements(count)?;
    Ok(Value::list((0..*end).map(Value::Int).collect()))
}

/// By the elements themselves, or by as many keys.
fn sort<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let list = receiver("sort", args)?;
    let keys = match args.get(1) {
        Some(Value::List(keys)) => keys,
        _ => list,
    };
    if keys.len() != list.len() {
        return Err(Failure::new(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list",
        ));
    }
    // Counted beforehand: an order that breaks off in between is none, on which sorting may panic.
    let bytes = keys.iter().map(|key| match key {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    });
    let read = bytes.fold(0_usize, usize::saturating_add) / COMPARED_AT_ONCE;
    let rounds = list.len().checked_ilog2().unwrap_or(0) as usize + 1;
    context.meter.work(list.len().saturating_add(read).saturating_mul(rounds))?;
    context.meter.elements(list.len().saturating_mul(2))?;
    let mut pairs: Vec<(Value, Value)> = keys.iter().zip(list.iter()).collect();
    let is_known = |key: &Value| {
        matches!(
            key,
            Value::Int(_)
                | Value::Uint(_)
                | Value::Double(_)
                | Value::Bool(_)
                | Value::Text(_)
                | Value::Bytes(_)
                | Value::Duration(_)
                | Value::Timestamp(_)
        )
    };
    if !pairs.iter().all(|(key, _)| is_known(key)) {
        return Err(Failure::new("list elements must be comparable"));
    }
    if pairs.windows(2).any(|two| two[0].0.type_name() != two[1].0.type_name()) {
        return Err(Failure::new("list elements must have the same type"));
    }
    // What has no order, a float that is none, goes first.
    pairs.sort_by(|(a, _), (b, _)| value::order(a, b).unwrap_or_else(|| nan_first(a, b)));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn nan_first(a: &Value, b: &Value) -> Ordering {
    let is_nan = |value: &Value| matches!(value, Value::Double(it) if it.is_nan());
    is_nan(b).cmp(&is_nan(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{MAX_WORK, Meter};
    use crate::pattern::Patterns;

    #[test]
    fn a_sort_that_may_not_take_so_long_is_refused_and_does_not_panic() {
        let patterns = Patterns::default();
        // In an order in which a comparison that breaks off contradicts others.
        let texts = (0..64_u64).map(|n| format!("{}{}", "x".repeat(6400), n * 37 % 64));
        let list = Value::list(texts.map(Value::from).collect());
        let mut refused = 0;
        for left in (0..80_000).step_by(61) {
            let mut context = Context { meter: Meter::new(u64::MAX), patterns: &patterns };
            context.meter.work(MAX_WORK - left).unwrap();
            match sort(&mut context, std::slice::from_ref(&list)) {
                Ok(Value::List(sorted)) => {
                    let sorted: Vec<_> = sorted.iter().collect();
                    let in_order = |two: &[Value]| two[0].as_text() <= two[1].as_text();
                    assert!(sorted.windows(2).all(in_order));
                }
                Ok(other) => panic!("{other:?}"),
                Err(why) => {
                    assert_eq!(why, Failure::Cancelled);
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
    }
}
