//! From one type to another, sizes and types.

use coracle_api::text::spans;

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::text::time;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "size" "(string) -> int" One => size;
    "size" "(bytes) -> int" One => size;
    "size" "(list(A)) -> int" One => size;
    "size" "(map(A, B)) -> int" One => size;
    "size" "string.() -> int" One => size;
    "size" "bytes.() -> int" One => size;
    "size" "list(A).() -> int" One => size;
    "size" "map(A, B).() -> int" One => size;
    "dyn" "(A) -> dyn" One => |_, a| a.first().cloned().ok_or_else(|| Failure::new("no value"));
    "type" "(A) -> type(A)" One => |_, a| {
        Ok(Value::Type(a.first().map_or("dyn", |it| it.type_name()).into()))
    };
    "bool" "(bool) -> bool" One => to_bool;
    "bool" "(string) -> bool" One => to_bool;
    "int" "(int) -> int" One => to_int;
    "int" "(uint) -> int" One => to_int;
    "int" "(double) -> int" One => to_int;
    "int" "(string) -> int" One => to_int;
    "int" "(timestamp) -> int" One => to_int;
    "int" "(duration) -> int" One => to_int;
    "uint" "(uint) -> uint" One => to_uint;
    "uint" "(int) -> uint" One => to_uint;
    "uint" "(double) -> uint" One => to_uint;
    "uint" "(string) -> uint" One => to_uint;
    "double" "(double) -> double" One => to_double;
    "double" "(int) -> double" One => to_double;
    "double" "(uint) -> double" One => to_double;
    "double" "(string) -> double" One => to_double;
    "bytes" "(bytes) -> bytes" One => to_bytes;
    "bytes" "(string) -> bytes" Receiver => to_bytes;
    "string" "(string) -> string" One => to_string;
    "string" "(bool) -> string" One => to_string;
    "string" "(int) -> string" One => to_string;
    "string" "(uint) -> string" One => to_string;
    "string" "(double) -> string" One => to_string;
    "string" "(bytes) -> string" Receiver => to_string;
    "string" "(timestamp) -> string" One => to_string;
    "string" "(duration) -> string" One => to_string;
    "string" "(IP) -> string" One => to_string;
    "string" "(CIDR) -> string" One => to_string;
    "duration" "(duration) -> duration" One => to_duration;
    "duration" "(string) -> duration" One => to_duration;
    "duration" "(int) -> duration" One => to_duration;
    "timestamp" "(timestamp) -> timestamp" One => to_timestamp;
    "timestamp" "(string) -> timestamp" One => to_timestamp;
    "timestamp" "(int) -> timestamp" One => to_timestamp;
};

fn cannot(value: &Value, to: &str) -> Failure {
    Failure::new(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn only<'b, 'a>(args: &'b [Value<'a>]) -> Result<&'b Value<'a>, Failure> {
    args.first().ok_or_else(|| Failure::new("no such overload"))
}

fn size<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(i64::try_from(only(args)?.size()).unwrap_or(i64::MAX)))
}

fn to_bool<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match only(args)? {
        Value::Text(text) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(cannot(&args[0], "bool")),
        },
        other => Ok(other.clone()),
    }
}

fn to_int<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Failure::new("integer overflow");
    match only(args)? {
        Value::Uint(it) => i64::try_from(*it).map(Value::Int).map_err(|_| overflow()),
        Value::Double(it)
            if *it > -9_223_372_036_854_775_808.0 && *it < 9_223_372_036_854_775_807.0 =>
        {
            Ok(Value::Int(*it as i64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text.parse().map(Value::Int).map_err(|_| cannot(&args[0], "int")),
        Value::Timestamp(moment) => Ok(Value::Int(time::to_seconds(*moment))),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        other => Ok(other.clone()),
    }
}

fn to_uint<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Failure::new("unsigned integer overflow");
    match only(args)? {
        Value::Int(it) => u64::try_from(*it).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(it) if *it >= 0.0 && *it < 18_446_744_073_709_551_615.0 => {
            Ok(Value::Uint(*it as u64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Text(text) => text.parse().map(Value::Uint).map_err(|_| cannot(&args[0], "uint")),
        other => Ok(other.clone()),
    }
}

fn to_double<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match only(args)? {
        Value::Int(it) => Ok(Value::Double(*it as f64)),
        Value::Uint(it) => Ok(Value::Double(*it as f64)),
        Value::Text(text) => {
            text.parse().map(Value::Double).map_err(|_| cannot(&args[0], "double"))
        }
        other => Ok(other.clone()),
    }
}

fn to_bytes<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match only(args)? {
        Value::Text(text) => {
            context.meter.bytes(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        other => Ok(other.clone()),
    }
}

fn to_string<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let value = only(args)?;
    if let Value::Text(_) = value {
        return Ok(value.clone());
    }
    context.meter.bytes(64)?;
    shown(value).map(Value::text)
}

/// `value` as `string(value)` shows it.
pub(super) fn shown(value: &Value) -> Result<String, Failure> {
    Ok(match value {
        Value::Text(it) => it.to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Int(it) => it.to_string(),
        Value::Uint(it) => it.to_string(),
        Value::Double(it) => float(*it),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| Failure::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(it) => format!("{it}Z"),
        Value::Duration(it) => time::seconds(*it),
        Value::Ip(it) => it.to_string(),
        Value::Cidr(it) => it.to_string(),
        other => return Err(cannot(other, "string")),
    })
}

/// A float as Go's `%g` shows it.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shown = format!("{value:e}");
    let (_, exponent) = parts(&shown);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    scientific(&shown)
}

/// `1.5e0` as Go writes it, `1.5e+00`: with a sign and two digits at least in the exponent.
pub(super) fn scientific(shown: &str) -> String {
    let (digits, exponent) = parts(shown);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn parts(shown: &str) -> (&str, i32) {
    let (digits, exponent) = shown.split_once('e').unwrap_or((shown, "0"));
    (digits, exponent.parse().unwrap_or_default())
}

fn to_duration<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match only(args)? {
        Value::Text(text) => spans::nanoseconds(text)
            .map(Value::Duration)
            .ok_or_else(|| cannot(&args[0], "google.protobuf.Duration")),
        Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        other => Ok(other.clone()),
    }
}

fn to_timestamp<'a>(_: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    match only(args)? {
        Value::Text(text) => time::parse_instant(text)
            .map(Value::Timestamp)
            .ok_or_else(|| cannot(&args[0], "google.protobuf.Timestamp")),
        Value::Int(seconds) => time::from_seconds(*seconds)
            .map(Value::Timestamp)
            .ok_or_else(|| Failure::new("timestamp overflow")),
        other => Ok(other.clone()),
    }
}
