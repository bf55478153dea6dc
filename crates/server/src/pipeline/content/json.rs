//! JSON as clients write it: parsed with an eye on keys that occur twice, and on what is nested too
//! deep.

use std::cell::{Cell, RefCell};
use std::fmt;

use coracle_api::structural::DEPTH_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How the error for more begins.
pub(crate) const TOO_DEEP: &str = "nested deeper than";
/// The most that a body may hold: a byte for every character of its strings and one for each value.
/// A text without aliases holds no more than its own length.
pub(crate) const SIZE_MAX: usize = crate::pipeline::content::BODY_MAX;
/// What is kept of what is said of keys that stood twice: one of a long path can stand there often.
const DUPLICATES_MAX: usize = 64 << 10;

/// A value and the keys that stood twice, of which the last one counts.
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// `spec.replicas`; of YAML `line 5: key "replicas" already set in map`.
    pub(crate) duplicates: Vec<String>,
}

/// Parses one JSON value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = from_deserializer(&mut deserializer)?;
    deserializer.end()?;
    Ok(parsed)
}

/// What is said of keys that stood twice, as long as it is not too much.
#[derive(Default)]
pub(crate) struct Duplicates {
    said: Vec<String>,
    size: usize,
}

impl Duplicates {
    /// Notes one; the first is kept however long it is.
    pub(crate) fn push(&mut self, said: impl FnOnce() -> String) {
        if self.size < DUPLICATES_MAX {
            let said = said();
            self.size += said.len().max(1);
            self.said.push(said);
        }
    }

    pub(crate) fn into_said(self) -> Vec<String> {
        self.said
    }
}

/// Reads a value from any self-describing format.
fn from_deserializer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parsed, D::Error> {
    let seen = Seen { size: Cell::new(0), duplicates: RefCell::default() };
    let value = Reader { path: &Path::Root, depth: 0, seen: &seen }.deserialize(deserializer)?;
    Ok(Parsed { value, duplicates: seen.duplicates.into_inner().into_said() })
}

/// Where the reader is, written out only when there is something to say.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Path::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What was read so far.
struct Seen {
    size: Cell<usize>,
    duplicates: RefCell<Duplicates>,
}

struct Reader<'a> {
    path: &'a Path<'a>,
    depth: usize,
    seen: &'a Seen,
}

impl<'a> Reader<'a> {
    fn below(&self, path: &'a Path<'a>) -> Self {
        Self { path, depth: self.depth + 1, seen: self.seen }
    }

    fn grow<E: Error>(&self, by: usize) -> Result<(), E> {
        let size = self.seen.size.get().saturating_add(by);
        self.seen.size.set(size);
        match size {
            0..=SIZE_MAX => Ok(()),
            _ => Err(E::custom(format_args!("it holds more than {SIZE_MAX} bytes"))),
        }
    }

    fn check_depth<E: Error>(&self) -> Result<(), E> {
        match self.depth {
            0..DEPTH_MAX => Ok(()),
            _ => Err(E::custom(format_args!("{TOO_DEEP} {DEPTH_MAX} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.grow(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.grow(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.grow(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut items = Vec::new();
        loop {
            let path = Path::Index(self.path, items.len());
            match seq.next_element_seed(self.below(&path))? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.grow(key.len())?;
            let path = Path::Key(self.path, &key);
            let value = map.next_value_seed(self.below(&path))?;
            if fields.contains_key(&key) {
                self.seen.duplicates.borrow_mut().push(|| path.to_string());
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_named_and_the_last_one_counts() {
        let text = br#"{"spec": {"replicas": 1, "list": [{"a": 1, "a": 2}], "replicas": 2}}"#;
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.value["spec"]["replicas"], 2);
        assert_eq!(parsed.duplicates, ["spec.list[0].a", "spec.replicas"]);
    }

    /// A key of a megabyte with a hundred thousand duplicates below it was a path each.
    #[test]
    fn duplicates_are_named_while_there_is_room() {
        let text =
            format!("{{\"{}\": {{{}\"a\": 1}}}}", "k".repeat(1 << 20), "\"a\":1,".repeat(10_000));
        assert_eq!(parse(text.as_bytes()).unwrap().duplicates.len(), 1);
        let text = format!("{{{}\"a\": 1}}", "\"a\":1,".repeat(100_000));
        assert_eq!(parse(text.as_bytes()).unwrap().duplicates.len(), DUPLICATES_MAX);
    }

    #[test]
    fn bottomless_nesting_is_refused() {
        let text = "[".repeat(100_000);
        assert!(parse(text.as_bytes()).is_err());
    }
}
