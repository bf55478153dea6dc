//! Values: borrowed from JSON where they can be, shared where they are made.

mod equality;
mod list;
mod map;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coracle_api::Quantity;
use coracle_api::text::spans;
use ipnet::IpNet;
use jiff::civil::DateTime;
use serde_json::{Number, Value as Json};

pub(crate) use equality::{COMPARED_AT_ONCE, compare, equal, order};
pub use list::List;
pub use map::{Key, Map};

use crate::authorizer::{Check, Decision};
use crate::meter::Failure;
use crate::text::{format::Format, semver::Semver, time, url::Url};
use crate::types::{Identity, ListType, Type};

/// Text, borrowed or shared.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// As it stands in JSON.
    Borrowed(&'a str),
    /// As it was made.
    Made(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// What an expression comes to.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// 64 bits with sign.
    Int(i64),
    /// 64 bits without sign.
    Uint(u64),
    /// A float.
    Double(f64),
    /// Text.
    Text(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A span of time in nanoseconds.
    Duration(i64),
    /// A moment, in UTC.
    Timestamp(DateTime),
    /// A list.
    List(List<'a>),
    /// A map, or an object.
    Map(Map<'a>),
    /// What may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// A URL.
    Url(Arc<Url>),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses, its host bits as they were written.
    Cidr(IpNet),
    /// An amount.
    Quantity(Quantity),
    /// A version.
    Semver(Arc<Semver>),
    /// A named format.
    Format(&'static Format),
    /// An object that the expression has made: `Object.spec{…}`.
    Struct(Arc<Struct<'a>>),
    /// Who may be asked what somebody may do, or a question that is not yet whole.
    Check(Check<'a>),
    /// What they have said.
    Decision(Arc<Decision>),
}

/// An object that an expression has made.
#[derive(Debug, Clone)]
pub struct Struct<'a> {
    /// What it is called: `Object.spec`.
    pub name: Arc<str>,
    /// Its fields.
    pub fields: BTreeMap<Arc<str>, Value<'a>>,
}

/// The type of what nothing is known of.
pub(crate) static DYN: Type = Type::Dyn;
static DYN_LIST: ListType = ListType { element: Type::Dyn, identity: Identity::Order };

impl<'a> Value<'a> {
    /// Text that was made.
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// A list that was made.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }

    /// A map that was made.
    pub(crate) fn map(entries: BTreeMap<Key<'a>, Self>) -> Self {
        Self::Map(Map::Made(Arc::new(entries)))
    }

    /// What is there, or nothing.
    pub(crate) fn option(value: Option<Self>) -> Self {
        Self::Optional(value.map(Arc::new))
    }

    /// `json` as a value of the type `ty`; what does not fit it is taken as it is.
    pub fn of(json: &'a Json, ty: &'a Type) -> Self {
        if let Type::Optional(of) = ty {
            return Self::option(Some(Self::of(json, of)));
        }
        match json {
            Json::Null => Self::Null,
            Json::Bool(it) => Self::Bool(*it),
            Json::Number(number) => Self::of_number(number, ty),
            Json::String(text) => Self::of_text(text, ty),
            Json::Array(items) => match ty {
                Type::List(list) => Self::List(List::Json(items, list)),
                _ => Self::List(List::Json(items, &DYN_LIST)),
            },
            Json::Object(fields) => match ty {
                Type::Object(object) => Self::Map(Map::Object(fields, object)),
                Type::Map(of) => Self::Map(Map::Json(fields, &of.1)),
                _ => Self::Map(Map::Json(fields, &DYN)),
            },
        }
    }

    fn of_number(number: &Number, ty: &Type) -> Self {
        if *ty == Type::Double {
            return Self::Double(number.as_f64().unwrap_or_default());
        }
        if let Some(whole) = number.as_i64() {
            return Self::Int(whole);
        }
        let float = number.as_f64().unwrap_or_default();
        match *ty == Type::Int && float.fract() == 0.0 && float.abs() < 9e18 {
            true => Self::Int(float as i64),
            false => Self::Double(float),
        }
    }

    fn of_text(text: &'a str, ty: &Type) -> Self {
        let read = match ty {
            Type::Bytes => BASE64_STANDARD.decode(text).ok().map(|it| Self::Bytes(it.into())),
            Type::Duration => spans::nanoseconds(text).map(Self::Duration),
            Type::Timestamp => time::parse_moment(text).map(Self::Timestamp),
            _ => None,
        };
        read.unwrap_or(Self::Text(Text::Borrowed(text)))
    }

    /// The name of its type.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => Type::Null.name(),
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => Type::Duration.name(),
            Self::Timestamp(_) => Type::Timestamp.name(),
            Self::List(_) => "list",
            Self::Map(Map::Object(_, object)) => &object.name,
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Struct(made) => &made.name,
            Self::Check(check) => check.type_name(),
            Self::Decision(_) => crate::types::DECISION,
        }
    }

    /// Whether it may stand for a parameter of the type `ty`.
    pub(crate) fn fits(&self, ty: &Type) -> bool {
        match (ty, self) {
            (Type::List(_), Self::List(_))
            | (Type::Map(_), Self::Map(_))
            | (Type::Type(_), Self::Type(_)) => true,
            (Type::Null, Self::Null) => true,
            (Type::Object(_), Self::Map(_) | Self::Struct(_)) => true,
            (Type::Dyn | Type::Error | Type::Param(_) | Type::Unknown(_), _) => true,
            (Type::List(_) | Type::Map(_) | Type::Type(_) | Type::Object(_), _) => false,
            _ => ty.name() == self.type_name(),
        }
    }

    /// How much there is of it, for its cost: characters, bytes, elements; 1 for all else.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Cidr(range) => usize::from(range.prefix_len()).div_ceil(8),
            _ => 1,
        };
        size as u64
    }

    /// As text, if it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Failure {
    /// No function takes such arguments.
    pub(crate) fn no_overload(name: &str, args: &[Value]) -> Self {
        let types: Vec<&str> = args.iter().map(Value::type_name).collect();
        Self::Error(format!("no such overload: {name}({})", types.join(", ")))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::text(value)
    }
}

impl From<&str> for Value<'_> {
    fn from(value: &str) -> Self {
        Self::text(value)
    }
}
