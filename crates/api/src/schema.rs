//! The shape of every kind: which fields there are, of which type, and how patches merge them.
//!
//! The kinds compiled in come from upstream's definitions, packed into the binary by `build.rs`;
//! those of a CustomResourceDefinition from its own schema. Both are the same types, without the
//! descriptions: [`definitions`] has the whole text, unpacked when somebody asks for it.

pub mod custom_validation;
pub mod openapi;
pub mod presence;
pub mod protobuf;
mod source;
pub mod structural;

use std::collections::HashMap;
use std::io::Read;
use std::sync::LazyLock;

use serde_json::Value;

use presence::Presence;
use source::Source;

/// `metadata` of every object.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// What a reference in a definition starts with.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// The definitions as `build.rs` packed them.
pub(crate) const PACKED: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/definitions.json.deflate"));

/// A set of types that refer to each other by name.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    names: HashMap<Box<str>, TypeId>,
    types: Vec<Type>,
}

/// A type of one [`Schema`], to be looked up there with [`Schema::resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

/// What may stand in a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Any JSON; of which nothing is known (`runtime.RawExtension`, `metav1.FieldsV1`).
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 64 bits.
    Integer,
    /// A whole number of 32 bits.
    Integer32,
    /// A number.
    Number,
    /// A string of a certain form.
    String(StringFormat),
    /// `intstr.IntOrString`.
    IntOrString,
    /// `resource.Quantity`: a string or a number.
    Quantity,
    /// `[…]`.
    Array(Box<Array>),
    /// `{…}` with arbitrary keys.
    Map(Box<Map>),
    /// `{…}` with known fields.
    Object(Box<Object>),
    /// A named type; see [`Schema::resolve`].
    Ref(TypeId),
}

/// What is known of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringFormat {
    /// Any.
    Plain,
    /// Base64.
    Byte,
    /// RFC 3339.
    DateTime,
}

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The type of its items.
    pub elem: Type,
    /// How apply merges it.
    pub list_type: ListType,
}

/// `x-kubernetes-list-type`: how apply merges a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// As one value; also when nothing is said.
    Atomic,
    /// Of scalars, each at most once.
    Set,
    /// Of objects, identified by these fields.
    Map(Box<[Box<str>]>),
}

/// A map with values of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The type of its values.
    pub elem: Type,
    /// Whether `null` is a value (custom resources only).
    pub nullable: bool,
    /// Whether apply takes it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// A struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// By name, in ascending order.
    pub fields: Box<[Field]>,
    /// Whether apply takes it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether fields that are not listed are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Whether it is a whole object with `apiVersion`, `kind` and `metadata`
    /// (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
}

/// A field of an [`Object`].
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its key.
    pub name: Box<str>,
    /// Its type.
    pub ty: Type,
    /// Whether the schema demands it.
    pub required: bool,
    /// Whether `null` is a value (custom resources only).
    pub nullable: bool,
    /// What apply says of this field when it differs from what its type says
    /// (`x-kubernetes-map-type` beside a reference).
    pub atomic: Option<bool>,
    /// How it is written when it has no value.
    pub presence: Presence,
    /// How strategic merge patch treats it.
    pub patch: PatchStrategy,
    /// What it has when the client leaves it out, as far as the schema says.
    pub default: Option<Box<Value>>,
    /// The only values it may have; empty when any will do.
    pub one_of: Box<[Value]>,
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// `merge`: the items of the list are merged; otherwise a patch replaces the list.
    pub merge: bool,
    /// `retainKeys`: only the keys that the patch lists stay.
    pub retain_keys: bool,
    /// `replace`: the map is not merged but replaced.
    pub replace: bool,
    /// Which field identifies the items of a merged list of objects.
    pub merge_key: Option<Box<str>>,
}

impl Object {
    /// The field called `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok()?;
        self.fields.get(at)
    }
}

