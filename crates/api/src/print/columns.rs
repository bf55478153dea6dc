//! Columns as data: how rows of the table write them, and those that several rows share.

use std::borrow::Cow;

use super::{Cell, Column, cluster};

/// The columns of a kind that has none of its own.
pub const GENERIC: &[Column] = &[NAME, created_at()];

/// The columns of the `scale` subresource.
pub const SCALE: &[Column] = &[
    column("Name", "string", Cell::Text("/metadata/name", "")),
    number("Desired", "/spec/replicas"),
    number("Available", "/status/replicas"),
    AGE,
];

pub(crate) const NAME: Column = named("Name");
pub(crate) const AGE: Column = text("Age", Cell::Code(cluster::age));

pub(crate) const CONTAINERS: Column =
    text("Containers", Cell::Each("/spec/template/spec/containers", "name"));
pub(crate) const IMAGES: Column =
    text("Images", Cell::Each("/spec/template/spec/containers", "image"));

pub(crate) const fn column(name: &'static str, ty: &'static str, cell: Cell) -> Column {
    formatted(name, ty, "", cell)
}

pub(crate) const fn named(name: &'static str) -> Column {
    formatted(name, "string", "name", Cell::Text("/metadata/name", ""))
}

pub(crate) const fn formatted(
    name: &'static str,
    ty: &'static str,
    format: &'static str,
    cell: Cell,
) -> Column {
    Column {
        name: Cow::Borrowed(name),
        ty: Cow::Borrowed(ty),
        format: Cow::Borrowed(format),
        description: Cow::Borrowed(cell.pointer()),
        priority: 0,
        cell,
    }
}

pub(crate) const fn text(name: &'static str, cell: Cell) -> Column {
    column(name, "string", cell)
}

/// The string at a pointer.
pub(crate) const fn at(name: &'static str, pointer: &'static str) -> Column {
    column(name, "string", Cell::Text(pointer, ""))
}

pub(crate) const fn number(name: &'static str, pointer: &'static str) -> Column {
    column(name, "integer", Cell::Number(pointer))
}

pub(crate) const fn count(name: &'static str, pointer: &'static str) -> Column {
    column(name, "integer", Cell::Count(pointer))
}

pub(crate) const fn flag(name: &'static str, pointer: &'static str, missing: bool) -> Column {
    column(name, "boolean", Cell::Flag(pointer, missing))
}

pub(crate) const fn created_at() -> Column {
    column("Created At", "date", Cell::Code(cluster::created_at))
}

/// Only shown by `-o wide`.
pub(crate) const fn wide(mut column: Column) -> Column {
    column.priority = 1;
    column
}

/// Of both groups that have events.
pub(crate) const EVENTS: &[Column] = &[
    text("Last Seen", Cell::Code(cluster::event_last_seen)),
    at("Type", "/type"),
    at("Reason", "/reason"),
    text("Object", Cell::Code(cluster::event_object)),
    wide(at("Subobject", "/involvedObject/fieldPath")),
    wide(text("Source", Cell::Code(cluster::event_source))),
    text("Message", Cell::Code(cluster::event_message)),
    wide(text("First Seen", Cell::Code(cluster::event_first_seen))),
    wide(text("Count", Cell::Code(cluster::event_count))),
    wide(at("Name", "/metadata/name")),
];
