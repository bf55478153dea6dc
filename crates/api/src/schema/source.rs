//! From the JSON of an OpenAPI v3 schema to a [`Type`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::presence::Presence;
use super::{
    Array, Field, ListType, MalformedSchema, Map, Object, PatchStrategy, REFERENCE, StringFormat,
    Type, TypeId,
};

type Names = HashMap<Box<str>, TypeId>;

/// What the server reads of a schema; descriptions and bounds are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    #[serde(rename = "type")]
    ty: Box<str>,
    format: Box<str>,
    #[serde(rename = "$ref")]
    reference: Option<Box<str>>,
    #[serde(rename = "allOf")]
    all_of: Vec<Source>,
    properties: BTreeMap<Box<str>, Source>,
    required: Vec<Box<str>>,
    items: Option<Box<Source>>,
    #[serde(rename = "additionalProperties")]
    additional: Option<Additional>,
    nullable: bool,
    default: Option<Box<Value>>,
    #[serde(rename = "enum")]
    values: Vec<Value>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Box<str>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    map_keys: Box<[Box<str>]>,
    #[serde(rename = "x-kubernetes-map-type")]
    map_type: Option<Box<str>>,
    #[serde(rename = "x-kubernetes-patch-strategy")]
    patch_strategy: Box<str>,
    #[serde(rename = "x-kubernetes-patch-merge-key")]
    merge_key: Option<Box<str>>,
    #[serde(rename = "x-kubernetes-int-or-string")]
    int_or_string: bool,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    preserve_unknown: bool,
    #[serde(rename = "x-kubernetes-embedded-resource")]
    embedded: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(bool),
    Of(Box<Source>),
}

/// The names of a JSON map of definitions, numbered.
pub(super) fn names(text: &str) -> Result<Names, MalformedSchema> {
    let names: BTreeMap<Box<str>, IgnoredAny> =
        serde_json::from_str(text).map_err(MalformedSchema::Parse)?;
    Ok(names.into_keys().zip((0..).map(TypeId)).collect())
}

/// The types of a JSON map of definitions, by number. Each is made as soon as it is read, so that
/// there is never more than one definition in memory.
pub(super) fn types(text: &str, names: &Names) -> Result<Vec<Type>, MalformedSchema> {
    let mut types = vec![Type::Any; names.len()];
    let mut failure = None;
    let parsed = serde_json::Deserializer::from_str(text).deserialize_map(Members {
        names,
        types: &mut types,
        failure: &mut failure,
    });
    match failure {
        Some(failure) => Err(failure),
        None => parsed.map(|()| types).map_err(MalformedSchema::Parse),
    }
}

struct Members<'a> {
    names: &'a Names,
    types: &'a mut [Type],
    /// What is wrong with a definition, when it is not its JSON.
    failure: &'a mut Option<MalformedSchema>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of definitions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, source)) = map.next_entry::<Box<str>, Source>()? {
            let ty = match source.into_named_type(&name, self.names) {
                Ok(ty) => ty,
                Err(failure) => {
                    let error = serde::de::Error::custom(&failure);
                    *self.failure = Some(failure);
                    return Err(error);
                }
            };
            let place = self.names.get(&name).and_then(|id| self.types.get_mut(id.0 as usize));
            if let Some(place) = place {
                *place = ty;
            }
        }
        Ok(())
    }
}

impl Source {
    pub(super) fn parse(schema: &Value) -> Result<Self, MalformedSchema> {
        Self::deserialize(schema).map_err(MalformedSchema::Parse)
    }

    /// The type of the definition called `name`: a few have a meaning that their schema does not
    /// tell.
    pub(super) fn into_named_type(
        self,
        name: &str,
        names: &Names,
    ) -> Result<Type, MalformedSchema> {
        match name.strip_prefix("io.k8s.apimachinery.pkg.").unwrap_or_default() {
            "api.resource.Quantity" => Ok(Type::Quantity),
            "runtime.RawExtension" | "apis.meta.v1.FieldsV1" | "apis.meta.v1.Patch" => {
                Ok(Type::Any)
            }
            _ => self.into_type(names),
        }
    }

