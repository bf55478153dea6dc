//! What an object is: the table of kinds, metadata, selectors, quantities, defaults, validation,
//! patches, printer columns, schema and wire errors. Pure: no I/O, no clock, no randomness.
//!
//! A folder a subject: [`kinds`] the table, [`object`] one object and how it is found, [`schema`]
//! its shape, [`write`] what happens to it when it is written, [`text`] what its strings mean,
//! [`print`] what `kubectl get` shows.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod calls;
pub mod gates;
pub mod kinds;
pub mod object;
pub mod print;
pub mod schema;
pub mod status;
pub mod text;
pub mod time;
pub mod write;

pub use calls::{Backend, Call, Fetch, Fetched, Given, OtherServer, Post, Swept};
pub use gates::{Gate, Gates};
pub use jiff::Timestamp;
pub use kinds::{
    Kinds, computed,
    computed::Facts,
    discovery,
    kind::{
        self, Form, Kind, Objects, ScalePaths, Scope, Strategy, Subresource, SubresourceRow, Verb,
    },
    resources,
};
pub use object::{
    MalformedObject, Object, conditions, field_selector,
    field_selector::FieldSelector,
    index::{self, Index},
    key::{self, Key, RESOURCE_SEPARATOR},
    metadata::{self, Metadata, OwnerReference},
    null::null_as_default,
    options, pod_resources, pods, revision, scale,
    selector::{self, Selector},
    selectors, semantic, sums, token_secrets, usage,
    usage::Usage,
};
pub use schema::{custom_validation, openapi, presence, protobuf, structural};
pub use status::{Cause, Status, StatusDetails};
pub use text::{
    addresses, certificates, cron, der,
    hex::hex,
    int_or_string, names,
    quantity::{self, Quantity},
    sysctls,
};
pub use write::{
    defaults,
    field::{self, FieldError, FieldErrorKind},
    managed_fields, patch, quota, unserved, validation, warnings,
};
