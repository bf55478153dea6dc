//! Objects as upstream's decoder reads them: values of wrong types are refused, unknown fields
//! are named and dropped, and what remains is brought into the form in which it is stored.
//!
//! Upstream decodes into Go structs and writes those out again. Of that, this keeps what clients
//! can see: `null` is absence; empty lists and maps that are not required are left out;
//! quantities and times are in canonical form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::{Field, OBJECT_META, Object, Schema, StringFormat, Type};
use crate::{FieldError, Kind, Quantity, Status};

/// Upstream names no more mistakes than these.
const WARNINGS_MAX: usize = 100;
/// How deep maps and lists may be nested: deeper values are refused before anything recurses into
/// them. `managedFields` are a few levels deeper than what they are about, and serde_json, which
/// reads the store, refuses more than 127.
pub const DEPTH_MAX: usize = 120;

/// Why a value is not of its type; the texts are those of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A JSON type does not fit a field.
    #[error("json: cannot unmarshal {found} into Go struct field {context} of type {wanted}")]
    Field {
        /// `string`, `number 1.5`
        found: String,
        /// `StatefulSetSpec.spec.replicas`
        context: String,
        /// `int32`
        wanted: String,
    },
    /// A JSON type does not fit a value that reads itself.
    #[error("json: cannot unmarshal {found} into Go value of type {wanted}")]
    Value {
        /// `object`
        found: String,
        /// `string`
        wanted: String,
    },
    /// A quantity is none.
    #[error("{0}")]
    Quantity(#[source] crate::quantity::ParseError),
    /// A time is not RFC 3339.
    #[error("parsing time {0:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {0:?} as \"2006\"")]
    Time(String),
    /// Bytes are not base64.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// A time that its struct cannot do without is missing.
    #[error("{0}")]
    Required(FieldError),
    /// Maps and lists are nested deeper than any type.
    #[error("exceeded max depth")]
    Depth,
}

impl DecodeError {
    /// 400: `StatefulSet in version "v1" cannot be handled as a StatefulSet: WHY`; 422 for a
    /// missing time, which upstream finds when it validates.
    pub fn status(&self, kind: &Kind) -> Status {
        if let Self::Required(error) = self {
            return Status::invalid(kind, "", std::slice::from_ref(error));
        }
        let (name, version) = (&kind.kind, &kind.version);
        Status::bad_request(format!(
            "{name} in version \"{version}\" cannot be handled as a {name}: {self}"
        ))
    }
}

/// Brings `object`, as a client sent it, into the form in which objects of `kind` are stored, but
/// for defaults. Answers with the fields that were dropped because nobody knows them, as
/// warnings: `unknown field "spec.foo"`.
///
/// # Errors
/// When a value is not of its type. Custom resources are checked elsewhere, by their own schema;
/// of them only `metadata` is.
pub fn decode(kind: &Kind, object: &mut Value) -> Result<Vec<String>, DecodeError> {
    decode_as(kind.types(), &kind.schema, object, kind.types.is_none())
}

/// As [`decode`], of what is applied: it says only what its author wants of the object, so that
/// nothing of it can be missing.
///
/// # Errors
/// When a value is not of its type.
pub fn decode_configuration(kind: &Kind, object: &mut Value) -> Result<Vec<String>, DecodeError> {
    let decoder = Decoder { is_complete: false, ..Decoder::new(kind.types(), &kind.schema) };
    decoder.run(object, kind.types.is_none())
}

/// As [`decode`], of the type called `definition`; `builtin` is false for custom resources.
///
/// # Errors
/// When a value is not of its type.
pub fn decode_as(
    schema: &Schema,
    definition: &str,
    value: &mut Value,
    builtin: bool,
) -> Result<Vec<String>, DecodeError> {
    Decoder::new(schema, definition).run(value, builtin)
}

/// Whether `value` is nested deeper than `levels`, told without going deeper than that.
fn deeper_than(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Object(_) | Value::Array(_), None) => true,
        (Value::Object(map), Some(levels)) => map.values().any(|value| deeper_than(value, levels)),
        (Value::Array(items), Some(levels)) => items.iter().any(|item| deeper_than(item, levels)),
        _ => false,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    /// Of a map, which errors of types do not name.
    Key(String),
    Index(usize),
}

struct Decoder<'a> {
    schema: &'a Schema,
    unknown: Vec<String>,
    /// Where the decoder is.
    at: Vec<Step>,
    /// Name of the definition of the whole.
    definition: &'a str,
    /// The innermost struct below it that is a definition of its own.
    owner: Option<&'a Type>,
    /// Whether the value is the whole object.
    is_complete: bool,
}

