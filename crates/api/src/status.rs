//! `metav1.Status`: every error on the wire, with upstream's codes, reasons and texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FieldError, Kind};

/// A failure as clients see it; rendered as `metav1.Status` with the HTTP code in `code`.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    pub kind: &'static str,
    /// Always `v1`.
    pub api_version: &'static str,
    /// Always empty, or with the `continue` token of an expired list.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `Failure` (or `Success` for the answer to a delete).
    pub status: &'static str,
    /// The sentence that kubectl prints.
    pub message: String,
    /// The word that tools match on: `NotFound`, `Conflict`…
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Box<str>,
    /// What the error is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
    /// HTTP status code.
    pub code: u16,
    /// Sentences for the `Warning` header: what is odd about a request is said of a refused one too.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// What an audit log is to remember of the request; boxed, as there is mostly nothing.
    #[serde(skip)]
    #[allow(clippy::box_collection, reason = "every error is as large as this one")]
    pub annotations: Option<Box<BTreeMap<String, String>>>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its plural resource name (upstream's habit) or its kind (for 422).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry per field or conflict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0 is not sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`…
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The error without its field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Status {
    /// A failure with `code`, `reason` and `message`, and no details.
    pub fn failure(code: u16, reason: impl Into<Box<str>>, message: impl Into<String>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: serde_json::Map::new(),
            status: "Failure",
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
            warnings: Vec::new(),
            annotations: None,
        }
    }

    /// The same with `warnings` before its own.
    #[must_use]
    pub fn warned(mut self, mut warnings: Vec<String>) -> Self {
        warnings.append(&mut self.warnings);
        self.warnings = warnings;
        self
    }

    /// The same, of which an audit log is to remember `annotations`.
    #[must_use]
    pub fn annotated(mut self, annotations: BTreeMap<String, String>) -> Self {
        if !annotations.is_empty() {
            self.annotations.get_or_insert_default().extend(annotations);
        }
        self
    }

    /// The same with details filled in by `fill`.
    #[must_use]
    pub fn with_details(mut self, fill: impl FnOnce(&mut StatusDetails)) -> Self {
        fill(self.details.get_or_insert_with(Box::default));
        self
    }

    fn about(self, kind: &Kind, name: &str) -> Self {
        self.with_details(|details| {
            details.name = name.into();
            details.group = kind.group.to_string();
            details.kind = kind.plural.to_string();
        })
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `RESOURCE "NAME" is forbidden: WHY`.
    pub fn forbidden(kind: &Kind, name: &str, why: impl std::fmt::Display) -> Self {
        let resource = kind.group_resource();
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::failure(403, "Forbidden", message).about(kind, name)
    }

    /// 404: `RESOURCE "NAME" not found`.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.group_resource());
        Self::failure(404, "NotFound", message).about(kind, name)
    }

    /// 404 for a path that is no resource.
    pub fn no_such_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(|_| ())
    }

    /// 405.
    pub fn method_not_allowed(kind: &Kind, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind \"{}\"", kind.group_resource());
        Self::failure(405, "MethodNotAllowed", message).about(kind, "")
    }

    /// 409: an object of this name exists.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.group_resource());
        Self::failure(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409: `Operation cannot be fulfilled on RESOURCE "NAME": WHY`.
    pub fn conflict(kind: &Kind, name: &str, why: impl std::fmt::Display) -> Self {
        let resource = kind.group_resource();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::failure(409, "Conflict", message).about(kind, name)
    }

    /// 409: the object changed since the client read it.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 429: there is no room for the request now; the client shall ask again in a second.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::failure(429, "TooManyRequests", message)
            .with_details(|details| details.retry_after_seconds = 1)
    }

    /// 410: the revision or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 422: `KIND.GROUP "NAME" is invalid: ERRORS`, one cause per error.
    pub fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_of(&kind.group, &kind.kind, name, errors)
    }

    /// The same for what is no kind of the table: `DeleteOptions` of `meta.k8s.io`.
    pub fn invalid_of(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let full = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = format!("{full} \"{name}\" is invalid: {}", FieldError::list(errors));
        Self::failure(422, "Invalid", message).with_details(|details| {
            details.name = name.into();
            details.group = group.into();
            details.kind = kind.into();
            details.causes = errors
                .iter()
                .map(|error| Cause {
                    reason: error.reason().into(),
                    message: error.message(),
                    field: error.field.clone(),
                })
                .collect();
        })
    }

    /// 500.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {error}");
        Self::failure(500, "InternalError", message).with_details(|details| {
            details.causes = vec![Cause { message: error.to_string(), ..Cause::default() }];
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::STATEFUL_SETS;
    use serde_json::json;

    #[test]
    fn one_error_stands_alone_and_several_stand_in_brackets() {
        let replicas =
            FieldError::invalid("spec.replicas", &json!(-1), "must be greater than or equal to 0");
        let one = Status::invalid(&STATEFUL_SETS, "web", std::slice::from_ref(&replicas));
        assert_eq!(
            one.message,
            "StatefulSet.apps \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        let two = Status::invalid(
            &STATEFUL_SETS,
            "web",
            &[replicas, FieldError::required("spec.selector", "")],
        );
        assert!(two.message.ends_with(", spec.selector: Required value]"), "{}", two.message);
    }
}
