//! What somebody has made of an object as they saw it, brought back to what is written.

use coracle_api::schema::Schema;
use coracle_api::{Kind, Status, semantic, structural};
use serde_json::Value;

use super::subject::{Shape, Subject, converted};
use crate::pipeline::content;
use crate::pipeline::verbs::{scale, text};

/// What becomes of fields that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They are dropped.
    Dropped,
    /// They are a mistake.
    Refused,
}

/// The object as `new` leaves it, which was made of `shown`, the form of `row`; `None` when nothing
/// changed.
pub(super) fn changed(
    subject: &Subject<'_>,
    row: &Kind,
    object: &Value,
    shown: &Value,
    mut new: Value,
    unknown: Unknown,
) -> Result<Option<Value>, Status> {
    let dropped = decode(subject, row, &mut new)?;
    if unknown == Unknown::Refused && row.types.is_none() && !dropped.is_empty() {
        let why = format!("strict decoding error: {}", dropped.join(", "));
        return Err(Status::internal(why));
    }
    if semantic::equal(shown, &new) {
        return Ok(None);
    }
    Ok(Some(match subject.shape() {
        Shape::Own => new,
        Shape::Scale => {
            let mut parent = object.clone();
            let replicas = new["spec"]["replicas"].as_i64().unwrap_or_default();
            scale::set(&subject.request.kind.scale, &mut parent, &replicas.into());
            parent
        }
        Shape::Whole => {
            content::default(row, &mut new);
            let mut new = converted(row, &subject.request.kind, new);
            content::default(&subject.request.kind, &mut new);
            new
        }
    }))
}

/// Reads what was made as a client's body is read; what nobody knows is dropped, and told.
fn decode(subject: &Subject<'_>, row: &Kind, new: &mut Value) -> Result<Vec<String>, Status> {
    let decoded = match subject.shape() {
        Shape::Own => return Ok(Vec::new()),
        Shape::Scale => structural::decode_as(Schema::builtin(), scale::DEFINITION, new, true),
        Shape::Whole => structural::decode(row, new),
    };
    decoded.map_err(Status::internal)
}

/// `apiVersion` and `kind`.
pub(super) fn type_of(value: &Value) -> (String, String) {
    (text(value, "/apiVersion").to_owned(), text(value, "/kind").to_owned())
}