impl<'a> Decoder<'a> {
    fn new(schema: &'a Schema, definition: &'a str) -> Self {
        let (unknown, at) = (Vec::new(), Vec::new());
        Self { schema, unknown, at, definition, owner: None, is_complete: true }
    }

    fn run(mut self, value: &mut Value, builtin: bool) -> Result<Vec<String>, DecodeError> {
        let ty = self.schema.type_named(self.definition).unwrap_or(&Type::Any);
        if deeper_than(value, DEPTH_MAX) {
            return Err(DecodeError::Depth);
        }
        if builtin {
            self.typed(ty, value)?;
        } else {
            self.custom(ty, value)?;
        }
        self.unknown.truncate(WARNINGS_MAX);
        Ok(self.unknown)
    }

    fn typed(&mut self, ty: &'a Type, value: &mut Value) -> Result<(), DecodeError> {
        let resolved = self.schema.resolve(ty);
        if value.is_null() {
            *value = zero(resolved);
            if value.is_null() {
                return Ok(());
            }
        }
        match (resolved, &mut *value) {
            (Type::Any, _)
            | (Type::Boolean, Value::Bool(_))
            | (Type::Number, Value::Number(_))
            | (Type::String(StringFormat::Plain), Value::String(_)) => Ok(()),
            (Type::Integer, Value::Number(n)) if n.is_i64() => Ok(()),
            (Type::Integer32, Value::Number(n)) if fits_32_bits(n.as_i64()) => Ok(()),
            (Type::String(StringFormat::Byte), Value::String(text)) => base64(text),
            (Type::String(StringFormat::DateTime), _) => self.time(ty, value),
            (Type::IntOrString, _) => int_or_string(value),
            (Type::Quantity, _) => quantity(value),
            (Type::Array(array), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.step(Step::Index(index), |decoder| decoder.typed(&array.elem, item))?;
                }
                Ok(())
            }
            (Type::Map(map), Value::Object(members)) => {
                for (name, value) in members.iter_mut() {
                    let step = Step::Key(name.clone());
                    self.step(step, |decoder| decoder.typed(&map.elem, value))?;
                }
                if self.schema.resolve(&map.elem) != &Type::Any {
                    // There is no time in no time.
                    members.retain(|_, value| !value.is_null());
                }
                Ok(())
            }
            (Type::Object(object), Value::Object(members)) => self.object(ty, object, members),
            _ => Err(self.mismatch(ty, value)),
        }
    }

    fn step<T>(&mut self, step: Step, act: impl FnOnce(&mut Self) -> T) -> T {
        self.at.push(step);
        let result = act(self);
        self.at.pop();
        result
    }

    fn object(
        &mut self,
        ty: &'a Type,
        object: &'a Object,
        members: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let outer = self.owner;
        self.owner = matches!(ty, Type::Ref(_)).then_some(ty).or(outer);
        let names: Vec<String> = members.keys().cloned().collect();
        for name in names {
            let Some(field) = object.field(&name) else {
                if !object.preserve_unknown {
                    members.remove(&name);
                    self.report(&name);
                }
                continue;
            };
            let Some(value) = members.get_mut(&name) else { continue };
            if !value.is_null() {
                let step = Step::Field(name.clone());
                self.step(step, |decoder| decoder.typed(&field.ty, value))?;
            }
            if is_absent(self.schema, field, value) {
                members.remove(&name);
            }
        }
        self.owner = outer;
        if self.is_complete { self.demand_times(object, members) } else { Ok(()) }
    }

    /// Typed readers have no zero time, as Go has.
    fn demand_times(
        &self,
        object: &Object,
        members: &Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let is_time = |field: &&Field| {
            let ty = self.schema.resolve(&field.ty);
            field.required && *ty == Type::String(StringFormat::DateTime)
        };
        let missing = |field: &&Field| !members.contains_key(field.name.as_ref());
        match object.fields.iter().filter(is_time).find(missing) {
            None => Ok(()),
            Some(field) => {
                let path = self.path_of(&field.name);
                Err(DecodeError::Required(FieldError::required(path, "must be set")))
            }
        }
    }

    /// Custom resources: unknown fields go, `metadata` is upstream's, the rest is left alone.
    fn custom(&mut self, ty: &'a Type, value: &mut Value) -> Result<(), DecodeError> {
        match (self.schema.resolve(ty), &mut *value) {
            (Type::Object(object), Value::Object(members)) => {
                let names: Vec<String> = members.keys().cloned().collect();
                for name in names {
                    if object.embedded && self.embedded(&name, members)? {
                        continue;
                    }
                    match object.field(&name) {
                        Some(field) => {
                            let Some(value) = members.get_mut(&name) else { continue };
                            let is_metadata = self.at.is_empty() && name == "metadata";
                            self.step(Step::Field(name), |decoder| match is_metadata {
                                true => decoder.typed(&field.ty, value),
                                false => decoder.custom(&field.ty, value),
                            })?;
                            // What may not be null is absent, or gets its default.
                            if value.is_null() && !field.nullable && field.default.is_none() {
                                members.remove(&*field.name);
                            }
                        }
                        None if object.preserve_unknown => {}
                        None => {
                            members.remove(&name);
                            self.report(&name);
                        }
                    }
                }
                Ok(())
            }
            (Type::Map(map), Value::Object(members)) => {
                members.retain(|_, value| map.nullable || !value.is_null());
                members.iter_mut().try_for_each(|(name, value)| {
                    self.step(Step::Field(name.clone()), |d| d.custom(&map.elem, value))
                })
            }
            (Type::Array(array), Value::Array(items)) => {
                items.iter_mut().enumerate().try_for_each(|(index, item)| {
                    self.step(Step::Index(index), |d| d.custom(&array.elem, item))
                })
            }
            _ => Ok(()),
        }
    }

    /// A field that every object in a custom resource has, whether its schema says so or not; its
    /// `metadata` is upstream's too. `false` for any other field.
    fn embedded(
        &mut self,
        name: &str,
        members: &mut Map<String, Value>,
    ) -> Result<bool, DecodeError> {
        match (name, members.get_mut(name)) {
            ("apiVersion" | "kind", _) => Ok(true),
            ("metadata", Some(Value::Null)) => {
                members.remove(name);
                Ok(true)
            }
            ("metadata", Some(metadata)) => {
                let Some(ty) = self.schema.type_named(OBJECT_META) else { return Ok(false) };
                let step = Step::Field(name.to_owned());
                self.step(step, |decoder| decoder.typed(ty, metadata)).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    fn report(&mut self, name: &str) {
        let path = self.path_of(name);
        self.unknown.push(format!("unknown field \"{path}\""));
    }

    /// The path of the member `name` of where the decoder is.
    fn path_of(&self, name: &str) -> String {
        let mut path = String::new();
        for step in self.at.iter().chain([&Step::Field(name.to_string())]) {
            match step {
                Step::Field(name) | Step::Key(name) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    path.push_str(&format!("{dot}{name}"));
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    fn mismatch(&self, ty: &Type, value: &Value) -> DecodeError {
        let fields = self.at.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Key(_) | Step::Index(_) => None,
        });
        let owner = self.owner.and_then(|ty| self.schema.name_of(ty)).unwrap_or(self.definition);
        let owner = owner.rsplit('.').next().unwrap_or_default();
        let path: Vec<&str> = [owner].into_iter().chain(fields).collect();
        let (found, wanted) = (json_type(value), go_type(self.schema, ty));
        match self.at.is_empty() {
            true => DecodeError::Value { found, wanted },
            false => DecodeError::Field { found, context: path.join("."), wanted },
        }
    }

    /// Times are whole seconds, micro times have six digits.
    fn time(&self, ty: &Type, value: &mut Value) -> Result<(), DecodeError> {
        let Value::String(text) = value else {
            return Err(DecodeError::Value { found: json_type(value), wanted: "string".into() });
        };
        let time: Timestamp = text.parse().map_err(|_| DecodeError::Time(text.clone()))?;
        let micro = self.schema.name_of(ty).is_some_and(|name| name.ends_with(".MicroTime"));
        *text = if micro {
            time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
        } else {
            time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        };
        Ok(())
    }
}

fn fits_32_bits(number: Option<i64>) -> bool {
    number.is_some_and(|number| i32::try_from(number).is_ok())
}

/// What `null` is among the items of a list: Go's zero value.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::Boolean => false.into(),
        Type::Integer | Type::Integer32 | Type::Number | Type::IntOrString => 0.into(),
        Type::String(StringFormat::Plain | StringFormat::Byte) => "".into(),
        Type::Quantity => "0".into(),
        Type::Object(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::Array(_) => Value::Array(Vec::new()),
        Type::Any | Type::Ref(_) | Type::String(StringFormat::DateTime) => Value::Null,
    }
}

/// Whether a field with this value is not written: null, or an empty list or map that the schema
/// does not demand. An empty struct says something (`emptyDir: {}`), and so does an empty string
/// (`storageClassName: ""`).
fn is_absent(schema: &Schema, field: &Field, value: &Value) -> bool {
    match (schema.resolve(&field.ty), value) {
        (_, Value::Null) => true,
        (Type::Array(_), Value::Array(items)) => items.is_empty() && !field.required,
        (Type::Map(_), Value::Object(map)) => map.is_empty() && !field.required,
        _ => false,
    }
}

fn quantity(value: &mut Value) -> Result<(), DecodeError> {
    let quantity = Quantity::from_json(value).map_err(DecodeError::Quantity)?;
    *value = Value::String(quantity.to_string());
    Ok(())
}

fn int_or_string(value: &Value) -> Result<(), DecodeError> {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(n) if fits_32_bits(n.as_i64()) => Ok(()),
        other => Err(DecodeError::Value { found: json_type(other), wanted: "int32".into() }),
    }
}

fn base64(text: &str) -> Result<(), DecodeError> {
    use base64::DecodeError as Bad;
    // Go's decoder passes over line breaks.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&text) {
        Ok(_) => Ok(()),
        Err(Bad::InvalidByte(at, _) | Bad::InvalidLastSymbol { offset: at, .. }) => {
            Err(DecodeError::Base64(at))
        }
        Err(_) => Err(DecodeError::Base64(text.trim_end_matches('=').len() / 4 * 4)),
    }
}

