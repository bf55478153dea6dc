//! From the bytes of a body to an object that is complete, and back to what a client may read.

mod json;
mod order;
pub(crate) mod unreadable;
mod yaml;

use coracle_api::patch::json::type_name;
use coracle_api::schema::Schema;
use coracle_api::structural::{self, DecodeError};
use coracle_api::{Cause, FieldError, Kind, Object, Status, defaults};
use serde_json::{Map, Value};

use crate::pipeline::request::{Body, Content, FieldValidation, Request};
use crate::pipeline::verbs::text;

/// Upstream's limit of a body.
pub(crate) const BODY_MAX: usize = 3 * 1024 * 1024;

/// Where upstream's server registers the options of its verbs, as its errors say.
const OPTIONS: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

/// What Go says of a body without a byte.
const NO_OBJECT: &str = "couldn't get version/kind; json parse error: unexpected end of JSON input";

/// A body that was read.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// What it says.
    pub value: Value,
    /// What is odd about it: unknown and duplicate fields.
    pub warnings: Vec<String>,
    /// Keys that stand twice in its YAML, each with its line.
    pub lines: Vec<String>,
}

impl Decoded {
    /// One that nothing is odd about.
    pub(crate) fn plain(value: Value) -> Self {
        Self { value, warnings: Vec::new(), lines: Vec::new() }
    }
}

/// Reads a patch of media type `content`.
///
/// # Errors
/// 400 when the bytes are not of that type.
pub(crate) fn decode_patch(content: Content, bytes: &[u8]) -> Result<Decoded, Status> {
    let decoded = read(content, bytes).map_err(|error| {
        Status::bad_request(match content {
            Content::StrategicMergePatch => error.to_string(),
            Content::ApplyPatch => format!("error decoding YAML: {error}"),
            _ => format!("error decoding patch: {error}"),
        })
    })?;
    if content == Content::ApplyPatch && !matches!(decoded.value, Value::Object(_) | Value::Null) {
        return Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot \
             unmarshal {} into Go value of type map[string]interface {{}}",
            type_name(&decoded.value)
        )));
    }
    Ok(decoded)
}

