//! patch: JSON patch, merge patch, strategic merge patch and apply; each ends in an update.

use std::sync::Arc;

use coracle_api::managed_fields::{Target, apply, check};
use coracle_api::patch::{JsonPatch, PatchError, go_text, merge, strategic};
use coracle_api::schema::{Schema, Type};
use coracle_api::{Object, Status, kind, structural};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use crate::pipeline::content::{self, Decoded, Unfit};
use crate::pipeline::request::{Body, Content, FieldValidation, Request};
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::update::{self, Change};
use crate::pipeline::verbs::versions::shown;
use crate::pipeline::verbs::{Part, create, existing, metadata, scale, text};
use crate::pipeline::write::calls::Stop;
use crate::pipeline::write::{Prepared, WriteEnv};

/// Changes the part of the object that `request` names as its patch says.
///
/// # Errors
/// 400 and 422 for a patch that is none or does not apply, 404, 409, 415.
pub fn prepare(
    snapshot: &Snapshot,
    request: &Request,
    part: Part,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let Body::Encoded(content, bytes) = &request.body else {
        return Err(Status::bad_request("a patch must say of which type it is").into());
    };
    if *content == Content::ApplyPatch {
        let patch = content::decode_patch(*content, bytes)?;
        return applied(snapshot, request, part, patch, env);
    }
    let old = &shown(snapshot, request, env)?;
    let patch = decoded(*content, bytes)?;
    let document = readable(request, part, old);
    let apply = || patched(request, part, *content, &document, &patch.value);
    let made = Decoded { value: apply()?, ..patch.clone() };
    let fitting = match part {
        Part::Scale => scale(request, made),
        _ => content::patched(request, made),
    };
    let decoded = fitting.map_err(|unfit| {
        let shown = match content {
            Content::StrategicMergePatch => go_text(&patch.value),
            _ => apply().unwrap_or_default().to_string(),
        };
        unfit.of_patch(&shown)
    })?;
    update::check_name(request, &decoded.value)?;
    let change = Change { decoded, is_applied: false, is_patch: true };
    update::replace(snapshot, request, part, old, change, env)
}

/// A patch as its media type has it; `null` changes nothing, as in Go.
fn decoded(content: Content, bytes: &[u8]) -> Result<Decoded, Status> {
    let mut patch = content::decode_patch(content, bytes)?;
    if patch.value.is_null() && content == Content::JsonPatch {
        patch.value = json!([]);
    }
    if patch.value.is_null() && content == Content::StrategicMergePatch {
        patch.value = json!({});
    }
    if content == Content::JsonPatch {
        patch.warnings.extend(JsonPatch::unknown_fields(&patch.value));
        patch.warnings.iter_mut().for_each(|warning| warning.insert_str(0, "json patch "));
    }
    Ok(patch)
}

/// What a patch made of a Scale.
fn scale(request: &Request, mut made: Decoded) -> Result<Decoded, Unfit> {
    let schema = Schema::builtin();
    let unknown = structural::decode_as(schema, scale::DEFINITION, &mut made.value, true)
        .map_err(|error| Unfit::Fields(error.to_string()))?;
    if request.options.field_validation == FieldValidation::Strict && !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Unfit::Fields(format!("strict decoding error: {unknown}")));
    }
    Ok(made)
}

fn readable(request: &Request, part: Part, old: &Object) -> Value {
    match part {
        Part::Scale => scale::of(&request.kind.scale, old),
        _ => content::readable(&request.kind, old),
    }
}

fn patched(
    request: &Request,
    part: Part,
    content: Content,
    document: &Value,
    patch: &Value,
) -> Result<Value, Status> {
    let patched = match content {
        Content::JsonPatch => JsonPatch::parse(patch).and_then(|patch| patch.apply(document)),
        Content::MergePatch => merge::apply(document, patch),
        _ => strategically(request, part, document, patch)?.map(|mut value| {
            // Upstream merges into the object itself, whose type no patch can change.
            value["apiVersion"] = document["apiVersion"].clone();
            value["kind"] = document["kind"].clone();
            value
        }),
    };
    patched.map_err(|error| error.status())
}

