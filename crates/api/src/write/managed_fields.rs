//! Field management: who owns which field of an object, and server-side apply, which lives on it.
//!
//! [`track_update`] gives the fields that a write changed to the writer. [`apply`] merges a
//! configuration into the live object, takes away what its manager applied before and no longer
//! does, and refuses to change what others own unless it is forced.

mod apply;
mod entries;
mod overlay;
mod set;
mod typed;

use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{Schema, Type};
use crate::{Kind, Subresource};

pub use apply::{ApplyError, Conflict, apply, check};
use entries::{Entries, Manager, Operation, Owned};
pub use overlay::overlay;
pub use set::{FieldSet, PathElement};
use typed::Place;

/// Fields of every object that nobody owns.
const UNOWNED: [&[&str]; 10] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "creationTimestamp"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "uid"],
];

/// What is written to: the kind, with its schema, and the subresource.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The schema that has the kind's type.
    pub schema: &'a Schema,
    /// The kind.
    pub kind: &'a Kind,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: &'a str,
}

impl<'a> Target<'a> {
    fn place(self) -> Place<'a> {
        let ty = self.schema.type_named(&self.kind.schema).unwrap_or(&Type::Any);
        Place::root(self.schema, ty)
    }

    /// What is there before anything is.
    fn empty(self) -> Value {
        let mut empty = Value::Object(Default::default());
        self.kind.spell(&mut empty);
        empty
    }

    fn manager(self, operation: Operation, name: &str) -> Manager {
        let name = if name.is_empty() { "unknown" } else { name };
        Manager::new(operation, name, &self.kind.api_version(), self.subresource)
    }

    /// What a write to this subresource cannot change, and so cannot own.
    fn ignored(self) -> FieldSet {
        match self.subresource {
            "" if self.kind.subresource(Subresource::Status).is_some() => {
                FieldSet::of_fields(&["status"])
            }
            "status" => FieldSet::of_fields(&["spec"]),
            _ => FieldSet::default(),
        }
    }
}

fn unowned() -> &'static FieldSet {
    static SET: LazyLock<FieldSet> = LazyLock::new(|| {
        UNOWNED.iter().fold(FieldSet::default(), |set, path| set.union(&FieldSet::of_fields(path)))
    });
    &SET
}

fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

fn has_uid(object: &Value) -> bool {
    object.pointer("/metadata/uid").and_then(Value::as_str).is_some_and(|uid| !uid.is_empty())
}

/// Replaces `metadata.managedFields`.
fn set_managed_fields(object: &mut Value, entries: &Entries) {
    let Value::Object(map) = object else { return };
    let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
    let Value::Object(metadata) = metadata else { return };
    match entries.to_json() {
        Some(list) => drop(metadata.insert("managedFields".to_string(), list)),
        None => drop(metadata.remove("managedFields")),
    }
}

/// The manager of a request: the one it names, else the program of its `User-Agent`, at most 128
/// characters of either.
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_string();
    }
    let program = user_agent.split('/').next().unwrap_or_default();
    program.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// Gives `manager` the fields in which `new` differs from `live` (`None` on create), takes them
/// from others, and writes the result to `new`'s `metadata.managedFields`. `now` is RFC 3339 in
/// whole seconds.
///
/// `new` must have its defaults, and must not yet have been through what keeps or drops fields
/// on behalf of the strategy. Entries that the client itself put into `new` count (that is how
/// clients migrate ownership), `[{}]` clears them. An object without entries stays without.
pub fn track_update(
    target: Target<'_>,
    live: Option<&Value>,
    new: &mut Value,
    manager: &str,
    now: &str,
) {
    let empty = target.empty();
    let is_create = live.is_none_or(|live| !has_uid(live));
    let live = live.unwrap_or(&empty);
    let mut entries = entries_of_update(target, live, new);
    set_managed_fields(new, &Entries::default());
    if entries.by_manager.is_empty() && !is_create {
        return;
    }
    let manager = target.manager(Operation::Update, manager);
    update(target, live, new, &mut entries, manager, now);
    entries.cap();
    set_managed_fields(new, &entries);
}

/// The entries to start from: the client's, when it sent any that are well-formed, else the live
/// ones. Writes to a subresource cannot set them.
fn entries_of_update(target: Target<'_>, live: &Value, new: &Value) -> Entries {
    let live = || Entries::parse(managed_fields(live)).unwrap_or_default();
    let sent = managed_fields(new);
    let clears = sent
        .and_then(Value::as_array)
        .is_some_and(|list| matches!(list.as_slice(), [Value::Object(only)] if only.is_empty()));
    if target.subresource.is_empty() && clears {
        return Entries::default();
    }
    match Entries::parse(sent) {
        Some(sent) if target.subresource.is_empty() && !sent.by_manager.is_empty() => sent,
        _ => live(),
    }
}

/// Moves to `manager` what changed from `live` to `new`.
fn update(
    target: Target<'_>,
    live: &Value,
    new: &Value,
    entries: &mut Entries,
    manager: Manager,
    now: &str,
) {
    let changes = typed::compare(target.place(), live, new).without(&target.ignored());
    let gained = changes.modified.union(&changes.added);
    entries.by_manager.retain(|_, owned| {
        owned.set = owned.set.difference(&gained).difference(&changes.removed);
        !owned.set.is_empty()
    });
    let gained = gained.difference(unowned());
    if gained.is_empty() {
        return;
    }
    let api_version = target.kind.api_version();
    let owned = entries.by_manager.entry(manager).or_insert_with(|| Owned {
        set: FieldSet::default(),
        api_version,
        time: None,
    });
    owned.set = std::mem::take(&mut owned.set).union(&gained);
    owned.time = Some(now.to_string());
}

#[cfg(test)]
mod tests;