    pub(super) fn into_type(mut self, names: &Names) -> Result<Type, MalformedSchema> {
        if let Some(target) = self.take_reference() {
            return target_type(&target, names);
        }
        if self.int_or_string || self.format.as_ref() == "int-or-string" {
            return Ok(Type::IntOrString);
        }
        Ok(match self.ty.as_ref() {
            "boolean" => Type::Boolean,
            "integer" if self.format.as_ref() == "int32" => Type::Integer32,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "string" => Type::String(string_format(&self.format)),
            "array" => self.into_array(names)?,
            "object" => self.into_map_or_object(names)?,
            // A custom resource may leave out the type where anything goes.
            _ if !self.properties.is_empty() => self.into_map_or_object(names)?,
            _ => Type::Any,
        })
    }

    /// A reference stands alone, or with siblings in `allOf`.
    fn take_reference(&mut self) -> Option<Box<str>> {
        match self.all_of.as_mut_slice() {
            [only] if self.reference.is_none() => only.reference.take(),
            _ => self.reference.take(),
        }
    }

    fn into_array(self, names: &Names) -> Result<Type, MalformedSchema> {
        let elem = self.items.map_or(Ok(Type::Any), |items| items.into_type(names))?;
        let list_type = match self.list_type.as_ref() {
            "map" => ListType::Map(self.map_keys),
            "set" => ListType::Set,
            _ => ListType::Atomic,
        };
        Ok(Type::Array(Box::new(Array { elem, list_type })))
    }

    fn into_map_or_object(mut self, names: &Names) -> Result<Type, MalformedSchema> {
        let atomic = self.map_type.as_deref() == Some("atomic");
        let elem = match self.additional.take() {
            Some(Additional::Of(elem)) => Some((elem.nullable, elem.into_type(names)?)),
            Some(Additional::Allowed(true)) => Some((true, Type::Any)),
            Some(Additional::Allowed(false)) | None => None,
        };
        if let Some((nullable, elem)) = elem {
            return Ok(Type::Map(Box::new(Map { elem, nullable, atomic })));
        }
        let required = self.required;
        let fields = self
            .properties
            .into_iter()
            .map(|(name, source)| {
                let required = required.contains(&name);
                source.into_field(name, required, names)
            })
            .collect::<Result<_, _>>()?;
        let preserve_unknown = self.preserve_unknown;
        Ok(Type::Object(Box::new(Object {
            fields,
            atomic,
            preserve_unknown,
            embedded: self.embedded,
        })))
    }

    fn into_field(
        mut self,
        name: Box<str>,
        required: bool,
        names: &Names,
    ) -> Result<Field, MalformedSchema> {
        let refers = self.reference.is_some() || !self.all_of.is_empty();
        let atomic = self.map_type.as_deref().filter(|_| refers).map(|ty| ty == "atomic");
        let strategies = || self.patch_strategy.split(',');
        let patch = PatchStrategy {
            merge: strategies().any(|s| s == "merge"),
            retain_keys: strategies().any(|s| s == "retainKeys"),
            replace: strategies().any(|s| s == "replace"),
            merge_key: self.merge_key.take(),
        };
        Ok(Field {
            name,
            required,
            nullable: self.nullable,
            atomic,
            presence: Presence::default(),
            patch,
            default: self.default.take(),
            one_of: std::mem::take(&mut self.values).into(),
            ty: self.into_type(names)?,
        })
    }
}

fn target_type(target: &str, names: &Names) -> Result<Type, MalformedSchema> {
    let name = target.strip_prefix(REFERENCE).unwrap_or(target);
    let id = names.get(name).ok_or_else(|| MalformedSchema::UnknownReference(name.into()))?;
    Ok(Type::Ref(*id))
}

fn string_format(format: &str) -> StringFormat {
    match format {
        "byte" => StringFormat::Byte,
        "date-time" => StringFormat::DateTime,
        _ => StringFormat::Plain,
    }
}
