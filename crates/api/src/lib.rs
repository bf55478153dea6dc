//! What an object is: the table of kinds, metadata, selectors, quantities, defaults, validation,
//! patches, printer columns, schema and wire errors. Pure: no I/O, no clock, no randomness.

pub mod addresses;
pub mod custom_validation;
pub mod defaults;
pub mod discovery;
pub mod field;
pub mod field_selector;
pub mod int_or_string;
mod json_bytes;
pub mod key;
pub mod kind;
pub mod kinds;
pub mod managed_fields;
pub mod metadata;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod print;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod revision;
pub mod schema;
pub mod selector;
mod selector_text;
pub mod semantic;
pub mod status;
pub mod structural;
pub mod sysctls;
pub mod validation;

pub use field::{FieldError, FieldErrorKind};
pub use field_selector::FieldSelector;
pub use jiff::Timestamp;
pub use key::{Key, RESOURCE_SEPARATOR};
pub use kind::{Kind, Scope, Stored, Strategy, Subresource, Verb};
pub use kinds::Kinds;
pub use metadata::{Metadata, OwnerReference};
pub use object::{MalformedObject, Object};
pub use quantity::Quantity;
pub use selector::Selector;
pub use status::{Cause, Status};
