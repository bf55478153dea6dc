//! What `kubectl get` shows: objects as `meta.k8s.io` Tables.
//!
//! A kind's columns are data, in its row; only cells that are more than a field of the
//! object are functions. Texts and rules are upstream's (`pkg/printers/internalversion`).

pub(crate) mod cluster;
pub(crate) mod columns;
mod custom;
mod duration;
mod fields;
pub(crate) mod network;
pub(crate) mod pods;
pub(crate) mod storage;
pub(crate) mod workloads;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kind::{Kind, Text};
use crate::resources::PODS;

pub(crate) use columns::{AGE, NAME};
pub use columns::{GENERIC, SCALE};
pub use custom::{JsonPath, custom_column};
pub use duration::human;

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// As upstream names it; kubectl shows it in capitals.
    pub name: Text,
    /// `string`, `integer`, `boolean`, `date`…
    pub ty: Text,
    /// `name` for the column with the object's name; else usually empty.
    pub format: Text,
    /// What the column shows.
    pub description: Text,
    /// 0, or 1 for columns that only `-o wide` shows.
    pub priority: i32,
    /// Where the cell comes from.
    pub cell: Cell,
}

/// Where a cell comes from; pointers are JSON pointers into the object.
#[derive(Clone, Debug)]
pub enum Cell {
    /// The string at a pointer, or else this text.
    Text(&'static str, &'static str),
    /// The number at a pointer, or 0.
    Number(&'static str),
    /// The boolean at a pointer, or else this.
    Flag(&'static str, bool),
    /// How many items or members there are at a pointer.
    Count(&'static str),
    /// `FIRST/SECOND`, both numbers at pointers.
    Ratio(&'static str, &'static str),
    /// How long ago the time at a pointer was, or else this text.
    Since(&'static str, &'static str),
    /// One string of every item of the list at a pointer (`name` of containers), joined by commas.
    Each(&'static str, &'static str),
    /// The label selector at a pointer.
    Selector(&'static str),
    /// The map of labels at a pointer.
    Labels(&'static str),
    /// The value that a JSONPath selects, shown as this type of column: custom resources.
    Path(JsonPath, Text),
    /// Anything else, from the object and the time.
    Code(fn(&Value, Timestamp) -> Value),
}

/// What of each object comes with its row (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// From the query parameter; `None` when it has no such value (400).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// How a table is made.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// What ages are measured against.
    pub now: Timestamp,
    /// What comes with each row.
    pub include: IncludeObject,
    /// Whether the columns are described; not after the first event of a watch.
    pub headers: bool,
    /// `v1` or `v1beta1`, of meta.k8s.io.
    pub version: &'static str,
}

/// Whether objects of the kind can be shown as a table; reviews cannot (406).
#[must_use]
pub fn has_table(kind: &Kind) -> bool {
    kind.verbs.contains(&crate::Verb::List)
}

/// A table of objects of `kind`, in the kind's own version. `metadata` is the list's
/// (`resourceVersion`, `continue`, `remainingItemCount`), or that of the one object.
pub fn table<'a>(
    kind: &Kind,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    options: &TableOptions,
) -> Value {
    let rows = objects.into_iter().map(|object| {
        let cells = cells(&kind.columns, &as_stored(kind, object), options.now);
        let mut row = row(cells, object, options);
        if kind.is(PODS) {
            pods::add_conditions(&mut row, object);
        }
        row
    });
    document(&kind.columns, rows.collect(), metadata, options)
}

/// A table with other columns than the kind's own: those of a subresource ([`SCALE`]).
pub fn table_of<'a>(
    columns: &[Column],
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    options: &TableOptions,
) -> Value {
    let rows = objects.into_iter().map(|object| {
        let cells = cells(columns, object, options.now);
        row(cells, object, options)
    });
    document(columns, rows.collect(), metadata, options)
}

/// Columns read the stored form, whichever version was asked for.
fn as_stored<'a>(kind: &Kind, object: &'a Value) -> Cow<'a, Value> {
    if kind.shows_as_stored() {
        return Cow::Borrowed(object);
    }
    let mut stored = object.clone();
    kind.to_storage(&mut stored);
    Cow::Owned(stored)
}

fn document(
    columns: &[Column],
    rows: Vec<Value>,
    metadata: Value,
    options: &TableOptions,
) -> Value {
    let columns = if options.headers { columns } else { &[] };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", options.version),
        "metadata": metadata,
        "columnDefinitions": columns.iter().map(definition).collect::<Vec<_>>(),
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.ty,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(cells: Vec<Value>, object: &Value, options: &TableOptions) -> Value {
    let included = match options.include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": format!("meta.k8s.io/{}", options.version),
            "metadata": object.get("metadata"),
        }),
    };
    json!({"cells": cells, "object": included})
}

fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    columns.iter().map(|column| column.cell.value(object, now)).collect()
}

impl Cell {
    /// Where the cell comes from, when it is one field.
    const fn pointer(&self) -> &'static str {
        match self {
            Self::Text(pointer, _)
            | Self::Number(pointer)
            | Self::Flag(pointer, _)
            | Self::Count(pointer)
            | Self::Since(pointer, _)
            | Self::Selector(pointer)
            | Self::Labels(pointer) => pointer,
            Self::Ratio(..) | Self::Each(..) | Self::Path(..) | Self::Code(_) => "",
        }
    }

    /// The cell for `object`.
    #[must_use]
    pub fn value(&self, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::Text(pointer, missing) => fields::text_or(object, pointer, missing).into(),
            Self::Number(pointer) => fields::number(object, pointer).into(),
            Self::Flag(pointer, missing) => {
                object.pointer(pointer).and_then(Value::as_bool).unwrap_or(*missing).into()
            }
            Self::Count(pointer) => fields::count(object, pointer).into(),
            Self::Ratio(first, second) => {
                let (first, second) =
                    (fields::number(object, first), fields::number(object, second));
                format!("{first}/{second}").into()
            }
            Self::Since(pointer, missing) => fields::since(object, pointer, now, missing).into(),
            Self::Each(pointer, field) => {
                let names: Vec<_> = fields::strings(object, pointer, field).collect();
                names.join(",").into()
            }
            Self::Selector(pointer) => fields::selector(object.pointer(pointer)).into(),
            Self::Labels(pointer) => fields::labels(object.pointer(pointer)).into(),
            Self::Path(path, ty) => custom::cell(path, ty, object, now),
            Self::Code(code) => code(object, now),
        }
    }
}

#[cfg(test)]
mod tests;
