//! What is known of a value before it is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(crate) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(crate) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(crate) const DECISION: &str = "kubernetes.authorization.Decision";

/// The type of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Nothing is known; told apart when it is evaluated.
    Dyn,
    /// What a mistake comes to, so that it is told once.
    Error,
    /// `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// 64 bits with sign.
    Int,
    /// 64 bits without sign.
    Uint,
    /// A float of 64 bits.
    Double,
    /// Text.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// A span of time.
    Duration,
    /// A moment.
    Timestamp,
    /// A list.
    List(Arc<ListType>),
    /// A map: type of its keys, type of its values.
    Map(Arc<(Type, Type)>),
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A type of a library, by its name.
    Opaque(&'static str),
    /// A parameter of a signature.
    Param(char),
    /// What the checker has yet to find out.
    Unknown(usize),
}

/// A list, and when two of them are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct ListType {
    /// What it holds.
    pub element: Type,
    /// How its elements are told apart.
    pub identity: Identity,
}

/// How the elements of a list are told apart: `x-kubernetes-list-type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By position.
    Order,
    /// By value; order does not matter, and `+` is union.
    Value,
    /// By these fields in JSON; order does not matter, and `+` replaces.
    Keys(Vec<String>),
}

/// An object with known fields.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectType {
    /// What errors call it.
    pub name: String,
    /// Its fields, by the name that an expression uses.
    pub fields: BTreeMap<String, Field>,
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub json: Arc<str>,
    /// What it holds.
    pub ty: Type,
}

impl Type {
    /// A list that is told apart by order.
    #[must_use]
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(ListType { element, identity: Identity::Order }))
    }

    /// A map.
    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// An object without known fields, by its name.
    pub(crate) fn named(name: &str) -> Self {
        Self::Object(Arc::new(ObjectType { name: name.to_owned(), fields: BTreeMap::new() }))
    }

    /// A value that may be absent.
    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// The type that `text` names in a signature of a library: `list(A)`, `map(string, dyn)`.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some((name, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            return match name {
                "list" => Self::list(Self::parse(inner)),
                "optional" => Self::optional(Self::parse(inner)),
                "type" => Self::Type(Arc::new(Self::parse(inner))),
                _ => {
                    let (key, value) = inner.split_once(',').unwrap_or((inner, "dyn"));
                    Self::map(Self::parse(key), Self::parse(value))
                }
            };
        }
        match text {
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            "URL" => Self::Opaque("kubernetes.URL"),
            "IP" => Self::Opaque("net.IP"),
            "CIDR" => Self::Opaque("net.CIDR"),
            "Quantity" => Self::Opaque("kubernetes.Quantity"),
            "Semver" => Self::Opaque("kubernetes.Semver"),
            "Format" => Self::Opaque("kubernetes.NamedFormat"),
            "Authorizer" => Self::Opaque(AUTHORIZER),
            "PathCheck" => Self::Opaque(PATH_CHECK),
            "GroupCheck" => Self::Opaque(GROUP_CHECK),
            "ResourceCheck" => Self::Opaque(RESOURCE_CHECK),
            "Decision" => Self::Opaque(DECISION),
            "A" => Self::Param('A'),
            "B" => Self::Param('B'),
            _ => Self::Dyn,
        }
    }

    /// Whether anything may be here when it is evaluated.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Its name, without what it holds.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dyn | Self::Param(_) | Self::Unknown(_) => "dyn",
            Self::Error => "!error!",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(object) => &object.name,
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(name) => name,
        }
    }
}

/// As errors show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(list) => write!(f, "list({})", list.element),
            Self::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(of) => write!(f, "type({of})"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_and_shown() {
        for (text, shown) in [
            ("list(string)", "list(string)"),
            ("map(string, list(int))", "map(string, list(int))"),
            ("optional(list(A))", "optional_type(list(dyn))"),
            ("type(A)", "type(dyn)"),
            ("Quantity", "kubernetes.Quantity"),
            ("timestamp", "timestamp"),
            ("null", "null"),
        ] {
            assert_eq!(Type::parse(text).to_string(), shown);
        }
    }
}