fn strategically(
    request: &Request,
    part: Part,
    document: &Value,
    patch: &Value,
) -> Result<Result<Value, PatchError>, Status> {
    let kind = &request.kind;
    if kind.types.is_some() {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json-patch+json, application/merge-patch+json, \
                       application/apply-patch+yaml";
        return Err(Status::failure(415, "UnsupportedMediaType", message));
    }
    let (schema, name) = match part {
        Part::Scale => (Schema::builtin(), scale::DEFINITION),
        _ => (kind.types(), &*kind.schema),
    };
    let ty = schema.type_named(name).unwrap_or(&Type::Any);
    Ok(strategic::apply(schema, ty, document, patch))
}

/// Server-side apply: the object is made when it is not there.
fn applied(
    snapshot: &Snapshot,
    request: &Request,
    part: Part,
    mut patch: Decoded,
    env: &mut WriteEnv<'_>,
) -> Result<Prepared, Stop> {
    let kind = &*request.kind;
    let lines = std::mem::take(&mut patch.lines);
    let target = Target { schema: kind.types(), kind, subresource: part.subresource() };
    let decoded = match part {
        Part::Scale => as_parent(request, patch)?,
        _ => {
            check(target, &patch.value).map_err(|error| error.status())?;
            content::configuration(request, patch)?
        }
    };
    let mut value = decoded.value;
    complete_metadata(request, &mut value)?;
    let old: Option<Arc<Object>> = match existing(snapshot, request) {
        Ok(_) => Some(shown(snapshot, request, env)?),
        Err(status) if part != Part::Whole => return Err(status.into()),
        Err(_) => None,
    };
    let old = old.as_ref();
    let live = old.map(|old| content::readable(&request.kind, old));
    let options = &request.options;
    let now = rfc3339(env.now);
    let merged = apply(target, live.as_ref(), &value, &options.field_manager, options.force, &now)
        .map_err(|error| error.status())?;
    let warnings = [content::twice_applied(request, lines)?, decoded.warnings].concat();
    let decoded = Decoded { value: merged, warnings, lines: Vec::new() };
    let decoded = content::checked(request, decoded)?;
    match old {
        None => {
            refuse_uid(request, &decoded.value)?;
            create::new_object(snapshot, request, decoded, true, env)
        }
        Some(old) => {
            let change = Change { decoded, is_applied: true, is_patch: true };
            update::replace(snapshot, request, part, old, change, env)
        }
    }
}

/// Who says which object is meant does not want another of its name.
fn refuse_uid(request: &Request, value: &Value) -> Result<(), Status> {
    let uid = text(value, "/metadata/uid");
    if uid.is_empty() {
        return Ok(());
    }
    let why = format!(
        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    );
    Err(Status::conflict(&request.kind, &request.name, why))
}

/// A Scale that is applied, as what it means for the object that it scales.
fn as_parent(request: &Request, mut patch: Decoded) -> Result<Decoded, Status> {
    let said = (text(&patch.value, "/apiVersion"), text(&patch.value, "/kind"));
    if !matches!(said, ("autoscaling/v1", "Scale")) {
        let message = format!("invalid object type: {}", kind::type_of(&patch.value));
        return Err(Status::bad_request(message));
    }
    patch.value = content::as_definition(patch.value, scale::DEFINITION)?;
    let replicas = patch.value["spec"]["replicas"].take();
    patch.value = json!({"metadata": patch.value["metadata"]});
    if !replicas.is_null() {
        scale::set(&request.kind.scale, &mut patch.value, &replicas);
    }
    patch.value["apiVersion"] = request.kind.api_version().into();
    patch.value["kind"] = request.kind.kind.to_string().into();
    Ok(patch)
}

fn complete_metadata(request: &Request, value: &mut Value) -> Result<(), Status> {
    if text(value, "/metadata/name").is_empty() {
        metadata(value).insert("name".into(), request.name.clone().into());
    }
    if request.kind.is_namespaced() && text(value, "/metadata/namespace").is_empty() {
        metadata(value).insert("namespace".into(), request.namespace.clone().into());
    }
    update::check_name(request, value)
}