/// A schema that is none.
#[derive(Debug, thiserror::Error)]
pub enum MalformedSchema {
    /// Not the JSON of an OpenAPI v3 schema.
    #[error("not an OpenAPI v3 schema: {0}")]
    Parse(#[source] serde_json::Error),
    /// A reference leads nowhere.
    #[error("reference to an unknown definition {0:?}")]
    UnknownReference(String),
    /// The packed definitions cannot be unpacked.
    #[error("unpack the definitions: {0}")]
    Unpack(#[source] std::io::Error),
}

impl Schema {
    /// The types of all kinds that are compiled in; parsed on first use and kept.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Schema> = LazyLock::new(|| {
            #[allow(clippy::expect_used, reason = "the build packed them, and a test parses them")]
            let mut schema = Schema::from_definitions(&definitions().expect("packed definitions"))
                .expect("packed definitions");
            presence::mark(&mut schema);
            schema
        });
        &BUILTIN
    }

    /// The types of a JSON map from name to OpenAPI v3 schema; references start with
    /// `#/components/schemas/`.
    ///
    /// # Errors
    /// When it is no such map, or a reference leads nowhere.
    pub fn from_definitions(text: &str) -> Result<Self, MalformedSchema> {
        let names = source::names(text)?;
        let types = source::types(text, &names)?;
        Ok(Self { names, types })
    }

    /// The type called `name` of a custom resource with `openAPIV3Schema` `root`: the fields of
    /// `root` with `apiVersion`, `kind` and upstream's `metadata`.
    ///
    /// # Errors
    /// When `root` is no schema.
    pub fn of_custom_resource(name: &str, root: &Value) -> Result<Self, MalformedSchema> {
        let mut schema = Self::default();
        let metadata = schema.copy_named(Self::builtin(), OBJECT_META);
        let source = Source::parse(root)?;
        let mut object = match source.into_type(&schema.names)? {
            Type::Object(object) => *object,
            _ => Object { preserve_unknown: true, ..Object::default() },
        };
        let mut fields = std::mem::take(&mut object.fields).into_vec();
        fields.retain(|f| !["apiVersion", "kind", "metadata"].contains(&f.name.as_ref()));
        fields.push(Field::new("apiVersion", Type::String(StringFormat::Plain)));
        fields.push(Field::new("kind", Type::String(StringFormat::Plain)));
        fields.push(Field::new("metadata", metadata));
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        object.fields = fields.into();
        schema.add(name, Type::Object(Box::new(object)));
        Ok(schema)
    }

    /// Adds a type, replacing one of the same name.
    pub fn add(&mut self, name: &str, ty: Type) -> TypeId {
        // There are at most a few thousand types.
        let next = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(ty);
        self.names.insert(name.into(), next);
        next
    }

    /// The type called `name`: `io.k8s.api.apps.v1.StatefulSet`.
    #[must_use]
    pub fn type_named(&self, name: &str) -> Option<&Type> {
        self.names.get(name).map(|id| self.get(*id))
    }

    /// The type that `ty` stands for: itself, unless it is a reference.
    #[must_use]
    pub fn resolve<'a>(&'a self, mut ty: &'a Type) -> &'a Type {
        while let Type::Ref(id) = ty {
            ty = self.get(*id);
        }
        ty
    }

    /// The name of the definition that `ty` refers to.
    #[must_use]
    pub fn name_of(&self, ty: &Type) -> Option<&str> {
        let Type::Ref(id) = ty else { return None };
        self.names.iter().find(|(_, known)| *known == id).map(|(name, _)| name.as_ref())
    }

    /// Whether apply takes the value of `field` as one.
    #[must_use]
    pub fn is_atomic(&self, field: &Field) -> bool {
        field.atomic.unwrap_or_else(|| match self.resolve(&field.ty) {
            Type::Array(array) => array.list_type == ListType::Atomic,
            Type::Map(map) => map.atomic,
            Type::Object(object) => object.atomic,
            _ => false,
        })
    }

    fn get(&self, id: TypeId) -> &Type {
        self.types.get(id.0 as usize).unwrap_or(&Type::Any)
    }

    /// Copies a type and all it refers to from another schema, and answers with a reference to it.
    fn copy_named(&mut self, from: &Self, name: &str) -> Type {
        if let Some(id) = self.names.get(name) {
            return Type::Ref(*id);
        }
        // A place is kept first, so that a type may refer to itself.
        let id = self.add(name, Type::Any);
        let copy = from.type_named(name).cloned().unwrap_or(Type::Any);
        let copy = self.copy_type(from, copy);
        if let Some(place) = self.types.get_mut(id.0 as usize) {
            *place = copy;
        }
        Type::Ref(id)
    }

    fn copy_type(&mut self, from: &Self, ty: Type) -> Type {
        match ty {
            Type::Ref(id) => {
                let name = from.names.iter().find(|(_, known)| **known == id);
                name.map_or(Type::Any, |(name, _)| self.copy_named(from, name))
            }
            Type::Array(array) => {
                let elem = self.copy_type(from, array.elem);
                Type::Array(Box::new(Array { elem, list_type: array.list_type }))
            }
            Type::Map(map) => {
                let elem = self.copy_type(from, map.elem);
                Type::Map(Box::new(Map { elem, nullable: map.nullable, atomic: map.atomic }))
            }
            Type::Object(mut object) => {
                for field in &mut object.fields {
                    field.ty = self.copy_type(from, field.ty.clone());
                }
                Type::Object(object)
            }
            scalar => scalar,
        }
    }
}

