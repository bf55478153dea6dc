//! From the bytes of a body to an object that is complete, and back to what a client may read.

mod json;
mod unreadable;
mod yaml;

use coracle_api::patch::json::type_name;
use coracle_api::schema::{Schema, Type};
use coracle_api::structural::{self, DecodeError};
use coracle_api::{Cause, FieldError, Kind, Object, Status, defaults};
use serde_json::{Map, Value};

use crate::pipeline::request::{Body, Content, FieldValidation, Request};
use crate::pipeline::verbs::text;

/// Upstream's limit of a body.
pub(crate) const BODY_MAX: usize = 3 * 1024 * 1024;
/// What Go says of a body without a byte.
const NO_OBJECT: &str = "couldn't get version/kind; json parse error: unexpected end of JSON input";

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
    read(content, bytes).map_err(|error| {
        Status::bad_request(match error {
            Unreadable::Yaml(_) => error.to_string(),
            _ => format!("error decoding the body of the request: {error}"),
        })
    })
}

/// Why bytes are not of the type that their sender says.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Json(String),
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    #[error(transparent)]
    Protobuf(#[from] coracle_api::protobuf::ProtobufError),
}

fn read(content: Content, bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let parsed = match content {
        Content::Protobuf => {
            let value = coracle_api::protobuf::decode(bytes)?;
            return Ok(Decoded { value, warnings: Vec::new() });
        }
        Content::Yaml | Content::ApplyPatch if !starts_as_json(bytes) => {
            yaml::parse(bytes).map_err(Unreadable::Yaml)?
        }
        _ => {
            json::parse(bytes).map_err(|error| Unreadable::Json(unreadable::json(bytes, &error)))?
        }
    };
    Ok(Decoded { value: parsed.value, warnings: duplicates(&parsed.duplicates) })
}

fn starts_as_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
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
    let (said, wanted) = (text(&value, "/kind"), definition.rsplit('.').next().unwrap_or_default());
    if !said.is_empty() && said != wanted {
        let message = format!("{said} in the body of the request cannot be handled as a {wanted}");
        return Err(Status::bad_request(message));
    }
    let namespace = text(&value, "/metadata/namespace");
    if request.kind.is_namespaced() && !namespace.is_empty() && namespace != request.namespace {
        return Err(other_namespace());
    }
    as_definition(value, definition)
}

/// 400: the body is of another namespace than the URL, and rights were asked for the URL's.
pub(crate) fn other_namespace() -> Status {
    Status::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    )
}

/// 400 unless `body`, what is done to the object that the URL names, names it too.
pub(crate) fn of_this_name(request: &Request, body: &Value, kind: &str) -> Result<(), Status> {
    if text(body, "/metadata/name") == request.name {
        return Ok(());
    }
    Err(Status::bad_request(format!("name in URL does not match name in {kind} object")))
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
        Body::Empty => return Err(unreadable::object(&request.kind, b"", NO_OBJECT)),
        Body::Object(value) => Decoded { value: value.clone(), warnings: Vec::new() },
        Body::Encoded(content, bytes) => read(*content, bytes).map_err(|error| match error {
            Unreadable::Json(why) => {
                let why = format!("couldn't get version/kind; json parse error: {why}");
                unreadable::object(&request.kind, bytes, why)
            }
            error => unreadable::object(&request.kind, bytes, error),
        })?,
    };
    checked(request, decoded)
}

/// Why a value that was read is no object of a kind.
pub(crate) enum Unfit {
    /// What the client gets whatever it sent.
    Status(Status),
    /// What is wrong with a field: where the value came from decides on the answer.
    Fields(String),
}

impl Unfit {
    /// The answer to a body that is the object.
    fn of_body(self, kind: &Kind) -> Status {
        let (name, version) = (&kind.kind, &kind.version);
        match self {
            Self::Status(status) => status,
            Self::Fields(why) => Status::bad_request(format!(
                "{name} in version \"{version}\" cannot be handled as a {name}: {why}"
            )),
        }
    }

    /// The answer to a patch that made the object; `shown` is what upstream shows of it.
    pub(crate) fn of_patch(self, shown: &str) -> Status {
        match self {
            Self::Status(status) => status,
            Self::Fields(why) => {
                let error = FieldError::invalid("patch", &Value::from(shown), why);
                let message = format!(" \"\" is invalid: {error}");
                Status::failure(422, "Invalid", message).with_details(|details| {
                    details.causes = vec![Cause {
                        reason: error.reason().into(),
                        message: error.message(),
                        field: error.field.clone(),
                    }];
                })
            }
        }
    }
}

/// `decoded` as an object of the request's kind, its fields checked as the client asks.
pub(crate) fn checked(request: &Request, decoded: Decoded) -> Result<Decoded, Status> {
    patched(request, decoded).map_err(|unfit| unfit.of_body(&request.kind))
}

/// As [`checked`], of what a patch made.
pub(crate) fn patched(request: &Request, decoded: Decoded) -> Result<Decoded, Unfit> {
    checked_by(structural::decode, request, decoded)
}

/// As [`checked`], of what is applied, which need not be a whole object.
pub(crate) fn configuration(request: &Request, decoded: Decoded) -> Result<Decoded, Status> {
    checked_by(structural::decode_configuration, request, decoded)
        .map_err(|unfit| unfit.of_body(&request.kind))
}

fn checked_by(
    decode: fn(&Kind, &mut Value) -> Result<Vec<String>, DecodeError>,
    request: &Request,
    mut decoded: Decoded,
) -> Result<Decoded, Unfit> {
    let kind = &*request.kind;
    check_type(kind, &mut decoded.value).map_err(Unfit::Status)?;
    let unknown = decode(kind, &mut decoded.value).map_err(|error| match error {
        DecodeError::Required(_) => Unfit::Status(error.status(kind)),
        error => Unfit::Fields(error.to_string()),
    })?;
    decoded.warnings.extend(unknown);
    match request.options.field_validation {
        FieldValidation::Ignore => decoded.warnings.clear(),
        FieldValidation::Strict if !decoded.warnings.is_empty() => {
            let warnings = decoded.warnings.join(", ");
            return Err(Unfit::Fields(format!("strict decoding error: {warnings}")));
        }
        _ => {}
    }
    Ok(decoded)
}

/// `apiVersion` and `kind` are those of the URL; a typed client may leave them out.
fn check_type(kind: &Kind, value: &mut Value) -> Result<(), Status> {
    if value.is_null() {
        // Nothing is read into an object as it is into Go's: it is empty.
        *value = Value::Object(Map::new());
    }
    let (version, name) = (text(value, "/apiVersion"), text(value, "/kind"));
    let expected = kind.api_version();
    let unlike = |what: &str, place: &str| {
        let why = "couldn't get version/kind; json parse error: json: cannot unmarshal";
        Status::bad_request(format!("{why} {what} into Go {place}"))
    };
    if !value.is_object() {
        return Err(unlike(type_name(value), "value of type struct"));
    }
    for field in ["apiVersion", "kind"] {
        if !matches!(value.get(field), None | Some(Value::Null | Value::String(_))) {
            let place = format!("struct field .{field} of type string");
            return Err(unlike(type_name(&value[field]), &place));
        }
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
