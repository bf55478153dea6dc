//! update, of an object or of a part of it; patch ends here too.

use std::sync::Arc;

use coracle_api::{FieldError, Kind, Object, Status, semantic};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::pipeline::admission::{self, Attributes, Operation};
use crate::pipeline::content::{self, Decoded};
use crate::pipeline::reply::Reply;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::versions::{shown, stored};
use crate::pipeline::verbs::{
    Part, create, definitions, deletion, existing, fields, metadata, parts, text, validation,
};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};

/// Replaces the part of the object that `request` names by what its body holds.
///
/// # Errors
/// 400 for a body that does not fit, 404, 409 and 422.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    part: Part,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let decoded = parts::body(request, part)?;
    check_name(request, &decoded.value)?;
    let creates = request.kind.strategy.create_on_update && part == Part::Whole;
    let old = match shown(snapshot, request, env) {
        Ok(old) => old,
        Err(Stop::Refused(_)) if creates && existing(snapshot, request).is_err() => {
            return create::new_object(snapshot, request, decoded, false, env);
        }
        Err(stop) => return Err(stop),
    };
    replace(
        snapshot,
        request,
        part,
        &old,
        Change { decoded, is_applied: false, is_patch: false },
        env,
    )
}

/// What is to become of an object.
pub(crate) struct Change {
    /// The part as the client wants it.
    pub(crate) decoded: Decoded,
    /// Made by apply, which has seen to `managedFields`.
    pub(crate) is_applied: bool,
    /// Made from the stored state, so that a missing `resourceVersion` is no offence.
    pub(crate) is_patch: bool,
}

/// Stores `change` over `old`, or answers with `old` when nothing changes.
pub(crate) fn replace(
    snapshot: &Snapshot,
    request: &Request,
    part: Part,
    old: &Arc<Object>,
    change: Change,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let mut attributes = Attributes::new(snapshot, request, Operation::Update, Some(old));
    attributes.warnings.clone_from(&change.decoded.warnings);
    match replaced(&mut attributes, part, old, change, env) {
        Ok(mut prepared) => {
            if !prepared.writes.is_empty() {
                prepared.writes.extend(attributes.writes);
                prepared.requires = attributes.requires;
            }
            prepared.warnings = attributes.warnings;
            Ok(prepared)
        }
        Err(stop) => Err(stop.warned(attributes.warnings)),
    }
}

fn replaced(
    attributes: &mut Attributes<'_>,
    part: Part,
    old: &Arc<Object>,
    change: Change,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let (snapshot, request) = (attributes.snapshot, attributes.request);
    let kind = &request.kind;
    let value = change.decoded.value;
    check_preconditions(kind, old, &value, change.is_patch)?;
    if part == Part::Scale {
        parts::check_scale(kind, old, &value)?;
    }
    let old_value = content::readable(kind, old);
    let fixed = unchangeable(&value, &old_value);
    let mut value = match part {
        Part::Scale => parts::merge(part, kind, value, &old_value),
        _ => value,
    };
    create::settle_namespace(request, &mut value)?;
    content::default(kind, &mut value);
    if !change.is_applied {
        fields::track(request, part, Some(&old_value), &mut value, env);
    }
    if !matches!(part, Part::Whole | Part::Scale) {
        value = parts::merge(part, kind, value, &old_value);
    }
    keep_system_metadata(&mut value, &old_value);
    attributes.warnings.extend(fields::dedup_owners(&mut value));
    let mut errors = fixed;
    if admission::mutate(attributes, &mut value, env)? {
        errors.extend(changed_metadata(&value, &old_value));
        if !matches!(part, Part::Whole | Part::Scale) {
            value = parts::merge(part, kind, value, &old_value);
        }
        keep_system_metadata(&mut value, &old_value);
    }
    admission::allocate(attributes, &mut value, env)?;
    if part == Part::Whole {
        parts::keep_status(kind, &mut value, &old_value);
        (kind.strategy.prepare_update)(&mut value, &old_value);
        definitions::settle_names(snapshot, request, &mut value, env);
    }
    kind.spell(&mut value);
    count_generation(kind, part, &mut value, &old_value);
    let judged = validation::of_change(kind, part, &value, &old_value);
    errors.extend(judged.errors);
    attributes.warnings.extend(judged.warnings);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, &request.name, &errors).into());
    }
    attributes.warnings.extend((kind.strategy.warnings)(&value, &old_value));
    if part == Part::Whole {
        attributes.warnings.extend(coracle_api::warnings::of(kind, &value, &old_value));
    }
    admission::validate(attributes, &value, env)?;
    write(kind, part, old, &old_value, value, env)
}