impl Field {
    /// An optional field of which nothing else is known.
    #[must_use]
    pub fn new(name: &str, ty: Type) -> Self {
        Self {
            name: name.into(),
            ty,
            required: false,
            nullable: false,
            atomic: None,
            presence: Presence::default(),
            patch: PatchStrategy::default(),
            default: None,
            one_of: Box::default(),
        }
    }
}

/// The text of all definitions: a JSON map from name to OpenAPI v3 schema, with descriptions
/// (1.5 MB, unpacked anew each time).
///
/// # Errors
/// Never, unless the build is broken.
pub fn definitions() -> Result<String, MalformedSchema> {
    let mut text = String::with_capacity(1_600_000);
    flate2::read::DeflateDecoder::new(PACKED)
        .read_to_string(&mut text)
        .map_err(MalformedSchema::Unpack)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object<'a>(schema: &'a Schema, ty: &'a Type) -> &'a Object {
        match schema.resolve(ty) {
            Type::Object(object) => object,
            other => panic!("no object: {other:?}"),
        }
    }

    /// The field at a dotted path from a named type, through lists and maps.
    fn field<'a>(schema: &'a Schema, name: &str, path: &str) -> &'a Field {
        let mut ty = schema.type_named(name).unwrap();
        let mut found = None;
        for part in path.split('.') {
            loop {
                ty = match schema.resolve(ty) {
                    Type::Array(array) => &array.elem,
                    Type::Map(map) => &map.elem,
                    _ => break,
                };
            }
            let field = object(schema, ty).field(part).unwrap();
            ty = &field.ty;
            found = Some(field);
        }
        found.unwrap()
    }

    fn keys(field: &Field) -> Vec<&str> {
        match &field.ty {
            Type::Array(array) => match &array.list_type {
                ListType::Map(keys) => keys.iter().map(AsRef::as_ref).collect(),
                _ => vec![],
            },
            _ => vec![],
        }
    }

    #[test]
    fn container_ports_are_merged_by_one_key_and_applied_by_two() {
        let schema = Schema::builtin();
        let path = "spec.template.spec.containers.ports";
        let ports = field(schema, "io.k8s.api.apps.v1.StatefulSet", path);
        assert_eq!(keys(ports), ["containerPort", "protocol"]);
        assert!(ports.patch.merge && !ports.patch.retain_keys);
        assert_eq!(ports.patch.merge_key.as_deref(), Some("containerPort"));
        let protocol = field(schema, "io.k8s.api.core.v1.ContainerPort", "protocol");
        assert_eq!(protocol.default.as_deref(), Some(&json!("TCP")));
    }

    #[test]
    fn strategies_of_volumes_and_of_fields_that_refer_elsewhere() {
        let schema = Schema::builtin();
        let volumes = field(schema, "io.k8s.api.core.v1.Pod", "spec.volumes");
        assert!(volumes.patch.merge && volumes.patch.retain_keys);
        let strategy = field(schema, "io.k8s.api.apps.v1.Deployment", "spec.strategy");
        assert!(strategy.patch.retain_keys && !strategy.patch.merge);
        let selector = field(schema, "io.k8s.api.policy.v1.PodDisruptionBudget", "spec.selector");
        assert!(selector.patch.replace && schema.is_atomic(selector));
        let claim = field(schema, "io.k8s.api.core.v1.PersistentVolume", "spec.claimRef");
        assert!(!schema.is_atomic(claim), "granular here although its type is atomic");
    }

    #[test]
    fn special_types_are_told_apart() {
        let schema = Schema::builtin();
        let ty = |name: &str, path: &str| schema.resolve(&field(schema, name, path).ty).clone();
        let pod = "io.k8s.api.core.v1.Pod";
        assert_eq!(ty(pod, "metadata.creationTimestamp"), Type::String(StringFormat::DateTime));
        assert_eq!(ty(pod, "metadata.managedFields.fieldsV1"), Type::Any);
        assert_eq!(ty(pod, "spec.containers.livenessProbe.httpGet.port"), Type::IntOrString);
        assert_eq!(ty(pod, "spec.activeDeadlineSeconds"), Type::Integer);
        let Type::Map(requests) = ty(pod, "spec.containers.resources.requests") else { panic!() };
        assert_eq!(schema.resolve(&requests.elem), &Type::Quantity);
        let Type::Map(data) = ty("io.k8s.api.core.v1.Secret", "data") else { panic!() };
        assert_eq!(data.elem, Type::String(StringFormat::Byte));
        assert_eq!(ty("io.k8s.api.apps.v1.ControllerRevision", "data"), Type::Any);
    }

    #[test]
    fn a_custom_resource_has_its_own_fields_and_upstreams_metadata() {
        let root = json!({
            "type": "object",
            "properties": {
                "metadata": {"type": "object"},
                "spec": {
                    "type": "object",
                    "required": ["size"],
                    "properties": {
                        "size": {"x-kubernetes-int-or-string": true},
                        "mode": {"type": "string", "enum": ["a", "b"], "default": "a", "nullable": true},
                        "rest": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        "hosts": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                        },
                    },
                },
            },
        });
        let schema = Schema::of_custom_resource("com.example.v1.Boat", &root).unwrap();
        let at = |path| field(&schema, "com.example.v1.Boat", path);
        assert!(at("spec.size").required);
        assert_eq!(at("spec.size").ty, Type::IntOrString);
        assert_eq!(at("spec.mode").default.as_deref(), Some(&json!("a")));
        assert_eq!(at("spec.mode").one_of.as_ref(), [json!("a"), json!("b")]);
        assert!(at("spec.mode").nullable);
        assert!(object(&schema, &at("spec.rest").ty).preserve_unknown);
        assert_eq!(keys(at("spec.hosts")), ["name"]);
        assert_eq!(keys(at("metadata.ownerReferences")), ["uid"]);
    }

    #[test]
    fn a_reference_into_nothing_is_refused() {
        let text = r##"{"A": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/B"}}}}"##;
        let error = Schema::from_definitions(text).unwrap_err();
        assert_eq!(error.to_string(), "reference to an unknown definition \"B\"");
    }
}
