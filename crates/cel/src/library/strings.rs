//! Text. Places in it are counted in characters.

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "contains" "string.(string) -> bool" Contained => |_, a| test(a, |text, it| text.contains(it));
    "startsWith" "string.(string) -> bool" Receiver => |_, a| test(a, |text, it| text.starts_with(it));
    "endsWith" "string.(string) -> bool" Receiver => |_, a| test(a, |text, it| text.ends_with(it));
    "charAt" "string.(int) -> string" One => char_at;
    "indexOf" "string.(string) -> int" Elements => |c, a| index_of(c, a, false);
    "indexOf" "string.(string, int) -> int" Elements => |c, a| index_of(c, a, false);
    "lastIndexOf" "string.(string) -> int" Elements => |c, a| index_of(c, a, true);
    "lastIndexOf" "string.(string, int) -> int" Elements => |c, a| index_of(c, a, true);
    "join" "list(string).() -> string" ResultTwice => join;
    "join" "list(string).(string) -> string" ResultTwice => join;
    "lowerAscii" "string.() -> string" Receiver => |c, a| mapped(c, a, str::to_ascii_lowercase);
    "upperAscii" "string.() -> string" Receiver => |c, a| mapped(c, a, str::to_ascii_uppercase);
    "trim" "string.() -> string" Receiver => |c, a| mapped(c, a, |text| text.trim().to_owned());
    "reverse" "string.() -> string" Receiver => |c, a| mapped(c, a, |it| it.chars().rev().collect());
    "replace" "string.(string, string) -> string" ReceiverTwice => replace;
    "replace" "string.(string, string, int) -> string" ReceiverTwice => replace;
    "split" "string.(string) -> list(string)" ReceiverTwice => split;
    "split" "string.(string, int) -> list(string)" ReceiverTwice => split;
    "substring" "string.(int) -> string" Receiver => substring;
    "substring" "string.(int, int) -> string" Receiver => substring;
    "strings.quote" "(string) -> string" Receiver => |c, a| mapped(c, a, super::printf::quoted);
};

fn wrong<'a>(name: &str, args: &[Value<'a>]) -> Outcome<'a> {
    Err(Failure::no_overload(name, args))
}

fn out_of_range<'a>(index: i64) -> Outcome<'a> {
    Err(Failure::new(format!("index out of range: {index}")))
}

fn test<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Outcome<'a> {
    match args {
        [Value::Text(text), Value::Text(part)] => Ok(Value::Bool(holds(text, part))),
        _ => wrong("contains", args),
    }
}

fn mapped<'a>(context: &mut Context, args: &[Value<'a>], how: fn(&str) -> String) -> Outcome<'a> {
    let [Value::Text(text)] = args else { return wrong("trim", args) };
    context.meter.bytes(text.len())?;
    Ok(Value::text(how(text)))
}

/// The byte at which the character `index` of `text` stands; its end is a place too.
fn byte_of(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.nth(index)
}

fn char_at<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Text(text), Value::Int(index)] = args else { return wrong("charAt", args) };
    let Some(at) = byte_of(text, *index) else { return out_of_range(*index) };
    let letter = text.get(at..).and_then(|rest| rest.chars().next());
    Ok(Value::text(letter.map(String::from).unwrap_or_default()))
}

fn index_of<'a>(context: &mut Context, args: &[Value<'a>], is_last: bool) -> Outcome<'a> {
    let (text, part, offset) = match args {
        [Value::Text(text), Value::Text(part)] => (text, part, None),
        [Value::Text(text), Value::Text(part), Value::Int(at)] => (text, part, Some(*at)),
        _ => return wrong("indexOf", args),
    };
    context.meter.work(text.len() / 16)?;
    let at = match offset {
        None => None,
        Some(offset) => match byte_of(text, offset) {
            Some(at) => Some(at),
            None => return out_of_range(offset),
        },
    };
    let found = match is_last {
        false => {
            let start = at.unwrap_or(0);
            text.get(start..).and_then(|rest| rest.find(&**part)).map(|found| found + start)
        }
        // The last one that starts no later than the offset.
        true => {
            let end = at.unwrap_or(text.len()).saturating_add(part.len()).min(text.len());
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end));
            let head = end.and_then(|end| text.get(..end)).unwrap_or(text);
            let found = head.rfind(&**part);
            found.filter(|found| at.is_none_or(|at| *found <= at))
        }
    };
    let chars = found.and_then(|found| text.get(..found)).map(|head| head.chars().count());
    Ok(Value::Int(chars.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1)))
}

fn join<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::Text(separator)] => (list, &**separator),
        _ => return wrong("join", args),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::Text(text) = &item else { return wrong("join", args) };
        context.meter.bytes(text.len().saturating_add(separator.len()))?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Value::text(joined))
}

fn replace<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, old, new, count) = match args {
        [Value::Text(text), Value::Text(old), Value::Text(new)] => (text, old, new, -1),
        [Value::Text(text), Value::Text(old), Value::Text(new), Value::Int(count)] => {
            (text, old, new, *count)
        }
        _ => return wrong("replace", args),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let most = match old.is_empty() {
        true => text.chars().count().saturating_add(1),
        false => text.len() / old.len(),
    };
    let made = most.min(count).saturating_mul(new.len()).saturating_add(text.len());
    context.meter.bytes(made)?;
    Ok(Value::text(text.replacen(&**old, new, count)))
}

fn split<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, separator, limit) = match args {
        [Value::Text(text), Value::Text(separator)] => (text, separator, -1),
        [Value::Text(text), Value::Text(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return wrong("split", args),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    context.meter.bytes(text.len())?;
    let parts: Vec<&str> = match separator.is_empty() {
        true => letters(text, limit),
        false => text.splitn(limit, &**separator).collect(),
    };
    context.meter.elements(parts.len())?;
    Ok(Value::list(parts.into_iter().map(Value::from).collect()))
}

/// Each letter of `text`, and as the last of `limit` parts what is left.
fn letters(text: &str, limit: usize) -> Vec<&str> {
    let mut rest = text;
    let mut parts = Vec::new();
    while let Some(letter) = rest.chars().next() {
        if parts.len() + 1 == limit {
            parts.push(rest);
            break;
        }
        let (head, tail) = rest.split_at(letter.len_utf8());
        parts.push(head);
        rest = tail;
    }
    parts
}

fn substring<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, start, end) = match args {
        [Value::Text(text), Value::Int(start)] => (text, *start, None),
        [Value::Text(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return wrong("substring", args),
    };
    if let Some(end) = end.filter(|end| *end < start) {
        let why = format!("invalid substring range. start: {start}, end: {end}");
        return Err(Failure::new(why));
    }
    let Some(from) = byte_of(text, start) else { return out_of_range(start) };
    let to = match end {
        None => text.len(),
        Some(end) => match byte_of(text, end) {
            Some(to) => to,
            None => return out_of_range(end),
        },
    };
    context.meter.bytes(to.saturating_sub(from))?;
    Ok(Value::from(text.get(from..to).unwrap_or_default()))
}