fn write(
    kind: &Arc<Kind>,
    part: Part,
    old: &Arc<Object>,
    old_value: &Value,
    value: Value,
    env: &WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    if fields::same_but_for_times(&value, old_value) {
        return Ok(Prepared::answered(Reply::ok(part.answer(kind, old))));
    }
    let object = stored(kind, value, env)?;
    if deletion::is_over(kind, &object) {
        // The reply shows the last state, as upstream's does.
        let expect = Expect::Revision(old.revision());
        let mut prepared = Prepared::answered(Reply::ok(part.answer(kind, &Arc::new(object))));
        prepared.writes = vec![Write::delete(old.key().clone(), expect)];
        return Ok(prepared);
    }
    Ok(Prepared::writing(200, Write::put(object, Expect::Revision(old.revision())), part, kind))
}

/// The name in the body is the one in the URL.
pub(crate) fn check_name(request: &Request, value: &Value) -> Result<(), Status> {
    let name = text(value, "/metadata/name");
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            request.name
        )));
    }
    if name != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    Ok(())
}

fn check_preconditions(
    kind: &Kind,
    old: &Object,
    value: &Value,
    is_patch: bool,
) -> Result<(), Status> {
    let (uid, revision) = (text(value, "/metadata/uid"), text(value, "/metadata/resourceVersion"));
    let was = old.metadata();
    // A patch says what the object is to become; in whole objects a UID says which is meant.
    if !uid.is_empty() && uid != was.uid && !is_patch {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            was.uid
        );
        return Err(Status::conflict(kind, &was.name, why));
    }
    if revision.is_empty() && !is_patch && !kind.strategy.unconditional_update {
        let why = "must be specified for an update";
        let error = FieldError::invalid("metadata.resourceVersion", &json!(0), why);
        return Err(Status::invalid(kind, &was.name, &[error]));
    }
    if !revision.is_empty() && revision.parse::<u64>().is_err() {
        // Upstream takes this for a failure of its own.
        let why = format!("strconv.ParseUint: parsing {revision:?}: invalid syntax");
        return Err(Status::failure(500, "", why));
    }
    if !revision.is_empty() && revision != "0" && revision != was.resource_version {
        return Err(Status::modified(kind, &was.name));
    }
    Ok(())
}

/// What of the metadata no update may say otherwise; what the server keeps anyway is no error.
fn unchangeable(value: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (&value["metadata"], &old["metadata"]);
    let is_other = |field: &str| !new[field].is_null() && new[field] != old[field];
    let error =
        |field: &str, why| FieldError::invalid(format!("metadata.{field}"), &new[field], why);
    let mut errors = Vec::new();
    if is_other("uid") && new["uid"] != "" {
        errors.push(error("uid", "field is immutable"));
    }
    // One that is set stays, whatever the client says.
    if is_other("deletionTimestamp") && old["deletionTimestamp"].is_null() {
        errors.push(error("deletionTimestamp", "field is immutable"));
    }
    if is_other("deletionGracePeriodSeconds") {
        let why = "field is immutable; may only be changed via deletion";
        errors.push(error("deletionGracePeriodSeconds", why));
    }
    errors
}

/// What of the metadata admission has changed and must not: it is kept, and the change refused.
fn changed_metadata(value: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (&value["metadata"], &old["metadata"]);
    let fixed = ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"];
    let changed = fixed.into_iter().filter(|field| new[*field] != old[*field]);
    let error =
        |field| FieldError::invalid(format!("metadata.{field}"), &new[field], "field is immutable");
    changed.map(error).collect()
}

/// What only the server says of an object stays as it was.
fn keep_system_metadata(value: &mut Value, old: &Value) {
    let fields = metadata(value);
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
        "generateName",
    ] {
        match &old["metadata"][field] {
            Value::Null => fields.remove(field),
            kept => fields.insert(field.into(), kept.clone()),
        };
    }
}

/// A change of anything but metadata and status is a new generation; of a Deployment's annotations
/// too, unless its status is written with them.
fn count_generation(kind: &Kind, part: Part, value: &mut Value, old: &Value) {
    if !kind.strategy.has_generation {
        return;
    }
    let changed = !semantic::equal_but(&["metadata", "status"], value, old);
    let annotations = |value: &Value| {
        let all = value["metadata"]["annotations"].as_object();
        all.filter(|all| !all.is_empty()).cloned()
    };
    let annotated = kind.strategy.counts_annotations
        && part != Part::Status
        && annotations(value) != annotations(old);
    if changed || annotated {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
        metadata(value).insert("generation".into(), (generation + 1).into());
    }
}
