//! From the bytes of a body to an object that is complete, and back to what a client may read.

use coracle_api::schema::{Schema, Type};
use coracle_api::{Kind, Object, Status, defaults, structural};
use serde_json::{Map, Value};

use crate::json;
use crate::request::{Body, Content, FieldValidation, Request};
use crate::verbs::text;

/// A body that was read.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// What it says.
    pub value: Value,
    /// What is odd about it: unknown and duplicate fields.
    pub warnings: Vec<String>,
}

/// Reads a body of media type `content`.
///
/// # Errors
/// 400 when the bytes are not of that type.
pub fn decode(content: Content, bytes: &[u8]) -> Result<Decoded, Status> {
    let bad = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!("error decoding the body of the request: {error}"))
    };
    let parsed = match content {
        Content::Protobuf => {
            let value = coracle_api::protobuf::decode(bytes).map_err(|error| bad(&error))?;
            return Ok(Decoded { value, warnings: Vec::new() });
        }
        Content::Yaml | Content::ApplyPatch if !starts_as_json(bytes) => {
            return yaml(bytes);
        }
        _ => json::parse(bytes).map_err(|error| bad(&error))?,
    };
    Ok(Decoded { value: parsed.value, warnings: duplicates(&parsed.duplicates) })
}

fn starts_as_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn yaml(bytes: &[u8]) -> Result<Decoded, Status> {
    let parsed = json::from_deserializer(serde_norway::Deserializer::from_slice(bytes))
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
    Ok(Decoded { value: parsed.value, warnings: duplicates(&parsed.duplicates) })
}

fn duplicates(paths: &[String]) -> Vec<String> {
    paths.iter().map(|path| format!("duplicate field \"{path}\"")).collect()
}

/// The body of `request`, which is no object of the request's kind but has `definition`
/// (`io.k8s.api.policy.v1.Eviction`); an empty map when there is none.
pub(crate) fn other(request: &Request, definition: &str) -> Result<Value, Status> {
    let value = match &request.body {
        Body::Empty => Value::Null,
        Body::Object(value) => value.clone(),
        Body::Encoded(content, bytes) => decode(*content, bytes)?.value,
    };
    as_definition(value, definition)
}

/// `value` as `definition` has it; unknown fields are dropped.
pub(crate) fn as_definition(mut value: Value, definition: &str) -> Result<Value, Status> {
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    let schema = Schema::builtin();
    let ty = schema.type_named(definition).unwrap_or(&Type::Any);
    let name = definition.rsplit('.').next().unwrap_or_default();
    structural::decode_as(schema, ty, &mut value, true).map_err(|error| {
        Status::bad_request(format!(
            "{name} in version \"v1\" cannot be handled as a {name}: {error}"
        ))
    })?;
    Ok(value)
}

/// The body of `request` as an object of its kind.
pub(crate) fn object(request: &Request) -> Result<Decoded, Status> {
    let decoded = match &request.body {
        Body::Empty => return Err(Status::bad_request("the body of the request is empty")),
        Body::Object(value) => Decoded { value: value.clone(), warnings: Vec::new() },
        Body::Encoded(content, bytes) => decode(*content, bytes)?,
    };
    checked(request, decoded)
}

/// `decoded` as an object of the request's kind, its fields checked as the client asks.
pub(crate) fn checked(request: &Request, mut decoded: Decoded) -> Result<Decoded, Status> {
    let kind = &*request.kind;
    check_type(kind, &mut decoded.value)?;
    let unknown = structural::decode(kind, &mut decoded.value);
    decoded.warnings.extend(unknown.map_err(|error| error.status(kind))?);
    match request.options.field_validation {
        FieldValidation::Ignore => decoded.warnings.clear(),
        FieldValidation::Strict if !decoded.warnings.is_empty() => {
            let (name, version) = (&kind.kind, &kind.version);
            return Err(Status::bad_request(format!(
                "{name} in version \"{version}\" cannot be handled as a {name}: strict decoding \
                 error: {}",
                decoded.warnings.join(", ")
            )));
        }
        _ => {}
    }
    Ok(decoded)
}

/// `apiVersion` and `kind` are those of the URL; a typed client may leave them out.
fn check_type(kind: &Kind, value: &mut Value) -> Result<(), Status> {
    let (version, name) = (text(value, "/apiVersion"), text(value, "/kind"));
    let expected = kind.api_version();
    if !value.is_object() {
        return Err(Status::bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value",
        ));
    }
    if !version.is_empty() && version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    if !name.is_empty() && name != kind.kind {
        let (wanted, version) = (&kind.kind, &kind.version);
        return Err(Status::bad_request(format!(
            "{name} in version \"{version}\" cannot be handled as a {wanted}: converting \
             ({version}.{name}) to ({version}.{wanted}): unknown conversion"
        )));
    }
    value["apiVersion"] = expected.into();
    value["kind"] = kind.kind.to_string().into();
    Ok(())
}

/// Fills what the client left out.
pub(crate) fn default(kind: &Kind, value: &mut Value) {
    defaults::apply(kind, value);
}

/// A stored object as a client of `kind` reads it.
pub(crate) fn readable(kind: &Kind, object: &Object) -> Value {
    let mut value = object.value().clone();
    kind.from_storage(&mut value);
    value
}

/// An object of `kind` in the form in which it is stored.
pub(crate) fn storable(kind: &Kind, mut value: Value) -> Result<Object, Status> {
    kind.to_storage(&mut value);
    Object::new(kind, value).map_err(|error| Status::bad_request(error.to_string()))
}
