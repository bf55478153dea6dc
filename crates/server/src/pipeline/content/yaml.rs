//! YAML as clients write it: read event by event, so that what is too deep or too large is refused
//! where it becomes so, before anything grows with it.
//!
//! libyaml looks at every open bracket again for each token, so that 100,000 of them took it
//! minutes (CVE-2019-11253 was the same in Go); here there are never more than [`DEPTH_MAX`].
//! Scalars are those of YAML 1.1, as Go's reader resolves them: `y` and `off` are booleans, `0777`
//! is octal.

use std::borrow::Cow;
use std::collections::BTreeMap;

use coracle_api::structural::DEPTH_MAX;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use crate::pipeline::content::json::{Duplicates, Parsed, SIZE_MAX, TOO_DEEP};

/// The key whose value is merged into its map.
const MERGE: &str = "<<";

/// Parses one document; what stands twice is said as Go's reader says it.
///
/// # Errors
/// In words, as clients of upstream know them.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("yaml: {error}"))?;
        reader.line = span.start.line();
        reader.take(event)?;
    }
    let value = reader.document.unwrap_or_default().value;
    Ok(Parsed { value, duplicates: reader.duplicates.into_said() })
}

/// A value, and what it holds.
#[derive(Clone, Default)]
struct Sized {
    value: Value,
    /// As [`SIZE_MAX`] counts.
    size: usize,
    /// How deep it is nested; a scalar is 0 deep.
    depth: usize,
}

/// A collection that is being read.
struct Open {
    anchor: usize,
    /// Where it begins.
    line: usize,
    size: usize,
    depth: usize,
    what: Collection,
}

enum Collection {
    List(Vec<Value>),
    /// With the key whose value is to come, and what is merged in at the end.
    Map {
        fields: Map<String, Value>,
        key: Option<String>,
        merged: Vec<Value>,
    },
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    /// Values by anchor; one whose value is still being read is not among them.
    anchors: BTreeMap<usize, Sized>,
    document: Option<Sized>,
    /// What all documents and anchors hold, so that neither grows beyond a body.
    size: usize,
    /// Where the event begins that is taken, from 1.
    line: usize,
    duplicates: Duplicates,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.document.is_some() => {
                Err("yaml: there is more than one document".to_owned())
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => {
                let there = self.anchors.get(&anchor).cloned();
                let value = there.ok_or("yaml: anchor value contains itself")?;
                self.put(value, self.line, 0)
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag),
            Event::SequenceStart(anchor, _) => self.begin(anchor, Collection::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let (fields, key, merged) = Default::default();
                self.begin(anchor, Collection::Map { fields, key, merged })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(&mut self, anchor: usize, what: Collection) -> Result<(), String> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep());
        }
        self.open.push(Open { anchor, line: self.line, size: 1, depth: 0, what });
        self.grow(1)
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(Open { anchor, line, size, depth, what }) = self.open.pop() else { return Ok(()) };
        let value = match what {
            Collection::List(items) => Value::Array(items),
            Collection::Map { mut fields, merged, .. } => {
                for (key, value) in merged.into_iter().flat_map(fields_of) {
                    fields.entry(key).or_insert(value);
                }
                Value::Object(fields)
            }
        };
        self.put(Sized { value, size, depth: depth + 1 }, line, anchor)
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
    ) -> Result<(), String> {
        let is_plain = style == ScalarStyle::Plain;
        if let Some(Open { what: Collection::Map { key: key @ None, .. }, .. }) =
            self.open.last_mut()
        {
            // Whatever a key looks like, it is a string here.
            let size = text.len();
            *key = Some(text.into_owned());
            return self.grow(size);
        }
        let size = 1 + text.len();
        let resolves = match &tag {
            None => is_plain,
            Some(tag) => tag.is_yaml_core_schema() && tag.suffix != "str" && tag.suffix != "binary",
        };
        let value = if resolves { resolved(&text) } else { Value::String(text.into_owned()) };
        self.grow(size)?;
        self.put(Sized { value, size, depth: 0 }, self.line, anchor)
    }

    /// Gives a value that is complete, and begins at `line`, to what it is in.
    fn put(&mut self, value: Sized, line: usize, anchor: usize) -> Result<(), String> {
        if self.open.len() + value.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        if anchor != 0 {
            self.grow(value.size)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.document = Some(value);
            return Ok(());
        };
        parent.size = parent.size.saturating_add(value.size);
        parent.depth = parent.depth.max(value.depth);
        if parent.size > SIZE_MAX {
            return Err(too_large());
        }
        match &mut parent.what {
            Collection::List(items) => items.push(value.value),
            Collection::Map { fields, key, merged } => match key.take() {
                Some(key) if key == MERGE => merged.push(value.value),
                Some(key) => {
                    if fields.contains_key(&key) {
                        let said = || format!("line {line}: key {key:?} already set in map");
                        self.duplicates.push(said);
                    }
                    fields.insert(key, value.value);
                }
                None => return Err("yaml: a key is no scalar".to_owned()),
            },
        }
        Ok(())
    }

    fn grow(&mut self, by: usize) -> Result<(), String> {
        self.size = self.size.saturating_add(by);
        // Once as it is written, once for its anchors.
        if self.size > 2 * SIZE_MAX { Err(too_large()) } else { Ok(()) }
    }
}

