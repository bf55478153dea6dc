//! What a webhook has answered, read as strictly as upstream reads it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::kind::type_of;
use coracle_api::patch::json::type_name;
use coracle_api::{Status, StatusDetails};
use serde_json::Value;

use crate::pipeline::content;
use crate::pipeline::request::Content;

/// The answer to an AdmissionReview.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) is_allowed: bool,
    /// Sentences for whoever asked.
    pub(super) warnings: Vec<String>,
    /// What an audit log is to remember, without the webhook's name before the keys.
    pub(super) annotations: BTreeMap<String, String>,
    /// A JSON patch, not yet read.
    pub(super) patch: Vec<u8>,
    /// Why it is refused: a `metav1.Status`.
    pub(super) result: Value,
}

/// Reads the answer to the review `uid` in `version`; of one that may not change anything when
/// `validates`.
///
/// # Errors
/// Why it is none, as the end of upstream's sentence about a call that failed.
pub(super) fn read(
    body: &str,
    uid: &str,
    version: &str,
    validates: bool,
) -> Result<Answer, String> {
    let (review, answer) = decode(body).map_err(|why| format!("failed to call webhook: {why}"))?;
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let Some((answer, typed)) = answer else {
        return Err(invalid("webhook response was absent".to_owned()));
    };
    if version == "v1" {
        check_type(&review, &typed.uid, uid).map_err(invalid)?;
        check_patch(&typed, validates).map_err(invalid)?;
    }
    let patch = if validates { Vec::new() } else { typed.patch };
    if !patch.is_empty() && version == "v1" && typed.patch_type.as_deref() != Some("JSONPatch") {
        let named = typed.patch_type.unwrap_or_default();
        return Err(format!("unsupported patch type {named:?}"));
    }
    Ok(Answer {
        is_allowed: typed.is_allowed,
        warnings: typed.warnings,
        annotations: typed.annotations,
        patch,
        result: answer["status"].clone(),
    })
}

/// The fields of an AdmissionResponse that matter to us.
#[derive(Default)]
struct Typed {
    uid: String,
    is_allowed: bool,
    patch: Vec<u8>,
    patch_type: Option<String>,
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
}

type Decoded = (Value, Option<(Value, Typed)>);

fn decode(body: &str) -> Result<Decoded, String> {
    let decoded = content::decode(Content::Json, body.as_bytes());
    let mut review = decoded.map_err(|status| status.message)?.value;
    if !review.is_object() {
        let found = type_name(&review);
        return Err(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go \
             value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind \
             string \"json:\\\"kind,omitempty\\\"\" }}"
        ));
    }
    let answer = review["response"].take();
    match &answer {
        Value::Null => Ok((review, None)),
        Value::Object(_) => {
            let typed = Typed::of(&answer)?;
            Ok((review, Some((answer, typed))))
        }
        other => Err(unlike(other, "response", "v1.AdmissionResponse")),
    }
}

/// Go's words for a value of another type.
fn unlike(found: &Value, field: &str, wanted: &str) -> String {
    format!(
        "json: cannot unmarshal {} into Go struct field AdmissionReview.{field} of type {wanted}",
        type_name(found)
    )
}

impl Typed {
    fn of(answer: &Value) -> Result<Self, String> {
        let text = |field: &str| match &answer[field] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            other => Err(unlike(other, &format!("response.{field}"), "string")),
        };
        let is_allowed = match &answer["allowed"] {
            Value::Null => false,
            Value::Bool(is_allowed) => *is_allowed,
            other => return Err(unlike(other, "response.allowed", "bool")),
        };
        let patch = text("patch")?.unwrap_or_default();
        let warnings = match &answer["warnings"] {
            Value::Null => Vec::new(),
            Value::Array(all) => all
                .iter()
                .map(|one| match one {
                    Value::String(text) => Ok(text.clone()),
                    other => Err(unlike(other, "response.warnings", "string")),
                })
                .collect::<Result<_, _>>()?,
            other => return Err(unlike(other, "response.warnings", "[]string")),
        };
        if let other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) =
            &answer["status"]
        {
            return Err(unlike(other, "response.status", "v1.Status"));
        }
        Ok(Self {
            uid: text("uid")?.unwrap_or_default(),
            is_allowed,
            patch: STANDARD.decode(patch).map_err(|error| error.to_string())?,
            patch_type: text("patchType")?,
            warnings,
            annotations: annotations(&answer["auditAnnotations"])?,
        })
    }
}

fn annotations(said: &Value) -> Result<BTreeMap<String, String>, String> {
    let field = "response.auditAnnotations";
    let said = match said {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(said) => said,
        other => return Err(unlike(other, field, "map[string]string")),
    };
    let one = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        other => Err(unlike(other, field, "string")),
    };
    said.iter().map(one).collect()
}

