//! What calls may cost at most, by what is known of their arguments.

use super::{Estimate, Size, Sized};
use crate::cost::{AUTHORIZE, LIST, PATTERN, TRAVERSAL, scaled};
use crate::function::Overload;
use crate::node::{Call, Kind, Node};
use crate::types::Type;
use crate::value::Value;

/// Characters of the longest pattern of a named format.
const FORMAT: u64 = 128;
/// Bytes of the longest address, twice: what comparing two goes through.
const ADDRESSES: u64 = 4;
const RANGES: u64 = 7;

type Known = (u64, Option<Size>);

/// Of `overload`, without its arguments: its cost, and how large its result is.
pub(super) fn of(overload: &Overload, call: &Call, args: &[Estimate<'_>], root: &Sized) -> Known {
    let size = |index: usize| args.get(index).map_or(Size::UNKNOWN, Estimate::size);
    let through = |index: usize| scaled(size(index).most, TRAVERSAL);
    let first = overload.parameters.first().unwrap_or(&Type::Dyn);
    let takes_text = matches!(first, Type::String | Type::Bytes);
    match overload.name {
        "check" => (AUTHORIZE, None),
        "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" if overload.is_member => {
            (searched(call, args, root), None)
        }
        "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            (through(0), Some(size(0)))
        }
        "replace" => {
            (scaled(size(0).most, 2.0 * TRAVERSAL), Some(replaced(size(0), size(1), size(2))))
        }
        "split" => {
            let most = whole(call.args.get(2)).unwrap_or(size(0).most);
            (scaled(size(0).most, 2.0 * TRAVERSAL), Some(Size { least: 0, most }))
        }
        "join" => joined(call, args, root),
        "find" | "findAll" => {
            (pattern(size(0), size(1)), Some(Size { least: 0, most: size(0).most }))
        }
        "matches" => (pattern(size(0), size(1)), None),
        "contains" => (through(0).saturating_mul(through(1)), None),
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            (through(0), None)
        }
        "ip" if overload.is_member => (1, None),
        "ip" => (through(0), None),
        "ip.isCanonical" => (scaled(size(0).most, 2.0 * TRAVERSAL), None),
        "containsIP" => (ADDRESSES.saturating_add(text_only(overload, through(1))), None),
        "containsCIDR" => (RANGES.saturating_add(text_only(overload, through(1))), None),
        "validate" => (scaled(through(1), FORMAT as f64 * PATTERN), None),
        "format" if overload.is_member => (through(0), None),
        "bytes" if *first == Type::String => {
            let Size { least, most } = size(0);
            (through(0), Some(Size { least, most: most.saturating_mul(4) }))
        }
        "string" if *first == Type::Bytes => {
            let Size { least, most } = size(0);
            (through(0), Some(Size { least: least / 4, most }))
        }
        "strings.quote" => {
            let twice = size(0).times(Size { least: 1, most: 2 });
            (through(0), Some(twice.add(Size::exactly(2))))
        }
        "startsWith" | "endsWith" => (through(1), None),
        "@in" if matches!(overload.parameters.get(1), Some(Type::List(_))) => (size(1).most, None),
        "_+_" if takes_text => {
            let both = size(0).add(size(1));
            (scaled(both.most, TRAVERSAL), Some(both))
        }
        "_+_" if matches!(first, Type::List(_)) => (1, Some(size(0).add(size(1)))),
        "_==_" | "_!=_" => (equality(call, size(0).most.min(size(1).most)), None),
        "_<_" | "_<=_" | "_>_" | "_>=_" if takes_text => {
            (scaled(size(0).most.min(size(1).most), TRAVERSAL), None)
        }
        "sets.contains" | "sets.intersects" => {
            (size(0).times(size(1)).most.saturating_add(1), None)
        }
        "sets.equivalent" => {
            (size(0).times(size(1)).most.saturating_mul(2).saturating_add(1), None)
        }
        name => lists(name, call, size(0)),
    }
}

/// Of making a list of that many, each at that cost.
fn list(size: Size, factor: f64) -> Known {
    (scaled(size.most, factor).saturating_add(LIST + 1), Some(size))
}

