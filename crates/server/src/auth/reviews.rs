//! Reviews: questions to the server about users and rights, which are answered and not stored.

use std::collections::BTreeMap;

use coracle_api::resources::{
    LOCAL_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS, SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS,
};
use coracle_api::{FieldError, Kind, Status, Timestamp};
use coracle_store::Snapshot;
use serde_json::{Value, json};

use crate::auth::tokens::{ISSUER, Tokens};
use crate::auth::{Action, authorize, rbac};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::{Request, User};
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::text;

/// What a review is answered from.
pub(crate) struct Facts<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) tokens: Option<&'a Tokens>,
    /// Whose the token in question is, if it is not of our own; or why it is not believed.
    pub(crate) other: Option<&'a Result<User, String>>,
    pub(crate) now: Timestamp,
}

/// Whether a SubjectAccessReview with this `spec`, in JSON, is answered with yes.
///
/// # Errors
/// 400 for what is no question.
pub(crate) fn allows(snapshot: &Snapshot, spec: &str) -> Result<bool, Status> {
    let spec: Value =
        serde_json::from_str(spec).map_err(|error| Status::bad_request(error.to_string()))?;
    let facts = Facts { snapshot, tokens: None, other: None, now: Timestamp::UNIX_EPOCH };
    Ok(access(&facts, &subject(&spec), &spec)["allowed"] == true)
}

/// The review in `body`, answered.
///
/// # Errors
/// 404 when the request is no review, 400 for a question that is none.
pub(crate) fn answer(
    facts: &Facts<'_>,
    request: &Request,
    mut body: Value,
) -> Result<Value, Status> {
    let kind = &request.kind;
    body["kind"] = kind.kind.to_string().into();
    body["apiVersion"] = kind.api_version().into();
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    if kind.is(SELF_SUBJECT_REVIEWS) {
        body["metadata"]["creationTimestamp"] = rfc3339(facts.now).into();
    }
    let errors = wrong(kind, &request.namespace, &body["spec"]);
    if !errors.is_empty() {
        return Err(Status::invalid(kind, "", &errors));
    }
    body["status"] = match &*kind.group_resource() {
        SELF_SUBJECT_REVIEWS => json!({"userInfo": request.user.info()}),
        SELF_SUBJECT_ACCESS_REVIEWS => access(facts, &request.user, &body["spec"]),
        SELF_SUBJECT_RULES_REVIEWS => match text(&body, "/spec/namespace") {
            "" => return Err(Status::bad_request("no namespace on request")),
            namespace => rules(facts, &request.user, namespace),
        },
        SUBJECT_ACCESS_REVIEWS | LOCAL_SUBJECT_ACCESS_REVIEWS => {
            access(facts, &subject(&body["spec"]), &body["spec"])
        }
        TOKEN_REVIEWS => token(facts, &body["spec"])?,
        _ => return Err(Status::no_such_path()),
    };
    Ok(body)
}

/// What is wrong with the question of an access review.
fn wrong(kind: &Kind, namespace: &str, spec: &Value) -> Vec<FieldError> {
    let invalid = |field: &str, value: &Value, why: &str| {
        vec![FieldError::invalid(format!("spec.{field}"), value, why)]
    };
    if !kind.kind.ends_with("SubjectAccessReview") {
        return Vec::new();
    }
    let (asked, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = match (asked.is_null(), path.is_null()) {
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            invalid("nonResourceAttributes", path, why)
        }
        (true, true) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            invalid("resourceAttributes", path, why)
        }
        _ => Vec::new(),
    };
    let is_anybody = text(spec, "/user").is_empty() && spec["groups"].is_null();
    if !kind.is(SELF_SUBJECT_ACCESS_REVIEWS) && is_anybody {
        let why = "at least one of user or group must be specified";
        errors.extend(invalid("user", &json!(""), why));
    }
    if kind.is(LOCAL_SUBJECT_ACCESS_REVIEWS) {
        if !path.is_null() {
            let why = "disallowed on this kind of request";
            errors.extend(invalid("nonResourceAttributes", path, why));
        } else if text(asked, "/namespace") != namespace {
            let why = "must match metadata.namespace";
            errors.extend(invalid("resourceAttributes.namespace", &asked["namespace"], why));
        }
    }
    errors
}

