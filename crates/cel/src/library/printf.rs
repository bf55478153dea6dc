//! `"%s has %d".format([…])`, and quoting.

use std::fmt::Write as _;

use super::convert;
use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "format" "string.(list(dyn)) -> string" Receiver => format;
};

/// Digits after the point that a clause may ask for.
const MAX_PRECISION: usize = 100;
/// How deep lists in lists are shown.
const MAX_DEPTH: usize = 64;

/// `text` in quotes, as it is written in source.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn format<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Text(text), Value::List(list)] = args else {
        return Err(Failure::no_overload("format", args));
    };
    let mut out = String::new();
    let mut rest: &str = text;
    let mut next = 0;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (clause, after) = Clause::parse(after)?;
        let value =
            list.get(next).ok_or_else(|| Failure::new(format!("index {next} out of range")))?;
        next += 1;
        let shown = clause.show(&value, context)?;
        context.meter.bytes(shown.len())?;
        out.push_str(&shown);
        rest = after;
    }
    out.push_str(rest);
    context.meter.bytes(out.len())?;
    Ok(Value::text(out))
}

/// `%.3f` without its `%`.
struct Clause {
    precision: Option<usize>,
    verb: char,
}

impl Clause {
    fn parse(text: &str) -> Result<(Self, &str), Failure> {
        let bad = |why: &str| Failure::new(format!("could not parse formatting clause: {why}"));
        let (precision, text) = match text.strip_prefix('.') {
            None => (None, text),
            Some(text) => {
                let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
                let digits = text[..end]
                    .parse()
                    .map_err(|_| bad("error while converting precision to integer"))?;
                if digits > MAX_PRECISION {
                    return Err(bad("precision exceeds maximum of 100"));
                }
                (Some(digits), &text[end..])
            }
        };
        let Some(verb) = text.chars().next() else {
            return Err(bad("unexpected end of string"));
        };
        if !"sdfebxXo".contains(verb) {
            return Err(bad(&format!("unrecognized formatting clause \"{verb}\"")));
        }
        Ok((Self { precision, verb }, &text[verb.len_utf8()..]))
    }

    fn show(&self, value: &Value, context: &mut Context) -> Result<String, Failure> {
        let precision = self.precision.unwrap_or(6);
        match (self.verb, value) {
            ('s', _) => {
                let mut out = String::new();
                shown(value, &mut out, context, 0)?;
                Ok(out)
            }
            ('d', Value::Int(it)) => Ok(it.to_string()),
            ('d', Value::Uint(it)) => Ok(it.to_string()),
            ('d' | 'f' | 'e', Value::Double(it)) if !it.is_finite() => Ok(match it {
                it if it.is_nan() => "NaN",
                it if *it > 0.0 => "Infinity",
                _ => "-Infinity",
            }
            .to_owned()),
            ('f', Value::Double(it)) => Ok(format!("{it:.precision$}")),
            ('f', Value::Int(it)) => Ok(format!("{:.precision$}", *it as f64)),
            ('f', Value::Uint(it)) => Ok(format!("{:.precision$}", *it as f64)),
            ('e', Value::Double(it)) => Ok(convert::scientific(&format!("{it:.precision$e}"))),
            ('e', Value::Int(it)) => {
                Ok(convert::scientific(&format!("{:.precision$e}", *it as f64)))
            }
            ('e', Value::Uint(it)) => {
                Ok(convert::scientific(&format!("{:.precision$e}", *it as f64)))
            }
            ('b', Value::Bool(it)) => Ok(i32::from(*it).to_string()),
            ('b' | 'x' | 'X' | 'o', Value::Int(it)) => {
                let sign = if *it < 0 { "-" } else { "" };
                Ok(format!("{sign}{}", self.digits(it.unsigned_abs())))
            }
            ('b' | 'x' | 'X' | 'o', Value::Uint(it)) => Ok(self.digits(*it)),
            ('x' | 'X', Value::Text(it)) => Ok(self.hex(it.as_bytes())),
            ('x' | 'X', Value::Bytes(it)) => Ok(self.hex(it)),
            (verb, other) => Err(Failure::new(format!(
                "error during formatting: %{verb} clause cannot be used on {}",
                other.type_name()
            ))),
        }
    }

    fn digits(&self, number: u64) -> String {
        match self.verb {
            'b' => format!("{number:b}"),
            'x' => format!("{number:x}"),
            'X' => format!("{number:X}"),
            _ => format!("{number:o}"),
        }
    }

    fn hex(&self, bytes: &[u8]) -> String {
        let is_upper = self.verb == 'X';
        bytes.iter().fold(String::new(), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = match is_upper {
                true => write!(out, "{byte:02X}"),
                false => write!(out, "{byte:02x}"),
            };
            out
        })
    }
}

/// `value` as `%s` shows it; lists and maps with what they hold.
fn shown(
    value: &Value,
    out: &mut String,
    context: &mut Context,
    depth: usize,
) -> Result<(), Failure> {
    context.meter.work(1)?;
    context.meter.bytes(16)?;
    if depth > MAX_DEPTH {
        return Err(Failure::new("error during formatting: too deep"));
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Type(name) => out.push_str(name),
        Value::Double(it) if it.is_infinite() => {
            out.push_str(if *it > 0.0 { "Infinity" } else { "-Infinity" });
        }
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                shown(&item, out, context, depth + 1)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, key) in map.keys().into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                shown(&key.value(), out, context, depth + 1)?;
                out.push_str(": ");
                if let Some(value) = map.get(&key) {
                    shown(&value, out, context, depth + 1)?;
                }
            }
            out.push('}');
        }
        Value::Text(text) => {
            context.meter.bytes(text.len())?;
            out.push_str(text);
        }
        other => out.push_str(&convert::shown(other).map_err(|_| {
            let ty = other.type_name();
            Failure::new(format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, \
                 ints, doubles, maps, lists, types, durations, and timestamps, was given {ty}"
            ))
        })?),
    }
    Ok(())
}