fn lists(name: &str, call: &Call, size: Size) -> Known {
    match name {
        "slice" => {
            let start = whole(call.args.get(1)).unwrap_or(0);
            let end = whole(call.args.get(2)).unwrap_or(size.most);
            list(Size::exactly(end.saturating_sub(start)), 1.0)
        }
        "lists.range" => list(Size::exactly(whole(call.args.first()).unwrap_or(u64::MAX)), 1.0),
        "reverse" => list(size, 1.0),
        "flatten" => {
            let depth = call.args.get(1).map_or(1, |at| whole(Some(at)).unwrap_or(u64::MAX));
            list(size, depth as f64)
        }
        "distinct" | "sort" | "@sortByAssociatedKeys" => list(size.times(size), 2.0),
        _ => (1, None),
    }
}

/// A whole number that stands in the expression.
fn whole(node: Option<&Node>) -> Option<u64> {
    match &node?.kind {
        Kind::Literal(Value::Int(it)) => Some(u64::try_from(*it).unwrap_or(u64::MAX)),
        _ => None,
    }
}

fn text_only(overload: &Overload, cost: u64) -> u64 {
    if overload.parameters.get(1) == Some(&Type::String) { cost } else { 0 }
}

fn pattern(text: Size, pattern: Size) -> u64 {
    let text = scaled(text.most.saturating_add(1), TRAVERSAL);
    text.saturating_mul(scaled(pattern.most, PATTERN))
}

fn equality(call: &Call, size: u64) -> u64 {
    let types = (call.args.first().map(|it| &it.ty), call.args.get(1).map(|it| &it.ty));
    match types {
        (Some(Type::Opaque(a)), Some(Type::Opaque(b))) if a == b => 1,
        _ => scaled(size, TRAVERSAL),
    }
}

/// How large the elements of a list are.
fn element(call: &Call, args: &[Estimate<'_>], root: &Sized) -> Option<(Size, bool)> {
    let Type::List(list) = &call.args.first()?.ty else { return None };
    let is_text = matches!(list.element, Type::String | Type::Bytes);
    let known = match args.first()?.place {
        super::Place::Nowhere => None,
        place => place.below(root, |sized| sized.element.as_deref()).size(),
    };
    Some((known.unwrap_or(Size::UNKNOWN), is_text))
}

fn searched(call: &Call, args: &[Estimate<'_>], root: &Sized) -> u64 {
    let size = args.first().map_or(Size::UNKNOWN, Estimate::size).most;
    match element(call, args, root) {
        None => scaled(size, TRAVERSAL),
        Some((element, is_text)) => {
            let each = if is_text { scaled(element.most, TRAVERSAL) } else { 0 };
            size.saturating_mul(each.saturating_add(1))
        }
    }
}

fn joined(call: &Call, args: &[Estimate<'_>], root: &Sized) -> Known {
    let list = args.first().map_or(Size::UNKNOWN, Estimate::size);
    let mut size = match element(call, args, root) {
        Some((element, _)) => list.times(element),
        None => Size::exactly(0),
    };
    if let Some(separator) = args.get(1) {
        let between =
            Size { least: list.least.saturating_sub(1), most: list.most.saturating_sub(1) };
        size = size.add(separator.size().times(between));
    }
    (scaled(size.most, TRAVERSAL), Some(size))
}

/// How long a text may be in which `old` was replaced by `new`.
fn replaced(text: Size, old: Size, new: Size) -> Size {
    let most = if old.least == 0 {
        text.most.saturating_add(1).saturating_mul(new.most).saturating_add(text.most)
    } else if new.most <= old.least {
        text.most
    } else {
        text.most.div_ceil(old.least).saturating_mul(new.most)
    };
    let least = if old.most == 0 {
        text.least.saturating_add(1).saturating_mul(new.least).saturating_add(text.least)
    } else if old.most <= new.least {
        text.least
    } else {
        text.least.div_ceil(old.most).saturating_mul(new.least)
    };
    Size { least, most }
}