fn subject(spec: &Value) -> User {
    let groups: Vec<String> = serde_json::from_value(spec["groups"].clone()).unwrap_or_default();
    let extra: BTreeMap<String, Vec<String>> =
        serde_json::from_value(spec["extra"].clone()).unwrap_or_default();
    let (name, uid) = (text(spec, "/user").to_owned(), text(spec, "/uid").to_owned());
    User { name, uid, groups, extra, is_engine: false }
}

/// `SubjectAccessReviewStatus`.
fn access(facts: &Facts<'_>, user: &User, spec: &Value) -> Value {
    let action = match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
        (Value::Null, path) => Action::Path {
            verb: text(path, "/verb").to_owned(),
            path: text(path, "/path").to_owned(),
        },
        (asked, _) => Action::Resource(resource(asked)),
    };
    let Some(reason) = authorize::reason(facts.snapshot, user, &action) else {
        return json!({"allowed": false});
    };
    match reason.to_string() {
        words if words.is_empty() => json!({"allowed": true}),
        words => json!({"allowed": true, "reason": words}),
    }
}

fn resource(asked: &Value) -> ResourceRef {
    let at = |field: &str| text(asked, &format!("/{field}")).to_owned();
    ResourceRef {
        verb: at("verb").into(),
        group: at("group"),
        version: at("version"),
        namespace: at("namespace"),
        resource: at("resource"),
        name: at("name"),
        subresource: at("subresource"),
        ..ResourceRef::default()
    }
}

/// `SubjectRulesReviewStatus`.
fn rules(facts: &Facts<'_>, user: &User, namespace: &str) -> Value {
    let mut all: Vec<Value> = Vec::new();
    let mut paths: Vec<Value> = Vec::new();
    if user.is_in(crate::auth::MASTERS) {
        all.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in rbac::all_rules(facts.snapshot, user, namespace) {
        let rule = json!(rule);
        match rule.get("resources") {
            Some(_) => all.push(rule),
            None => paths.push(rule),
        }
    }
    json!({"resourceRules": all, "nonResourceRules": paths, "incomplete": false})
}

/// `TokenReviewStatus`.
fn token(facts: &Facts<'_>, spec: &Value) -> Result<Value, Status> {
    let token = text(spec, "/token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences: Vec<String> =
        serde_json::from_value(spec["audiences"].clone()).unwrap_or_default();
    if audiences.is_empty() {
        audiences.push(ISSUER.into());
    }
    let failed = |why: &str| json!({"error": why, "user": {}});
    if let Some(other) = facts.other {
        // They are meant for the API, and for nobody else.
        audiences.retain(|audience| audience == ISSUER);
        return Ok(match other {
            Ok(_) if audiences.is_empty() => failed("token audiences are not for this server"),
            Ok(user) => json!({"authenticated": true, "user": user.info(), "audiences": audiences}),
            Err(why) => failed(&format!("[invalid bearer token, {why}]")),
        });
    }
    let tokens = facts.tokens.ok_or_else(|| Status::internal("there are no tokens here"))?;
    Ok(match tokens.verify(facts.snapshot, token, &audiences, facts.now) {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user.info(), "audiences": audiences})
        }
        Err(error) => failed(&error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_no_request_has_is_asked_about_as_it_stands() {
        let asked = resource(&json!({"verb": "sync", "group": "example.com", "resource": "boats"}));
        assert_eq!((&*asked.verb, &*asked.resource), ("sync", "boats"));
    }

    #[test]
    fn a_question_that_is_none_is_refused_in_upstreams_words() {
        let (pods, path) = (json!({"namespace": "a"}), json!({"path": "/"}));
        let subject = "subjectaccessreviews";
        let kinds = coracle_api::Kinds::builtin();
        for (plural, spec, errors) in [
            (subject, json!({"user": "u", "resourceAttributes": pods}), vec![]),
            (
                subject,
                json!({"resourceAttributes": pods, "nonResourceAttributes": path}),
                vec![
                    "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: cannot be specified in combination with resourceAttributes",
                    "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                ],
            ),
            (
                "selfsubjectaccessreviews",
                json!({}),
                vec![
                    "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                ],
            ),
            (
                "localsubjectaccessreviews",
                json!({"user": "u", "resourceAttributes": pods}),
                vec![
                    "spec.resourceAttributes.namespace: Invalid value: \"a\": must match metadata.namespace",
                ],
            ),
        ] {
            let kind = kinds.resource("authorization.k8s.io", "v1", plural).unwrap();
            let found: Vec<String> =
                wrong(kind, "b", &spec).iter().map(ToString::to_string).collect();
            assert_eq!(found, errors, "{plural}");
        }
    }
}
