//! Objects in protobuf, as typed clients send them: decoded into the JSON that all else works on.
//!
//! One table of field numbers (`protobuf/fields.txt`, facts of upstream's `generated.proto`) serves
//! every message. A field that the table lacks is dropped, as upstream drops it: clients older than
//! 1.24 write the field of `clusterName` into every object. One that says something is told of.

mod scalars;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Map, Value};

use wire::{Field, Payload, Reader};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages may nest so deep.
const DEPTH_MAX: usize = 100;
/// Of how many dropped fields is told.
const DROPPED_MAX: usize = 100;

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin as Kubernetes' protobuf does.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NotProtobuf,
    /// The bytes end early or make no sense.
    #[error("proto: {message}: {reason}")]
    Malformed {
        /// Where.
        message: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The kind has no protobuf form here.
    #[error("no protobuf form of {kind} in {api_version} is known: send it as JSON instead")]
    UnknownKind {
        /// `apps/v1`
        api_version: String,
        /// `StatefulSet`
        kind: String,
    },
}

/// Decode a body: the JSON of the object, with `apiVersion` and `kind`; and which fields were dropped
/// that said something, as warnings: `unknown field number 99 of core.v1.PodSpec`.
///
/// # Errors
/// When the body is malformed or of a kind that this server does not know.
pub fn decode(bytes: &[u8]) -> Result<(Value, Vec<String>), ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NotProtobuf)?;
    let (api_version, kind, raw) = unwrap_envelope(envelope)?;
    let message = message_of(&api_version, &kind);
    if !table().contains_key(message.as_str()) {
        return Err(ProtobufError::UnknownKind { api_version, kind });
    }
    let mut decoder = Decoder::default();
    let mut object = decoder.message(&message, raw, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok((Value::Object(object), decoder.dropped.into_iter().collect()))
}

