//! What a webhook is asked: an AdmissionReview.

use coracle_api::{Call, Kind, Post, Status};
use serde_json::{Value, json};

use super::configured::Hook;
use super::subject::Subject;
use crate::pipeline::admission::Operation;
use crate::pipeline::request::{FieldValidation, Options};
use crate::pipeline::source::Entropy;
use crate::pipeline::verbs::deletion::DeleteOptions;

/// The question of a webhook, by which uid its answer is known, and in the form of which row the
/// object is shown.
pub(super) struct Question<'a> {
    pub(super) uid: String,
    pub(super) call: Call,
    pub(super) row: &'a Kind,
}

/// What `hook` is asked: `request`, shown in the form of `row`.
pub(super) fn question<'a>(
    hook: &Hook,
    row: &'a Kind,
    request: Value,
    entropy: &Entropy,
) -> Question<'a> {
    // The same question has the same uid, however often the write is prepared.
    let uid = entropy.uid_of(&format!("{} {} {request}", hook.post.url, hook.name));
    let mut review = json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{}", hook.version),
        "request": request,
    });
    review["request"]["uid"] = uid.clone().into();
    let call = Call::Post(Post { body: review.to_string(), ..hook.post.clone() });
    Question { uid, call, row }
}

/// `AdmissionRequest`, without its uid.
pub(super) fn request(subject: &Subject<'_>, row: &Kind, object: &Value) -> Result<Value, Status> {
    let own = &subject.request.kind;
    let mut request = json!({
        "kind": subject.body_kind(row, object),
        "resource": resource(row),
        "requestKind": subject.body_kind(own, object),
        "requestResource": resource(own),
        "operation": subject.operation(),
        "userInfo": subject.request.user.info(),
        "object": subject.shown(row, object)?,
        "oldObject": subject.shown_before(row)?,
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
    Ok(request)
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
