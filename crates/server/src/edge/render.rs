//! From an answer to bytes, in the form that the client asked for.

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::print::{self, IncludeObject, TableOptions};
use coracle_api::{Kind, Object, Status, Timestamp};
use serde_json::{Value, json};

use crate::edge::negotiate::{Encoding, Form, Shape};
use crate::edge::pieces::Pieces;
use crate::pipeline::content;
use crate::pipeline::reply::{Answer, ObjectList, Reply};
use crate::pipeline::watch::Frame;

/// What is rendered, and how.
#[derive(Clone, Copy)]
pub(crate) struct Rendering<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) form: Form,
    /// `includeObject` of tables.
    pub(crate) include: IncludeObject,
    /// What ages are counted to.
    pub(crate) now: Timestamp,
}

impl Encoding {
    /// The Content-Type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json | Self::Pretty => "application/json",
            Self::Yaml => "application/yaml",
        }
    }

    /// A value in this encoding.
    pub(crate) fn encode(self, value: &Value) -> Result<Bytes, Status> {
        let mut bytes = match self {
            Self::Json => serde_json::to_vec(value).map_err(Status::internal)?,
            Self::Pretty => serde_json::to_vec_pretty(value).map_err(Status::internal)?,
            Self::Yaml => serde_norway::to_string(value).map_err(Status::internal)?.into_bytes(),
        };
        if self != Self::Yaml {
            bytes.push(b'\n');
        }
        Ok(bytes.into())
    }
}

/// A body.
pub(crate) enum Rendered {
    /// All of it.
    Whole(Bytes),
    /// What makes it, piece by piece.
    Pieces(Pieces),
}

