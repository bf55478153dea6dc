//! Server-side apply.

use serde_json::Value;

use super::entries::{Entries, Manager, Operation, Owned};
use super::set::FieldSet;
use super::typed::{self, Mismatch, Place};
use super::{Target, has_uid, managed_fields, set_managed_fields, unowned};
use crate::status::Cause;
use crate::{Status, defaults};

/// What `kubectl apply` without the server keeps of the last configuration.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A field that another manager owns and that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-edit" using apps/v1`
    pub manager: String,
    /// `.spec.replicas`
    pub field: String,
}

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The configuration has `metadata.managedFields`.
    #[error("metadata.managedFields must be nil")]
    HasManagedFields,
    /// The configuration is of another type than the request: `apps/v1, Kind=Deployment`.
    #[error("invalid object type: {0}")]
    Type(String),
    /// The configuration does not fit the schema.
    #[error("failed to create typed patch object ({object}): {}", list(problems))]
    Schema {
        /// `default/web; apps/v1, Kind=StatefulSet`
        object: String,
        /// What does not fit.
        problems: Vec<Mismatch>,
    },
    /// Others own what would change.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
}

pub(super) fn list(problems: &[Mismatch]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(|problem| format!("  {problem}")).collect();
            format!("errors:\n{}", lines.join("\n"))
        }
    }
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [Conflict { manager, field }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {field}");
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut last = None;
    for Conflict { manager, field } in conflicts {
        if last != Some(manager) {
            let separator = if last.is_some() { "\n" } else { "" };
            text.push_str(&format!("{separator}conflicts with {manager}:"));
            last = Some(manager);
        }
        text.push_str(&format!("\n- {field}"));
    }
    text
}

impl ApplyError {
    /// The answer to the client.
    pub fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::HasManagedFields | Self::Type(_) => Status::bad_request(text),
            // Upstream lets this pass for a failure of its own.
            Self::Schema { .. } => Status::failure(500, "", text),
            Self::Conflicts(conflicts) => {
                Status::failure(409, "Conflict", text).with_details(|details| {
                    details.causes = conflicts.iter().map(cause).collect();
                })
            }
        }
    }
}

fn cause(conflict: &Conflict) -> Cause {
    Cause {
        reason: "FieldManagerConflict".to_string(),
        message: format!("conflict with {}", conflict.manager),
        field: conflict.field.clone(),
    }
}

/// Applies the configuration `applied` to `live` (`None` creates) on behalf of `manager` and
/// answers with the object as it should be, defaults and `metadata.managedFields` included. `now` is RFC 3339
/// in whole seconds. With `force`, what others own is taken from them.
///
/// # Errors
/// When the configuration is malformed or, without `force`, changes what others own.
pub fn apply(
    target: Target<'_>,
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    now: &str,
) -> Result<Value, ApplyError> {
    check(target, applied)?;
    let empty = target.empty();
    let mut base = live.unwrap_or(&empty).clone();
    let mut entries = Entries::parse(managed_fields(&base)).unwrap_or_default();
    set_managed_fields(&mut base, &Entries::default());
    if entries.by_manager.is_empty() && has_uid(&base) {
        let before = target.manager(Operation::Update, "before-first-apply");
        super::update(target, &empty, &base, &mut entries, before, now);
    }
    let writer = Writer { target, base: &base, applied, manager };
    let outcome = match writer.apply(&entries, force) {
        Err(found) if manager == "kubectl" && writer.all_last_applied(&found) => {
            writer.apply(&entries, true)
        }
        outcome => outcome,
    };
    let (mut object, mut after) =
        outcome.map_err(|found| ApplyError::Conflicts(list_of(&found)))?;
    stamp(&mut after, &entries, &writer.manager(), object != base, now);
    after.cap();
    if manager == "kubectl" && target.subresource.is_empty() {
        renew_last_applied(&mut object, applied);
    }
    set_managed_fields(&mut object, &after);
    Ok(object)
}

/// Whether the configuration `applied`, as a client sent it, can be applied at all. To be asked
/// before anything drops the fields that nobody knows.
///
/// # Errors
/// When it has entries of its own, another type, or fields that the schema does not have.
pub fn check(target: Target<'_>, applied: &Value) -> Result<(), ApplyError> {
    let has_entries = match managed_fields(applied) {
        None | Some(Value::Null) => false,
        Some(list) => list.as_array().is_none_or(|list| !list.is_empty()),
    };
    if has_entries {
        return Err(ApplyError::HasManagedFields);
    }
    let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (found, kind) = (text("/apiVersion"), text("/kind"));
    let version = if found.contains('/') { found.to_string() } else { format!("/{found}") };
    if found != target.kind.api_version() || kind != target.kind.kind {
        return Err(ApplyError::Type(format!("{version}, Kind={kind}")));
    }
    let problems = typed::check(target.place(), applied);
    if problems.is_empty() {
        return Ok(());
    }
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let object = format!("{namespace}/{name}; {version}, Kind={}", target.kind.kind);
    Err(ApplyError::Schema { object, problems })
}