fn json_type(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        // A number is shown when it is not because it is a number that it does not fit.
        Value::Number(n) if !fits_32_bits(n.as_i64()) => format!("number {n}"),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// The Go type that upstream has for `ty`, as far as the schema tells.
fn go_type(schema: &Schema, ty: &Type) -> String {
    if let Some(name) = schema.name_of(ty) {
        let parts: Vec<&str> = name.rsplit('.').take(2).collect();
        return match parts.as_slice() {
            [kind, package] => format!("{package}.{kind}"),
            _ => name.to_string(),
        };
    }
    match ty {
        Type::Boolean => "bool".into(),
        Type::Integer32 => "int32".into(),
        Type::Integer => "int64".into(),
        Type::Number => "float64".into(),
        Type::String(StringFormat::Byte) => "[]uint8".into(),
        Type::Array(array) => format!("[]{}", go_type(schema, &array.elem)),
        Type::Map(map) => format!("map[string]{}", go_type(schema, &map.elem)),
        _ => "string".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decoded(kind: &str, mut value: Value) -> Result<(Value, Vec<String>), DecodeError> {
        let unknown = decode_as(Schema::builtin(), kind, &mut value, true)?;
        Ok((value, unknown))
    }

    const SET: &str = "io.k8s.api.apps.v1.StatefulSet";
    const POD: &str = "io.k8s.api.core.v1.Pod";

    #[test]
    fn unknown_fields_are_named_and_dropped() {
        let value = json!({"foo": 1, "spec": {"bar": 2, "replicas": 1, "template": {"spec": {
            "containers": [{"name": "a", "baz": {}}]}}}, "metadata": {"labels": {"any": "x"}}});
        let (value, unknown) = decoded(SET, value).unwrap();
        assert_eq!(
            unknown,
            [
                "unknown field \"foo\"",
                "unknown field \"spec.bar\"",
                "unknown field \"spec.template.spec.containers[0].baz\""
            ]
        );
        assert_eq!(value["spec"]["template"]["spec"]["containers"][0], json!({"name": "a"}));
        assert_eq!(value["metadata"]["labels"]["any"], "x");
    }

    #[test]
    fn wrong_types_are_named_as_gos_decoder_does() {
        for (value, text) in [
            (
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field StatefulSetSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field StatefulSetSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 3_000_000_000_i64}}),
                "json: cannot unmarshal number 3000000000 into Go struct field StatefulSetSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"image": 1}]}}}}),
                "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"spec": "text"}),
                "json: cannot unmarshal string into Go struct field StatefulSet.spec of type v1.StatefulSetSpec",
            ),
            (
                json!({"metadata": {"labels": {"a": true}}}),
                "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"metadata": {"creationTimestamp": "yesterday"}}),
                "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
            ),
        ] {
            assert_eq!(decoded(SET, value).unwrap_err().to_string(), text);
        }
        let pod = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}});
        assert_eq!(
            decoded(POD, pod).unwrap_err().to_string(),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
        let secret = json!({"data": {"a": "not base64"}});
        let error = decoded("io.k8s.api.core.v1.Secret", secret).unwrap_err();
        assert_eq!(error.to_string(), "illegal base64 data at input byte 3");
    }

    #[test]
    fn values_take_their_stored_form() {
        let pod = json!({"metadata": {"annotations": {}, "finalizers": [], "creationTimestamp": null},
            "spec": {"nodeName": null, "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}, "args": []}]}});
        let (pod, _) = decoded(POD, pod).unwrap();
        assert_eq!(
            pod,
            json!({"metadata": {}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]}})
        );
        let lease = json!({"spec": {"renewTime": "2026-01-01T01:00:00+01:00"}});
        let (lease, _) = decoded("io.k8s.api.coordination.v1.Lease", lease).unwrap();
        assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
        let (pod, _) = decoded(POD, json!({"spec": {"containers": []}})).unwrap();
        assert_eq!(pod["spec"]["containers"], json!([]), "what the schema demands stays");
    }

    #[test]
    fn a_condition_says_since_when() {
        let service = json!({"status": {"conditions": [{"type": "A"}]}});
        assert_eq!(
            decoded("io.k8s.api.core.v1.Service", service).unwrap_err().to_string(),
            "status.conditions[0].lastTransitionTime: Required value: must be set"
        );
    }

    #[test]
    fn bottomless_values_are_refused() {
        let mut value = json!({});
        for _ in 0..5000 {
            value = Value::Array(vec![value]);
        }
        let result = decode_as(Schema::builtin(), POD, &mut value, true);
        assert_eq!(result, Err(DecodeError::Depth));
        // Dropping a value recurses as well; take it apart first.
        while let Value::Array(items) = &mut value {
            value = items.pop().unwrap();
        }
    }

    #[test]
    fn a_custom_resource_keeps_what_its_schema_knows() {
        let root = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"a": {"type": "string"}, "free": {"type": "object",
                "x-kubernetes-preserve-unknown-fields": true}}}}});
        let schema = Schema::of_custom_resource("Boat", &root).unwrap();
        let mut boat =
            json!({"spec": {"a": null, "b": 1, "free": {"c": []}}, "metadata": {"x": 1}});
        let unknown = decode_as(&schema, "Boat", &mut boat, false).unwrap();
        assert_eq!(unknown, ["unknown field \"metadata.x\"", "unknown field \"spec.b\""]);
        assert_eq!(boat, json!({"spec": {"free": {"c": []}}, "metadata": {}}));
    }

    #[test]
    fn an_object_inside_has_metadata_as_every_object_has() {
        let root = json!({"type": "object", "properties": {"template": {"type": "object",
            "x-kubernetes-embedded-resource": true,
            "properties": {"spec": {"type": "object"}}}}});
        let schema = Schema::of_custom_resource("Boat", &root).unwrap();
        let metadata = json!({"name": "a", "creationTimestamp": null, "labels": null, "x": 1});
        let mut boat = json!({"template": {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "y": null}});
        let unknown = decode_as(&schema, "Boat", &mut boat, false).unwrap();
        let expected = ["unknown field \"template.metadata.x\"", "unknown field \"template.y\""];
        assert_eq!(unknown, expected);
        let kept =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
        assert_eq!(boat["template"], kept);
        let mut boat = json!({"template": {"metadata": null}});
        decode_as(&schema, "Boat", &mut boat, false).unwrap();
        assert_eq!(boat["template"], json!({}));
    }

    #[test]
    fn null_is_kept_where_it_may_be_defaulted_or_dropped() {
        let string = |more: Value| {
            let mut schema = json!({"type": "string"});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        let root = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "plain": string(json!({})),
            "default": string(json!({"default": "x"})),
            "nullable": string(json!({"nullable": true})),
            "both": string(json!({"nullable": true, "default": "x"})),
            "map": {"type": "object", "additionalProperties": string(json!({}))},
            "holes": {"type": "object", "additionalProperties": string(json!({"nullable": true}))},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let schema = Schema::of_custom_resource("Boat", &root).unwrap();
        let mut boat = json!({"spec": {"plain": null, "default": null, "nullable": null, "both": null,
            "map": {"a": null, "b": "x"}, "holes": {"a": null}, "free": {"a": null}}});
        let ty = schema.type_named("Boat").unwrap();
        assert!(decode_as(&schema, "Boat", &mut boat, false).unwrap().is_empty());
        crate::defaults::of_schema(&schema, ty, &mut boat);
        let expected = json!({"default": "x", "nullable": null, "both": null,
            "map": {"b": "x"}, "holes": {"a": null}, "free": {"a": null}});
        assert_eq!(boat, json!({"spec": expected}));
    }
}