fn too_deep() -> String {
    format!("{TOO_DEEP} {DEPTH_MAX} levels")
}

fn too_large() -> String {
    format!("it holds more than {SIZE_MAX} bytes")
}

/// What `<<` brings: the fields of a map, or of each map of a list, the first of which counts.
fn fields_of(merged: Value) -> Vec<(String, Value)> {
    match merged {
        Value::Object(fields) => fields.into_iter().collect(),
        Value::Array(items) => items.into_iter().flat_map(fields_of).collect(),
        _ => Vec::new(),
    }
}

/// A scalar without quotes.
fn resolved(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            true.into()
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            false.into()
        }
        _ => number(text).map_or_else(|| text.into(), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let starts = text.trim_start_matches(['+', '-']).as_bytes().first()?;
    if !starts.is_ascii_digit() && *starts != b'.' {
        return None;
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain))
}

/// As Go reads integers of base 0: `0x`, `0o`, `0b`, and octal after a 0.
fn integer(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match is_negative {
        false => Some(magnitude.into()),
        true => Some(i64::try_from(-i128::from(magnitude)).ok()?.into()),
    }
}

fn float(text: &str) -> Option<Number> {
    let is_float = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    if !has_digit || !text.bytes().all(is_float) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        parse(text.as_bytes()).map(|parsed| parsed.value).unwrap_or_else(|why| json!({"why": why}))
    }

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("y", json!(true)),
            ("off", json!(false)),
            ("\"y\"", json!("y")),
            ("!!str 5", json!("5")),
            ("0777", json!(511)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("-5", json!(-5)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("08", json!(8.0)),
            ("2024-01-01", json!("2024-01-01")),
            ("~", json!(null)),
            ("1Gi", json!("1Gi")),
            ("-", json!([null])),
            (".", json!(".")),
            ("0x", json!("0x")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn maps_merge_and_keys_are_strings() {
        let text = "base: &b {a: 1, c: 2}\none: {<<: *b, c: 3}\n1: x\nyes: y\n";
        assert_eq!(
            value(text),
            json!({"base": {"a": 1, "c": 2}, "one": {"a": 1, "c": 3}, "1": "x", "yes": true})
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_told_where_its_second_value_begins() {
        let text = "spec:\n  list:\n  - {a: 1, a: 2}\n  b: 1\n  b:\n    c: 2\n  <<: {}\n  <<: {}\n";
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.value["spec"]["b"]["c"], 2);
        let said = ["line 3: key \"a\" already set in map", "line 6: key \"b\" already set in map"];
        assert_eq!(parsed.duplicates, said);
    }

    #[test]
    fn what_has_no_bottom_is_refused_where_it_becomes_too_deep() {
        let deep = |open: &str| {
            value(&open.repeat(500_000))["why"].as_str().unwrap_or_default().to_owned()
        };
        for open in ["[", "{a: ", "- ", "? ", "a: [", "[{", "- - ? "] {
            assert!(!deep(open).is_empty(), "{open}");
        }
        let wide = format!("[{}]", "[],".repeat(100_000));
        assert_eq!(value(&wide).as_array().unwrap().len(), 100_000);
        assert!(value("a: &a [*a]")["why"].is_string());
    }

    #[test]
    fn what_repeats_itself_cannot_hold_more_than_a_body() {
        let mut lists = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (older, newer) in ('a'..'m').zip('b'..='m') {
            lists += &format!("{newer}: &{newer} [{}]\n", vec![format!("*{older}"); 9].join(","));
        }
        assert_eq!(value(&lists)["why"], too_large());
        let anchors: String =
            (0..2000).map(|at| format!("- &a{at} {}\n", "x".repeat(3000))).collect();
        assert_eq!(value(&anchors)["why"], too_large());
    }
}