fn check_type(review: &Value, uid: &str, wanted: &str) -> Result<(), String> {
    if uid != wanted {
        return Err(format!("expected response.uid={wanted:?}, got {uid:?}"));
    }
    let (wanted, found) = ("admission.k8s.io/v1, Kind=AdmissionReview", type_of(review));
    match found == wanted {
        true => Ok(()),
        false => Err(format!("expected webhook response of {wanted}, got {found}")),
    }
}

/// A patch and its type come together, and not from those that may only look.
fn check_patch(answer: &Typed, validates: bool) -> Result<(), String> {
    let (is_there, ty) = (!answer.patch.is_empty(), answer.patch_type.as_deref());
    let why = match (validates, is_there, ty) {
        (true, true, _) => "validating webhook may not return response.patch",
        (true, false, Some(_)) => "validating webhook may not return response.patchType",
        (false, true, None) => "webhook returned response.patch but not response.patchType",
        (false, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (false, true, Some("")) => "webhook returned invalid response.patchType of \"\"",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// What the client gets when `hook` has refused, for `result`.
pub(super) fn denial(hook: &str, result: &Value) -> Status {
    let said = |field: &str| result[field].as_str().unwrap_or_default();
    let denied = format!("admission webhook {hook:?} denied the request");
    let message = match (said("message"), said("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let code = match result["code"].as_u64() {
        Some(code @ 400..=599) => u16::try_from(code).unwrap_or(500),
        Some(600..) => 500,
        _ => 400,
    };
    let mut status = Status::failure(code, said("reason").to_owned(), message);
    let details = result.get("details").filter(|details| details.is_object());
    if let Some(details) = details {
        let details: Option<StatusDetails> = serde_json::from_value(details.clone()).ok();
        status.details = details.map(Box::new);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answered(response: Value, validates: bool) -> Result<Answer, String> {
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": response});
        read(&review.to_string(), "u", "v1", validates)
    }

    #[test]
    fn an_answer_is_taken_only_as_it_must_be() {
        let patch = STANDARD.encode("[]");
        let invalid = |why: &str| Err(format!("received invalid webhook response: {why}"));
        let of =
            |validates, response| answered(response, validates).map(|answer| answer.is_allowed);
        assert_eq!(of(true, json!({"uid": "u", "allowed": true})), Ok(true));
        assert_eq!(of(true, json!({"uid": "u"})), Ok(false));
        assert_eq!(of(true, Value::Null), invalid("webhook response was absent"));
        let other = json!({"uid": "v", "allowed": true});
        assert_eq!(of(true, other), invalid("expected response.uid=\"u\", got \"v\""));
        let both = json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"});
        assert_eq!(of(false, both.clone()), Ok(true));
        let why = "validating webhook may not return response.patch";
        assert_eq!(of(true, both.clone()), invalid(why));
        let lone = json!({"uid": "u", "allowed": true, "patch": patch});
        let why = "webhook returned response.patch but not response.patchType";
        assert_eq!(of(false, lone), invalid(why));
        let other = json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "Merge"});
        assert_eq!(of(false, other), Err("unsupported patch type \"Merge\"".to_owned()));
    }

    #[test]
    fn garbage_is_told_as_it_is() {
        for (body, why) in [
            ("<html>", "failed to call webhook: couldn't get version/kind; json parse error: "),
            ("[]", "failed to call webhook: couldn't get version/kind; json parse error: "),
            ("{\"response\": 1}", "failed to call webhook: json: cannot unmarshal number"),
            (
                "{\"response\": {\"uid\": \"u\", \"allowed\": \"yes\"}}",
                "failed to call webhook: json: cannot unmarshal string into Go struct field \
                 AdmissionReview.response.allowed of type bool",
            ),
            (
                "{\"response\": {\"uid\": \"u\", \"allowed\": true}}",
                "received invalid webhook response: expected webhook response of \
                 admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
        ] {
            let said = read(body, "u", "v1", true).unwrap_err();
            assert!(said.starts_with(why), "{body}: {said}");
        }
        // The older version was never so strict.
        assert!(read("{\"response\": {\"allowed\": true}}", "u", "v1beta1", true).is_ok());
    }

    #[test]
    fn a_denial_has_the_code_the_reason_and_the_words_of_its_webhook() {
        let of = |result| {
            let status = denial("a.b.c", &result);
            (status.code, status.reason.into_string(), status.message)
        };
        let text = |rest: &str| format!("admission webhook \"a.b.c\" denied the request{rest}");
        assert_eq!(of(Value::Null), (400, String::new(), text(" without explanation")));
        let result = json!({"code": 403, "reason": "Forbidden", "message": "no"});
        assert_eq!(of(result), (403, "Forbidden".into(), text(": no")));
        let result = json!({"code": 200, "reason": "bad luck"});
        assert_eq!(of(result), (400, "bad luck".into(), text(": bad luck")));
        assert_eq!(of(json!({"code": 70000})).0, 500);
    }
}