/// `runtime.Unknown`: type, raw bytes, encoding and content type.
fn unwrap_envelope(bytes: &[u8]) -> Result<(String, String, &[u8]), ProtobufError> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new("runtime.Unknown", bytes) {
        match field? {
            Field { number: 1, payload: Payload::Bytes(types) } => {
                for field in Reader::new("runtime.TypeMeta", types) {
                    match field? {
                        Field { number: 1, payload } => api_version = payload.text("TypeMeta")?,
                        Field { number: 2, payload } => kind = payload.text("TypeMeta")?,
                        _ => {}
                    }
                }
            }
            Field { number: 2, payload: Payload::Bytes(bytes) } => raw = bytes,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

/// The message of a kind: `apps.v1.StatefulSet`. Delete options are the same in every group.
fn message_of(api_version: &str, kind: &str) -> String {
    if kind == "DeleteOptions" {
        return "meta.v1.DeleteOptions".into();
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or(group);
    format!("{package}.{version}.{kind}")
}

/// One field of a message, as the table says it.
struct Row {
    name: &'static str,
    shape: Shape,
    element: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    One,
    List,
    Map,
    Embedded,
}

type Table = BTreeMap<&'static str, BTreeMap<u32, Row>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| include_str!("protobuf/fields.txt").lines().filter_map(message).collect())
}

fn message(line: &'static str) -> Option<(&'static str, BTreeMap<u32, Row>)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    Some((name, words.filter_map(row).collect()))
}

fn row(word: &'static str) -> Option<(u32, Row)> {
    let (number, rest) = word.split_once(':')?;
    let (name, kind) = rest.split_once('=')?;
    let (shape, element) = match (name, kind.as_bytes().first()?) {
        ("^", _) => (Shape::Embedded, kind),
        (_, b'*') => (Shape::List, &kind[1..]),
        (_, b'%') => (Shape::Map, &kind[1..]),
        _ => (Shape::One, kind),
    };
    Some((number.parse().ok()?, Row { name, shape, element }))
}

/// Reads messages, and remembers which fields it dropped.
#[derive(Default)]
struct Decoder {
    dropped: BTreeSet<String>,
}

impl Decoder {
    fn message(
        &mut self,
        message: &str,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Map<String, Value>, ProtobufError> {
        if depth > DEPTH_MAX {
            return Err(malformed(message, "nested too deep"));
        }
        let mut object = Map::new();
        let rows = table().get(message);
        for field in Reader::new(message, bytes) {
            let Field { number, payload } = field?;
            match rows.and_then(|rows| rows.get(&number)) {
                Some(row) => self.put(&mut object, message, row, payload, depth)?,
                None => self.drop(message, number, payload),
            }
        }
        Ok(object)
    }

    /// An old client's field that no longer is says nothing, as a rule.
    fn drop(&mut self, message: &str, number: u32, payload: Payload<'_>) {
        let is_said = !matches!(payload, Payload::Bytes(b"") | Payload::Varint(0));
        if is_said && self.dropped.len() < DROPPED_MAX {
            self.dropped.insert(format!("unknown field number {number} of {message}"));
        }
    }

    fn put(
        &mut self,
        object: &mut Map<String, Value>,
        message: &str,
        row: &Row,
        payload: Payload<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match row.shape {
            Shape::One => {
                let value = self.element(message, row.element, payload, depth)?;
                if !scalars::means_unset(row.name, &value) {
                    object.insert(row.name.into(), value);
                }
            }
            Shape::Embedded => {
                object.extend(self.message(row.element, payload.bytes(message)?, depth + 1)?);
            }
            Shape::List => {
                let list = object.entry(row.name).or_insert_with(|| Value::Array(Vec::new()));
                let items = match payload {
                    // A list of numbers may be packed.
                    Payload::Bytes(bytes) if row.element == "i" => wire::packed(message, bytes)?,
                    payload => vec![self.element(message, row.element, payload, depth)?],
                };
                if let Value::Array(list) = list {
                    list.extend(items);
                }
            }
            Shape::Map => {
                let (key, value) =
                    self.map_entry(message, row.element, payload.bytes(message)?, depth)?;
                let map = object.entry(row.name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn map_entry(
        &mut self,
        message: &str,
        kind: &str,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = (String::new(), None);
        for field in Reader::new(message, bytes) {
            match field? {
                Field { number: 1, payload } => key = payload.text(message)?,
                Field { number: 2, payload } => {
                    value = Some(self.element(message, kind, payload, depth)?)
                }
                Field { .. } => {}
            }
        }
        // An absent value is the empty one of its type.
        let empty =
            if matches!(kind, "s" | "B") { Value::from("") } else { Value::Object(Map::new()) };
        Ok((key, value.unwrap_or(empty)))
    }

    fn element(
        &mut self,
        message: &str,
        kind: &str,
        payload: Payload<'_>,
        depth: usize,
    ) -> Result<Value, ProtobufError> {
        Ok(match kind {
            "s" => Value::from(payload.text(message)?),
            "b" => Value::from(payload.integer(message)? != 0),
            "i" => Value::from(payload.integer(message)?),
            "d" => Value::from(payload.double(message)?),
            "B" => scalars::base64(payload.bytes(message)?),
            kind => {
                let bytes = payload.bytes(message)?;
                match scalars::special(kind, bytes)? {
                    Some(value) => value,
                    None => either(kind, self.message(kind, bytes, depth + 1)?),
                }
            }
        })
    }
}

/// Messages around a list, or around one of two alternatives, are that list or alternative in JSON.
fn either(kind: &str, mut object: Map<String, Value>) -> Value {
    let alternatives: &[&str] = match kind.rsplit('.').next().unwrap_or(kind) {
        "ExtraValue" | "Verbs" => &["items"],
        "JsonSchemaPropsOrBool" => &["schema", "allows"],
        "JsonSchemaPropsOrArray" => &["schema", "jsonschemas"],
        "JsonSchemaPropsOrStringArray" => &["schema", "property"],
        _ => return Value::Object(object),
    };
    alternatives.iter().find_map(|name| object.remove(*name)).unwrap_or(Value::Bool(false))
}

fn malformed(message: &str, reason: &'static str) -> ProtobufError {
    ProtobufError::Malformed { message: message.into(), reason }
}

#[cfg(test)]
mod tests;