/// Sets the writer's time when it changed the object or what it owns.
fn stamp(after: &mut Entries, before: &Entries, manager: &Manager, changed: bool, now: &str) {
    if let Some(owned) = after.by_manager.get_mut(manager) {
        let old = before.by_manager.get(manager);
        let same = old.is_some_and(|old| old.set == owned.set);
        owned.time = match old {
            Some(old) if same && !changed => old.time.clone(),
            _ => Some(now.to_string()),
        };
    }
}

/// Conflicting fields by manager.
type Found = Vec<(Manager, FieldSet)>;

fn list_of(found: &Found) -> Vec<Conflict> {
    let conflicts = found.iter().flat_map(|(manager, set)| {
        let manager = manager.describe();
        set.paths().into_iter().map(move |field| Conflict { manager: manager.clone(), field })
    });
    conflicts.collect()
}

struct Writer<'a> {
    target: Target<'a>,
    /// The live object without its entries.
    base: &'a Value,
    applied: &'a Value,
    manager: &'a str,
}

impl<'a> Writer<'a> {
    fn place(&self) -> Place<'a> {
        self.target.place()
    }

    fn manager(&self) -> Manager {
        self.target.manager(Operation::Apply, self.manager)
    }

    /// The new object and its entries, or the conflicts.
    fn apply(&self, before: &Entries, force: bool) -> Result<(Value, Entries), Found> {
        let mut entries = before.clone();
        let own = self.manager();
        let wanted = typed::field_set(self.place(), self.applied).without(&self.target.ignored());
        let last = entries.by_manager.get(&own).map(|owned| owned.set.clone());
        let api_version = self.target.kind.api_version();
        let owned = Owned { set: wanted, api_version, time: None };
        entries.by_manager.insert(own.clone(), owned);
        let merged = typed::merge(self.place(), self.base, self.applied);
        let mut object = match last {
            Some(last) if !last.is_empty() => self.prune(&merged, &entries, &last),
            _ => merged,
        };
        // The live object has its defaults: without them here, lists and structs that are one
        // field (claim templates) would seem to change.
        defaults::apply(self.target.kind, &mut object);
        let found = self.settle(&object, &mut entries, &own);
        if !force && !found.is_empty() {
            return Err(found);
        }
        if let Some(owned) = entries.by_manager.get_mut(&own) {
            owned.set = owned.set.difference(unowned());
        }
        entries.by_manager.retain(|_, owned| !owned.set.is_empty());
        Ok((object, entries))
    }

    /// Takes from the others what changes; answers with it.
    fn settle(&self, object: &Value, entries: &mut Entries, own: &Manager) -> Found {
        let changes = typed::compare(self.place(), self.base, object);
        let changes = changes.without(&self.target.ignored());
        let touched = changes.modified.clone().union(&changes.added);
        let mut found = Vec::new();
        let others = entries.by_manager.iter_mut().filter(|(manager, _)| *manager != own);
        for (manager, owned) in others {
            let conflict = owned.set.intersection(&touched);
            owned.set = owned.set.difference(&conflict).difference(&changes.removed);
            if !conflict.is_empty() {
                found.push((manager.clone(), conflict));
            }
        }
        found
    }

    /// `merged` without what this manager applied last and nobody owns now.
    fn prune(&self, merged: &Value, entries: &Entries, last: &FieldSet) -> Value {
        let place = self.place();
        let whole = |set: &FieldSet| typed::with_structs(place, set);
        let removed = |set: &FieldSet| typed::remove(place, merged, set);
        let all = whole(&typed::field_set(place, merged));
        let pruned = removed(&whole(last));
        let left = whole(&typed::field_set(place, &pruned));
        let owned = entries
            .by_manager
            .values()
            .fold(FieldSet::default(), |set, owned| set.union(&owned.set));
        let kept = removed(&all.difference(&left.union(&whole(&owned))));
        let kept = whole(&typed::field_set(place, &kept));
        removed(&all.difference(&kept).intersection(&whole(last)))
    }

    /// Whether all conflicts are about what `kubectl apply` set before, and has not been changed
    /// since: then `kubectl apply --server-side` only takes over from itself.
    fn all_last_applied(&self, found: &Found) -> bool {
        let annotation =
            self.base.pointer("/metadata/annotations").and_then(|a| a.get(LAST_APPLIED));
        let Some(text) = annotation.and_then(Value::as_str) else { return false };
        let Ok(mut last) = serde_json::from_str::<Value>(text) else { return false };
        let set = typed::field_set(self.place(), &last);
        defaults::apply(self.target.kind, &mut last);
        let changes = typed::compare(self.place(), self.base, &last);
        let unchanged = set
            .difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed);
        found.iter().all(|(_, conflict)| conflict.difference(&unchanged).is_empty())
    }
}

/// `kubectl apply --server-side` keeps the annotation of objects that have it up to date, so that
/// one can go back to `kubectl apply`.
fn renew_last_applied(object: &mut Value, applied: &Value) {
    let annotations = object.pointer_mut("/metadata/annotations");
    if let Some(text) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) {
        let mut configuration = applied.clone();
        if let Some(Value::Object(map)) = configuration.pointer_mut("/metadata/annotations") {
            map.remove(LAST_APPLIED);
        }
        *text = Value::String(format!("{configuration}\n"));
    }
}