/// Reads a body of media type `content`.
///
/// # Errors
/// 400 when the bytes are not of that type.
pub fn decode(content: Content, bytes: &[u8]) -> Result<Decoded, Status> {
    read(content, bytes).map_err(|error| {
        Status::bad_request(match error {
            Unreadable::Json(why) => format!("couldn't get version/kind; json parse error: {why}"),
            _ => error.to_string(),
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
            let (value, warnings) = coracle_api::protobuf::decode(bytes)?;
            return Ok(Decoded { warnings, ..Decoded::plain(value) });
        }
        Content::Yaml | Content::ApplyPatch if !starts_as_json(bytes) => return read_yaml(bytes),
        _ => {
            json::parse(bytes).map_err(|error| Unreadable::Json(unreadable::json(bytes, &error)))?
        }
    };
    if content == Content::ApplyPatch && !parsed.duplicates.is_empty() {
        // JSON is YAML, and read as such where it is applied.
        return read_yaml(bytes);
    }
    let warnings = duplicates(&parsed.duplicates);
    Ok(Decoded { warnings, ..Decoded::plain(parsed.value) })
}

fn read_yaml(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let parsed = yaml::parse(bytes).map_err(Unreadable::Yaml)?;
    Ok(Decoded { lines: parsed.duplicates, ..Decoded::plain(parsed.value) })
}

fn starts_as_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn duplicates(paths: &[String]) -> Vec<String> {
    paths.iter().map(|path| format!("duplicate field \"{path}\"")).collect()
}

/// Of all bodies that are no object, upstream words the mistakes of this one apart.
const DELETE_OPTIONS: &str = "DeleteOptions";

/// The body of `request`, which is no object of the request's kind but has `definition`
/// (`io.k8s.api.policy.v1.Eviction`); an empty map when there is none.
pub(crate) fn other(request: &Request, definition: &str) -> Result<Value, Status> {
    let value = match &request.body {
        Body::Empty => Value::Null,
        Body::Object(value) => value.clone(),
        Body::Encoded(content, bytes) => decode(*content, bytes)?.value,
    };
    let (said, wanted) = (text(&value, "/kind"), definition.rsplit('.').next().unwrap_or_default());
    if !matches!(value, Value::Null | Value::Object(_)) {
        return Err(Status::bad_request(unreadable::no_object(&value)));
    }
    if !said.is_empty() && said != wanted {
        if wanted == DELETE_OPTIONS {
            let version = text(&value, "/apiVersion");
            return Err(Status::bad_request(format!(
                "no kind {said:?} is registered for version {version:?} in scheme {OPTIONS:?}"
            )));
        }
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
    let name = definition.rsplit('.').next().unwrap_or_default();
    structural::decode_as(schema, definition, &mut value, true).map_err(|error| {
        Status::bad_request(match name {
            DELETE_OPTIONS => error.to_string(),
            _ => format!("{name} in version \"v1\" cannot be handled as a {name}: {error}"),
        })
    })?;
    Ok(value)
}

/// The body of `request` as an object of its kind.
pub(crate) fn object(request: &Request) -> Result<Decoded, Status> {
    let decoded = match &request.body {
        Body::Empty => return Err(unreadable::object(&request.kind, b"", NO_OBJECT)),
        Body::Object(value) => Decoded::plain(value.clone()),
        Body::Encoded(content, bytes) => read(*content, bytes)
            .map_err(|error| match error {
                Unreadable::Json(why) => {
                    let why = format!("couldn't get version/kind; json parse error: {why}");
                    unreadable::object(&request.kind, bytes, why)
                }
                error => unreadable::object(&request.kind, bytes, error),
            })
            .and_then(|decoded| match unreadable::unversioned(&decoded.value) {
                Some(why) => Err(unreadable::object(&request.kind, bytes, why)),
                None => Ok(decoded),
            })?,
    };
    let text = match &request.body {
        Body::Encoded(Content::Json, bytes) if request.kind.types.is_none() => &**bytes,
        _ => b"",
    };
    checked_by(structural::decode, request, decoded, text)
        .map_err(|unfit| unfit.of_body(&request.kind))
}

/// Why a value that was read is no object of a kind.
pub(crate) enum Unfit {
    /// What the client gets whatever it sent.
    Status(Status),
    /// What is wrong with a field: where the value came from decides on the answer.
    Fields(String),
    /// It is of another type: its kind and version, and why that cannot be.
    Type {
        /// `Nope`
        kind: String,
        /// `v1`
        version: String,
        /// The rest of the sentence.
        why: String,
    },
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
            Self::Type { kind, version, why } => Status::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {name}: {why}"
            )),
        }
    }

    /// The answer to a patch that made the object; `shown` is what upstream shows of it.
    pub(crate) fn of_patch(self, shown: &str) -> Status {
        match self {
            Self::Status(status) => status,
            Self::Fields(why) | Self::Type { why, .. } => {
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
    checked_by(structural::decode, request, decoded, b"")
}

/// As [`checked`], of what is applied, which need not be a whole object.
pub(crate) fn configuration(request: &Request, decoded: Decoded) -> Result<Decoded, Status> {
    checked_by(structural::decode_configuration, request, decoded, b"")
        .map_err(|unfit| unfit.of_body(&request.kind))
}

/// `text` is the JSON of which upstream reads a field after the other into a type of its own.
fn checked_by(
    decode: fn(&Kind, &mut Value) -> Result<Vec<String>, DecodeError>,
    request: &Request,
    mut decoded: Decoded,
    text: &[u8],
) -> Result<Decoded, Unfit> {
    let kind = &*request.kind;
    check_type(kind, &mut decoded.value)?;
    let unknown = decode(kind, &mut decoded.value).map_err(|error| match error {
        DecodeError::Required(_) => Unfit::Status(error.status(kind)),
        error => Unfit::Fields(error.to_string()),
    })?;
    decoded.warnings = match text {
        b"" => [decoded.warnings, unknown].concat(),
        text => order::of_typed(text, &decoded.warnings, &unknown),
    };
    let lines = std::mem::take(&mut decoded.lines);
    match request.options.field_validation {
        FieldValidation::Ignore => decoded.warnings.clear(),
        FieldValidation::Strict if !(lines.is_empty() && decoded.warnings.is_empty()) => {
            let yaml = (!lines.is_empty()).then(|| of_yaml(&lines));
            let said: Vec<String> = yaml.into_iter().chain(decoded.warnings).collect();
            return Err(Unfit::Fields(format!("strict decoding error: {}", said.join(", "))));
        }
        FieldValidation::Strict | FieldValidation::Warn => {
            decoded.warnings.splice(0..0, lines);
        }
    }
    Ok(decoded)
}

/// Keys that stand twice, as Go's reader of YAML tells of them.
fn of_yaml(lines: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))
}

