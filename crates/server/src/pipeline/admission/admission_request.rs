//! What is told of a write, but for the objects: `AdmissionRequest`.

use coracle_api::Kind;
use serde_json::{Value, json};

use super::Operation;
use super::subject::Subject;
use crate::pipeline::request::{FieldValidation, Options};
use crate::pipeline::verbs::deletion::DeleteOptions;

/// `AdmissionRequest`, without its uid and the objects.
pub(super) fn about(subject: &Subject<'_>, row: &Kind, object: &Value) -> Value {
    let own = &subject.request.kind;
    let mut request = json!({
        "kind": subject.body_kind(row, object),
        "resource": resource(row),
        "requestKind": subject.body_kind(own, object),
        "requestResource": resource(own),
        "operation": subject.operation(),
        "userInfo": subject.request.user.info(),
        "dryRun": subject.is_dry_run(),
        "options": options(subject),
    });
    let texts = [
        ("subResource", subject.subresource()),
        ("requestSubResource", subject.subresource()),
        ("name", subject.name(object)),
        ("namespace", subject.namespace.as_str()),
    ];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[field] = text.into();
    }
    request
}

fn resource(row: &Kind) -> Value {
    json!({"group": row.group, "version": row.version, "resource": row.plural})
}

/// The options of what is done, which may be something else than what was asked: a patch is an update,
/// and creates what is not there.
fn options(subject: &Subject<'_>) -> Value {
    let asked = &subject.request.options;
    match (subject.operation, subject.deletion) {
        (Operation::Create, _) => of_write("CreateOptions", asked),
        (Operation::Update, _) => of_write("UpdateOptions", asked),
        (Operation::Delete, Some(deletion)) => of_deletion(deletion),
        (Operation::Delete, None) => of_deletion(&DeleteOptions::default()),
        (Operation::Connect, _) => Value::Null,
    }
}

fn of_write(kind: &str, asked: &Options) -> Value {
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if asked.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if !asked.field_manager.is_empty() {
        options["fieldManager"] = asked.field_manager.clone().into();
    }
    match asked.field_validation {
        FieldValidation::Warn => {}
        FieldValidation::Ignore => options["fieldValidation"] = "Ignore".into(),
        FieldValidation::Strict => options["fieldValidation"] = "Strict".into(),
    }
    options
}

fn of_deletion(asked: &DeleteOptions) -> Value {
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    if asked.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if let Some(seconds) = asked.grace_period_seconds {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if !asked.propagation_policy.is_empty() {
        options["propagationPolicy"] = asked.propagation_policy.clone().into();
    }
    if let Some(uid) = &asked.uid {
        options["preconditions"]["uid"] = uid.clone().into();
    }
    if let Some(revision) = &asked.resource_version {
        options["preconditions"]["resourceVersion"] = revision.clone().into();
    }
    options
}
