//! create: fill → admit → allocate → prepare → validate → commit, in upstream's order.

use coracle_api::{Key, Kind, Status};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::Value;

use crate::pipeline::admission::{self, Attributes, Operation};
use crate::pipeline::content::{self, Decoded};
use crate::pipeline::request::Request;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::versions::stored;
use crate::pipeline::verbs::{
    Part, definitions, fields, key, metadata, parts, registrations, text, validation,
};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};

/// How often a generated name is drawn again when it is taken.
const NAMES_TRIED: usize = 8;

/// How much of `generateName` is kept before the suffix.
const GENERATED_PREFIX_MAX: usize = 63 - 5;

/// Adds the object in the body of `request`.
///
/// # Errors
/// 400 for a body that does not fit, 404 for a missing namespace, 403, 409 and 422.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let decoded = content::object(request)?;
    new_object(snapshot, request, decoded, false, env)
}

/// Adds `decoded`; an apply has made its `managedFields` already.
pub(crate) fn new_object(
    snapshot: &Snapshot,
    request: &Request,
    decoded: Decoded,
    is_applied: bool,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let Decoded { value, warnings, .. } = decoded;
    let mut attributes = Attributes::new(snapshot, request, Operation::Create, None);
    attributes.warnings = warnings;
    let made = made(&mut attributes, value, is_applied, env);
    let warnings = std::mem::take(&mut attributes.warnings);
    match made {
        Ok(mut prepared) => {
            prepared.writes.extend(attributes.writes);
            prepared.requires = attributes.requires;
            prepared.warnings = warnings;
            Ok(prepared)
        }
        Err(stop) => Err(stop.warned(warnings)),
    }
}

fn made(
    attributes: &mut Attributes<'_>,
    mut value: Value,
    is_applied: bool,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let (snapshot, request) = (attributes.snapshot, attributes.request);
    let kind = &*request.kind;
    settle_namespace(request, &mut value)?;
    if !request.options.dry_run {
        refuse_revision(&value)?;
    }
    content::default(kind, &mut value);
    if !is_applied {
        fields::track(request, Part::Whole, None, &mut value, env);
    }
    attributes.warnings.extend(fields::dedup_owners(&mut value));
    if admission::mutate(attributes, &mut value, env)? {
        settle_namespace(request, &mut value)?;
    }
    fill_metadata(kind, &mut value, env);
    let taken = name(snapshot, request, &mut value, env);
    admission::allocate(attributes, &mut value, env)?;
    parts::drop_status(kind, &mut value);
    (kind.strategy.prepare_create)(&mut value);
    definitions::settle_names(snapshot, request, &mut value, env);
    registrations::note_local(request, &mut value, env);
    kind.spell(&mut value);
    let errors = validation::of_new(kind, &value);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, name_of(&value), &errors).into());
    }
    attributes.warnings.extend((kind.strategy.warnings)(&value, &Value::Null));
    attributes.warnings.extend(coracle_api::warnings::of(kind, &value, &Value::Null));
    admission::validate(attributes, &value, env)?;
    if let Some(status) = taken {
        return Err(status.into());
    }
    let name = key(kind, &request.namespace, name_of(&value));
    refuse_taken(snapshot, kind, &name)?;
    let object = stored(kind, value, env)?;
    Ok(Prepared::writing(201, Write::put(object, Expect::Absent), Part::Whole, &request.kind))
}

fn name_of(value: &Value) -> &str {
    text(value, "/metadata/name")
}

/// The namespace is the one in the URL.
pub(crate) fn settle_namespace(request: &Request, value: &mut Value) -> Result<(), Status> {
    let said = text(value, "/metadata/namespace");
    if !request.kind.is_namespaced() {
        metadata(value).remove("namespace");
        return Ok(());
    }
    if !said.is_empty() && said != request.namespace {
        return Err(content::other_namespace());
    }
    if request.namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    metadata(value).insert("namespace".into(), request.namespace.clone().into());
    Ok(())
}

fn refuse_revision(value: &Value) -> Result<(), Status> {
    match text(value, "/metadata/resourceVersion") {
        "" => Ok(()),
        _ => {
            let message = "resourceVersion should not be set on objects to be created";
            Err(Status::failure(500, "", message))
        }
    }
}

fn fill_metadata(kind: &Kind, value: &mut Value, env: &mut WriteEnv<'_>) {
    let (uid, now) = (env.entropy.uid(), rfc3339(env.now));
    let fields = metadata(value);
    for gone in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        fields.remove(gone);
    }
    fields.insert("uid".into(), uid.into());
    fields.insert("creationTimestamp".into(), now.into());
    if kind.strategy.has_generation {
        fields.insert("generation".into(), 1.into());
    } else {
        fields.remove("generation");
    }
}

/// Resolves `generateName`; the Status when every name tried is taken.
fn name(
    snapshot: &Snapshot,
    request: &Request,
    value: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Option<Status> {
    let prefix = text(value, "/metadata/generateName").to_owned();
    if prefix.is_empty() || !name_of(value).is_empty() {
        return None;
    }
    let kept: String = prefix.chars().take(GENERATED_PREFIX_MAX).collect();
    for _ in 0..NAMES_TRIED {
        let name = format!("{kept}{}", env.entropy.suffix());
        let is_free = snapshot.get(&key(&request.kind, &request.namespace, &name)).is_none();
        metadata(value).insert("name".into(), name.into());
        if is_free {
            return None;
        }
    }
    let mut status = Status::already_exists(&request.kind, name_of(value));
    status.message += ", the server was not able to generate a unique name for the object";
    Some(status.with_details(|details| details.retry_after_seconds = 1))
}

fn refuse_taken(snapshot: &Snapshot, kind: &Kind, key: &Key) -> Result<(), Status> {
    let Some(there) = snapshot.get(key) else { return Ok(()) };
    let mut status = Status::already_exists(kind, &key.name);
    if there.metadata().is_deleting() {
        status.message = format!("object is being deleted: {}", status.message);
    }
    Err(status)
}
