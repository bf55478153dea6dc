//! Certificate signing requests.

use serde_json::Value;

use super::cursor::{Errors, Field};
use crate::FieldError;

/// The shortest life of a certificate that may be asked for.
const SECONDS_MIN: i64 = 600;
/// Conditions that are given once and stay.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// A CertificateSigningRequest, new or changed.
pub fn certificate_signing_request(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        errors.require_text(&spec.child("request"));
        errors.require_text(&spec.child("usages"));
        errors.require_text(&spec.child("signerName"));
        let seconds = spec.child("expirationSeconds");
        if seconds.is_set() && seconds.int() < SECONDS_MIN {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&seconds, why);
        }
    })
}

/// A change of what was decided of a CertificateSigningRequest.
pub fn certificate_signing_request_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let of = |object| Field::root(object).descend(&["status", "conditions"]);
        let (new, old) = (of(new), of(old));
        let mut seen: Vec<&str> = Vec::new();
        for condition in new.items() {
            let (kind, status) = (condition.child("type"), condition.child("status"));
            errors.require_text(&kind);
            match LASTING.contains(&kind.text()) {
                true => errors.one_of(&status, &["True"]),
                false => errors.one_of(&status, &["False", "True", "Unknown"]),
            }
            if seen.contains(&kind.text()) {
                errors.duplicate(&kind);
            }
            seen.push(kind.text());
            let other = match kind.text() {
                "Approved" => "Denied",
                "Denied" => "Approved",
                _ => continue,
            };
            if seen.contains(&other) {
                errors.invalid(&kind, "Approved and Denied conditions are mutually exclusive");
            }
        }
        for kind in LASTING {
            let had = old.items().any(|condition| condition.child("type").text() == kind);
            if had && !seen.contains(&kind) {
                let why = format!("updates may not remove a condition of type {kind:?}");
                errors.forbidden(&new, why);
            }
        }
    })
}