/// What becomes of keys that stand twice in what is applied, which upstream looks for when all else
/// is well: warnings.
///
/// # Errors
/// 400 when the client wants that.
pub(crate) fn twice_applied(request: &Request, lines: Vec<String>) -> Result<Vec<String>, Status> {
    match request.options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict if !lines.is_empty() => Err(Status::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: {}",
            of_yaml(&lines)
        ))),
        FieldValidation::Strict | FieldValidation::Warn => Ok(lines),
    }
}

/// `apiVersion` and `kind` are those of the URL; a typed client may leave them out.
fn check_type(kind: &Kind, value: &mut Value) -> Result<(), Unfit> {
    if value.is_null() {
        // Nothing is read into an object as it is into Go's: it is empty.
        *value = Value::Object(Map::new());
    }
    let refused = |message: String| Unfit::Status(Status::bad_request(message));
    if !value.is_object() {
        return Err(refused(unreadable::no_object(value)));
    }
    for field in ["apiVersion", "kind"] {
        if !matches!(value.get(field), None | Some(Value::Null | Value::String(_))) {
            return Err(refused(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go \
                 struct field .{field} of type string",
                type_name(&value[field])
            )));
        }
    }
    let (api_version, name) = (text(value, "/apiVersion"), text(value, "/kind"));
    let expected = kind.api_version();
    let said = if api_version.is_empty() { &expected } else { api_version };
    if !name.is_empty() && (name != kind.kind || *said != expected) {
        if let Some(why) = unlike(kind, said, name) {
            let version = said.rsplit('/').next().unwrap_or_default().to_owned();
            return Err(Unfit::Type { kind: name.to_owned(), version, why });
        }
        return Err(refused(format!(
            "the API version in the data ({said}) does not match the expected API version ({expected})"
        )));
    }
    value["apiVersion"] = expected.into();
    value["kind"] = kind.kind.to_string().into();
    Ok(())
}

/// Why an object of this version and kind is none of `kind`; `None` when it is that kind in
/// another version.
fn unlike(kind: &Kind, api_version: &str, name: &str) -> Option<String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let package = |group: &str| match group.split('.').next() {
        None | Some("") => "core".to_owned(),
        Some(first) => first.to_owned(),
    };
    let scheme = match &*kind.group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => "pkg/api/legacyscheme/scheme.go:30",
    };
    let base = kind.schema.rsplitn(4, '.').last().unwrap_or_default();
    let definition = format!("{base}.{}.{version}.{name}", package(group));
    if kind.types.is_none() && Schema::builtin().type_named(&definition).is_none() {
        return Some(format!(
            "no kind {name:?} is registered for version {api_version:?} in scheme {scheme:?}"
        ));
    }
    let stored = kind.storage_resource();
    let internal = package(stored.split_once('.').map_or("", |(_, group)| group));
    let package = if kind.types.is_some() { kind.version.to_string() } else { internal };
    let wanted = format!("{package}.{}", kind.kind);
    (name != kind.kind)
        .then(|| format!("converting ({version}.{name}) to ({wanted}): unknown conversion"))
}

/// Fills what the client left out.
pub(crate) fn default(kind: &Kind, value: &mut Value) {
    defaults::apply(kind, value);
}

/// A stored object as a client of `kind` reads it.
pub(crate) fn readable(kind: &Kind, object: &Object) -> Value {
    let mut value = object.value().clone();
    kind.from_storage(&mut value);
    // Earlier versions stored what had been said.
    kind.spell(&mut value);
    value
}

/// An object of `kind` in the form in which it is stored.
pub(crate) fn storable(kind: &Kind, mut value: Value) -> Result<Object, Status> {
    kind.to_storage(&mut value);
    Object::new(kind, value).map_err(|error| Status::bad_request(error.to_string()))
}
