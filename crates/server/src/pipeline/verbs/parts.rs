//! What a subresource changes of its object: everything else stays as it is stored.

use std::sync::Arc;

use coracle_api::{FieldError, Kind, Object, Status, Subresource, resources};
use serde_json::Value;

use crate::pipeline::content::{self, Decoded};
use crate::pipeline::request::Request;
use crate::pipeline::verbs::{Part, map_at, scale, text};

/// The body of an update of `part`.
pub(crate) fn body(request: &Request, part: Part) -> Result<Decoded, Status> {
    match part {
        Part::Scale => {
            let value = content::other(request, scale::DEFINITION)?;
            if text(&value, "/kind") != "Scale" {
                let kind = text(&value, "/kind");
                return Err(Status::bad_request(format!("cannot use a {kind:?} as a Scale")));
            }
            Ok(Decoded::plain(value))
        }
        _ => content::object(request),
    }
}

/// Whether `value` may be the new Scale of `old`.
pub(crate) fn check_scale(kind: &Kind, old: &Arc<Object>, value: &Value) -> Result<(), Status> {
    let replicas = &value["spec"]["replicas"];
    if replicas.as_i64().unwrap_or_default() >= 0 {
        return Ok(());
    }
    let error =
        FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
    let scale = Kind { group: "autoscaling".into(), kind: "Scale".into(), ..kind.clone() };
    Err(Status::invalid(&scale, &old.metadata().name, &[error]))
}

/// The stored object with the part that `value` brings.
pub(crate) fn merge(part: Part, kind: &Kind, value: Value, old: &Value) -> Value {
    if part == Part::Whole {
        return value;
    }
    let mut new = old.clone();
    match part {
        Part::Whole => {}
        Part::Status => {
            take_status(kind, &value, &mut new);
            (kind.strategy.prepare_status)(&mut new, old);
            content::default(kind, &mut new);
        }
        Part::Scale => {
            let replicas = value["spec"]["replicas"].as_i64().unwrap_or_default();
            scale::set(&kind.scale, &mut new, &replicas.into());
        }
        Part::EphemeralContainers => {
            copy(&value, &mut new, "spec", "ephemeralContainers");
            content::default(kind, &mut new);
        }
        Part::Resize => resize(&value, &mut new),
        Part::Finalize => copy(&value, &mut new, "spec", "finalizers"),
        Part::Approval => {
            copy(&value, &mut new, "status", "conditions");
            for field in ["labels", "annotations"] {
                copy(&value, &mut new, "metadata", field);
            }
        }
    }
    copy(&value, &mut new, "metadata", "managedFields");
    new
}

/// The stored object with the status of `value`; kinds compiled in also take what upstream's let a
/// status update change of the metadata.
fn take_status(kind: &Kind, value: &Value, new: &mut Value) {
    match &value["status"] {
        Value::Null => {
            map_at(new, "status").clear();
        }
        status => new["status"] = status.clone(),
    }
    let taken: &[&str] = match (kind.types.is_some(), kind.group.is_empty()) {
        (true, _) => &[],
        (false, true) => &["labels", "annotations", "finalizers", "ownerReferences"],
        (false, false) => &["annotations"],
    };
    for field in taken {
        copy(value, new, "metadata", field);
    }
}

/// What clients say of the status on create is dropped where a subresource is for it.
pub(crate) fn drop_status(kind: &Kind, value: &mut Value) {
    // A kubelet says with its node in which state that is.
    let keeps = kind.group_resource() == resources::NODES;
    if !keeps
        && kind.subresource(Subresource::Status).is_some()
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("status");
    }
}

/// What clients say of the status on update, likewise.
pub(crate) fn keep_status(kind: &Kind, value: &mut Value, old: &Value) {
    if kind.subresource(Subresource::Status).is_none() {
        return;
    }
    if let Some(fields) = value.as_object_mut() {
        match &old["status"] {
            Value::Null => fields.remove("status"),
            status => fields.insert("status".into(), status.clone()),
        };
    }
}

fn copy(from: &Value, to: &mut Value, parent: &str, field: &str) {
    match &from[parent][field] {
        Value::Null => {
            map_at(to, parent).remove(field);
        }
        value => {
            map_at(to, parent).insert(field.into(), value.clone());
        }
    }
}

/// The resources of containers; where they are not the same ones, all that is said of them, which
/// validation refuses.
fn resize(from: &Value, to: &mut Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let names = |pod: &Value, list: &str| -> Vec<Value> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.map(|container| container["name"].clone()).collect()
    };
    if LISTS.iter().any(|list| names(from, list) != names(to, list)) {
        return LISTS.iter().for_each(|list| copy(from, to, "spec", list));
    }
    for list in LISTS {
        let wanted = from["spec"][list].as_array().into_iter().flatten();
        let containers = to["spec"].get_mut(list).and_then(Value::as_array_mut);
        for (container, wanted) in containers.into_iter().flatten().zip(wanted) {
            for field in ["resources", "resizePolicy"] {
                let Some(container) = container.as_object_mut() else { continue };
                match &wanted[field] {
                    Value::Null => drop(container.remove(field)),
                    value => drop(container.insert(field.to_owned(), value.clone())),
                }
            }
        }
    }
    copy(from, to, "spec", "resources");
}