impl Rendering<'_> {
    /// The answer as a body.
    pub(crate) fn reply(&self, reply: &Reply) -> Result<Rendered, Status> {
        let whole = match &reply.answer {
            Answer::Object(object) => self.object(object)?,
            Answer::List(list) if self.is_as_stored() => return Ok(self.list_as_stored(list)),
            Answer::List(list) => self.list(list)?,
            Answer::Value(value) => self.value(value)?,
            Answer::Success(deleted) => {
                let mut status = deleted.to_value();
                if reply.code == 201 {
                    status["code"] = reply.code.into();
                }
                self.form.encoding.encode(&status)?
            }
        };
        Ok(Rendered::Whole(whole))
    }

    /// As [`Self::reply`], in JSON and in one piece.
    pub(crate) fn in_json(&self, reply: &Reply) -> Result<Bytes, Status> {
        let form = Form { encoding: Encoding::Json, ..self.form };
        Ok(match (Rendering { form, ..*self }).reply(reply)? {
            Rendered::Whole(bytes) => bytes,
            Rendered::Pieces(pieces) => pieces.collect::<Vec<Bytes>>().concat().into(),
        })
    }

    /// Whether objects are sent with the bytes that are stored.
    fn is_as_stored(&self) -> bool {
        let is_json = self.form.encoding == Encoding::Json;
        is_json && self.kind.shows_as_stored() && matches!(self.form.shape, Shape::Whole)
    }

    /// One object: as stored if it may be, without looking into it.
    pub(crate) fn object(&self, object: &Object) -> Result<Bytes, Status> {
        match self.form.shape {
            Shape::Whole if self.is_as_stored() => Ok(object.bytes().clone()),
            Shape::Whole => self.form.encoding.encode(&content::readable(self.kind, object)),
            Shape::Metadata(version) => self.form.encoding.encode(&partial(version, object)),
            Shape::Table(version) => {
                let metadata = json!({"resourceVersion": object.metadata().resource_version});
                let table = self.table(version, metadata, &[object], true);
                self.form.encoding.encode(&table?)
            }
        }
    }

    fn value(&self, value: &Value) -> Result<Bytes, Status> {
        let encoding = self.form.encoding;
        let Shape::Table(version) = self.form.shape else { return encoding.encode(value) };
        if value["kind"] != "Scale" {
            return Err(self.no_table());
        }
        let options = TableOptions { now: self.now, include: self.include, headers: true, version };
        let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
        encoding.encode(&print::table_of(print::SCALE, [value], metadata, &options))
    }

    fn list(&self, list: &ObjectList) -> Result<Bytes, Status> {
        let encoding = self.form.encoding;
        let listed = |kind: String, api_version: String, item: &dyn Fn(&Object) -> Value| {
            json!({
                "kind": kind,
                "apiVersion": api_version,
                "metadata": list.metadata(),
                "items": list.items.iter().map(|object| item(object)).collect::<Vec<_>>(),
            })
        };
        let value = match self.form.shape {
            Shape::Table(version) => {
                let items: Vec<&Object> = list.items.iter().map(AsRef::as_ref).collect();
                self.table(version, list.metadata(), &items, true)?
            }
            Shape::Metadata(version) => {
                let api_version = format!("meta.k8s.io/{version}");
                let item = |object: &Object| partial(version, object);
                listed("PartialObjectMetadataList".to_owned(), api_version, &item)
            }
            Shape::Whole => {
                let kind = format!("{}List", self.kind.kind);
                let item = |object: &Object| self.listed(object);
                listed(kind, self.kind.api_version(), &item)
            }
        };
        encoding.encode(&value)
    }

    /// An item of a list, which says for all of them of which type they are; custom resources say
    /// it too.
    fn listed(&self, object: &Object) -> Value {
        let mut value = content::readable(self.kind, object);
        if let (None, Some(fields)) = (&self.kind.types, value.as_object_mut()) {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        value
    }

    /// A list whose items are copied as they are stored.
    fn list_as_stored(&self, list: &ObjectList) -> Rendered {
        let head = format!(
            r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
            self.kind.kind,
            self.kind.api_version(),
            list.metadata()
        );
        let mut pieces = Pieces::new(&head, list.items.clone(), self.kind.types.is_some());
        if pieces.is_short() {
            return Rendered::Whole(pieces.next().unwrap_or_default());
        }
        Rendered::Pieces(pieces)
    }

    /// One line of a watch. Of several tables only the first names its columns.
    pub(crate) fn frame(&self, frame: &Frame, is_first: bool) -> Result<Bytes, Status> {
        let (ty, object) = match frame {
            Frame::Added(object) => ("ADDED", self.watched(object, is_first)?),
            Frame::Modified(object) => ("MODIFIED", self.watched(object, is_first)?),
            Frame::Deleted(object) => ("DELETED", self.watched(object, is_first)?),
            Frame::Bookmark { revision, initial_events_end } => {
                let bookmark = self.bookmark(*revision, *initial_events_end, is_first)?;
                ("BOOKMARK", line(&bookmark)?)
            }
            Frame::Error(status) => ("ERROR", line(&json!(status))?),
        };
        let mut bytes = BytesMut::with_capacity(object.len() + 40);
        bytes.put_slice(format!(r#"{{"type":"{ty}","object":"#).as_bytes());
        bytes.put_slice(object.trim_ascii_end());
        bytes.put_slice(b"}\n");
        Ok(bytes.freeze())
    }

    fn watched(&self, object: &Object, is_first: bool) -> Result<Bytes, Status> {
        match self.form.shape {
            Shape::Table(version) => {
                let metadata = json!({"resourceVersion": object.metadata().resource_version});
                line(&self.table(version, metadata, &[object], is_first)?)
            }
            // A watch is a line an event, whatever people would like.
            _ => Rendering { form: Form { encoding: Encoding::Json, ..self.form }, ..*self }
                .object(object),
        }
    }

    fn bookmark(&self, revision: u64, is_end: bool, is_first: bool) -> Result<Value, Status> {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if is_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = match self.form.shape {
            Shape::Metadata(version) | Shape::Table(version) => {
                ("PartialObjectMetadata", format!("meta.k8s.io/{version}"))
            }
            _ => (&*self.kind.kind, self.kind.api_version()),
        };
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        match self.form.shape {
            Shape::Table(version) => {
                let metadata = json!({"resourceVersion": revision.to_string()});
                let mut table = self.table(version, metadata, &[], is_first)?;
                table["rows"] = json!([{"cells": [], "object": object}]);
                Ok(table)
            }
            _ => Ok(object),
        }
    }

    /// A `meta.k8s.io` Table of `objects`.
    fn table(
        &self,
        version: &'static str,
        metadata: Value,
        objects: &[&Object],
        headers: bool,
    ) -> Result<Value, Status> {
        if !print::has_table(self.kind) {
            return Err(self.no_table());
        }
        let options = TableOptions { now: self.now, include: self.include, headers, version };
        if self.kind.shows_as_stored() {
            let values = objects.iter().map(|object| object.value());
            return Ok(print::table(self.kind, values, metadata, &options));
        }
        let values: Vec<Value> =
            objects.iter().map(|object| content::readable(self.kind, object)).collect();
        Ok(print::table(self.kind, &values, metadata, &options))
    }

    fn no_table(&self) -> Status {
        let message = format!(
            "the resource {} does not support being converted to a Table",
            self.kind.group_resource()
        );
        Status::failure(406, "NotAcceptable", message)
    }
}

fn line(value: &Value) -> Result<Bytes, Status> {
    Ok(serde_json::to_vec(value).map_err(Status::internal)?.into())
}

/// `PartialObjectMetadata`.
fn partial(version: &str, object: &Object) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.value()["metadata"],
    })
}
