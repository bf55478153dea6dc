//! Certificate signing requests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cursor::{Errors, Field};
use crate::certificates::{CERTIFICATE, CertificateRequest};
use crate::{FieldError, names};

/// The shortest life of a certificate that may be asked for.
const SECONDS_MIN: i64 = 600;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Of requests of a version that is not served any more.
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Conditions that are given once and stay.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// A CertificateSigningRequest, new or changed.
pub fn certificate_signing_request(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        request(errors, &spec.child("request"));
        usages(errors, &spec.child("usages"));
        signer(errors, &spec.child("signerName"));
        let seconds = spec.child("expirationSeconds");
        if seconds.is_set() && seconds.int() < SECONDS_MIN {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(&seconds, why);
        }
    })
}

/// A new CertificateSigningRequest, besides.
pub fn certificate_signing_request_create(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let signer = Field::root(object).child("spec").child("signerName");
        if signer.text() == LEGACY {
            let why = "the legacy signerName is not allowed via this API version";
            errors.invalid(&signer, why);
        }
    })
}

/// A request for a certificate in PEM, as base64.
fn request(errors: &mut Errors, request: &Field<'_>) {
    if request.is_empty() {
        errors.required(request, "");
        return;
    }
    let text = STANDARD.decode(request.text()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let has = |what: &str| text.contains(&format!("-----{what} CERTIFICATE REQUEST-----"));
    if !has("BEGIN") || !has("END") {
        errors.invalid(request, "PEM block type must be CERTIFICATE REQUEST");
    } else if CertificateRequest::from_pem(&text).is_none() {
        errors.invalid(request, "the PEM block holds no certificate request (RFC 2986)");
    }
}

fn usages(errors: &mut Errors, usages: &Field<'_>) {
    if usages.is_empty() {
        errors.required(usages, "");
    }
    let mut seen: Vec<&str> = Vec::new();
    for usage in usages.items() {
        errors.one_of_if_set(&usage, &USAGES);
        if seen.contains(&usage.text()) {
            errors.duplicate(&usage);
        }
        seen.push(usage.text());
    }
}

/// `DOMAIN/PATH`.
fn signer(errors: &mut Errors, signer: &Field<'_>) {
    if signer.is_empty() {
        errors.required(signer, "");
        return;
    }
    let (domain, path) = match signer.text().split('/').collect::<Vec<_>>().as_slice() {
        [domain, path] => (*domain, *path),
        _ => {
            let why =
                "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.invalid(signer, why);
            return;
        }
    };
    for sentence in names::dns1123_subdomain(domain) {
        let why = format!("validating label {domain:?}: {sentence}");
        errors.invalid_as(signer, &domain.into(), &why);
    }
    if domain.split('.').count() < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid_as(signer, &domain.into(), why);
    }
    for label in path.split('.') {
        for sentence in names::dns1123_label(label) {
            let why = format!("validating label {label:?}: {sentence}");
            errors.invalid_as(signer, &path.into(), &why);
        }
    }
}

/// A change of what was decided of a CertificateSigningRequest.
pub fn certificate_signing_request_status(new: &Value, old: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let of = |object| Field::root(object).descend(&["status", "conditions"]);
        let (new_object, old_object) = (new, old);
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
        certificate(errors, new_object, old_object);
        for kind in LASTING {
            let had = old.items().any(|condition| condition.child("type").text() == kind);
            if had && !seen.contains(&kind) {
                let why = format!("updates may not remove a condition of type {kind:?}");
                errors.forbidden(&new, why);
            }
        }
    })
}

/// What a signer has issued is set once, in PEM.
fn certificate(errors: &mut Errors, new: &Value, old: &Value) {
    let of = |object| Field::root(object).descend(&["status", "certificate"]);
    let (new, old) = (of(new), of(old));
    if new.text() == old.text() {
        return;
    }
    if !old.is_empty() {
        let why = "updates may not modify existing certificate content";
        errors.forbidden(&new, why.to_owned());
        return;
    }
    if let Err(why) = check_certificates(new.text()) {
        errors.invalid_as(&new, &"<certificate data>".into(), &why);
    }
}

/// Whether base64 holds certificates in PEM, and nothing else in it.
fn check_certificates(base64: &str) -> Result<(), String> {
    let pem = STANDARD.decode(base64).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    let blocks = pem.split("-----BEGIN ").skip(1);
    let mut count = 0_usize;
    for block in blocks {
        let label = block.split("-----").next().unwrap_or_default();
        if label != CERTIFICATE {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {label:?}"));
        }
        if block.contains(": ") {
            return Err("no PEM block headers are permitted".to_owned());
        }
        count = count.saturating_add(1);
    }
    match count {
        0 => Err("must contain one or more CERTIFICATE PEM blocks".to_owned()),
        _ => Ok(()),
    }
}
