//! Certificate signing requests: who asks, for what, and since when it is granted. A signer trusts
//! what it reads here, so none of it is the client's to say; and whoever may write requests may not
//! yet grant them: a signer's name is a right of its own.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::{FieldError, Kind, Status, resources};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};

use crate::auth::authorize::is_allowed;
use crate::auth::{Action, MASTERS, certificate};
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::source::rfc3339;
use crate::pipeline::verbs::{Part, map_at, text};
use crate::pipeline::write::WriteEnv;

/// Signs certificates with which the API's clients say who they are.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Conditions that only `/approval` gives and takes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Sets who asks for a new request; keeps what was asked, and dates the conditions, of an old one.
pub(super) fn settle(
    attributes: &mut Attributes<'_>,
    csr: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let request = attributes.request;
    if !is_request(&request.kind) {
        return Ok(());
    }
    let Some(old) = attributes.old.map(|old| old.value()) else {
        let spec = map_at(csr, "spec");
        let user = request.user.info();
        for field in ["username", "uid", "groups", "extra"] {
            match user.get(field) {
                None => spec.remove(field),
                Some(value) => spec.insert(field.into(), value.clone()),
            };
        }
        return Ok(());
    };
    csr["spec"] = old["spec"].clone();
    if Part::of(request.subresource) == Some(Part::Status) {
        keep_decisions(&request.kind, csr, old)?;
    }
    date_conditions(csr, old, &rfc3339(env.now));
    Ok(())
}

fn is_request(kind: &Kind) -> bool {
    kind.is(resources::CERTIFICATE_SIGNING_REQUESTS)
}

/// Upstream's CertificateApproval, CertificateSigning and CertificateSubjectRestriction.
pub(super) fn may_grant(attributes: &mut Attributes<'_>, csr: &Value) -> Result<(), Status> {
    if !is_request(&attributes.request.kind) || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let Some(old) = attributes.old.map(|old| old.value()) else {
        return refuse_masters(attributes, csr);
    };
    let (name, signer) = (text(csr, "/metadata/name"), text(csr, "/spec/signerName"));
    let is_signed =
        csr["status"]["certificate"] != old["status"]["certificate"] || failed(csr).ne(failed(old));
    let (verb, what) = match Part::of(attributes.request.subresource) {
        Some(Part::Approval) => ("approve", "approve"),
        Some(Part::Status) if is_signed => ("sign", "sign"),
        _ => return Ok(()),
    };
    let domain = signer.split('/').next().unwrap_or_default();
    if [signer, &format!("{domain}/*")].iter().any(|name| may(attributes, verb, name)) {
        return Ok(());
    }
    let why = format!("user not permitted to {what} requests with signerName {signer:?}");
    Err(attributes.forbidden(name, why))
}

fn failed(csr: &Value) -> impl Iterator<Item = &Value> {
    conditions(csr).filter(|condition| condition["type"] == "Failed")
}

fn may(attributes: &Attributes<'_>, verb: &'static str, signer: &str) -> bool {
    let action = Action::Resource(ResourceRef {
        verb: verb.into(),
        group: attributes.request.kind.group.to_string(),
        version: "v1".into(),
        resource: "signers".into(),
        name: signer.into(),
        ..ResourceRef::default()
    });
    let user = &attributes.request.user;
    user.is_engine || is_allowed(attributes.snapshot, user, &action)
}

/// Nobody asks for the group that no rule limits.
fn refuse_masters(attributes: &Attributes<'_>, csr: &Value) -> Result<(), Status> {
    if text(csr, "/spec/signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let name = text(csr, "/metadata/name");
    let pem = STANDARD.decode(text(csr, "/spec/request")).unwrap_or_default();
    let request = <(SectionKind, Vec<u8>)>::from_pem_slice(&pem).ok();
    let groups = request.and_then(|(_, der)| certificate::requested_groups(&der));
    match groups {
        None => Err(attributes.forbidden(name, "unable to parse csr: it is no PEM of a request")),
        Some(groups) if groups.iter().any(|group| group == MASTERS) => {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            Err(attributes.forbidden(name, why))
        }
        Some(_) => Ok(()),
    }
}

fn conditions(csr: &Value) -> impl Iterator<Item = &Value> {
    csr["status"]["conditions"].as_array().into_iter().flatten()
}

/// A change of the status leaves what was decided as it is.
///
/// # Errors
/// 422 when it would add to that, or take from it.
fn keep_decisions(kind: &Kind, csr: &mut Value, old: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    for decision in DECISIONS {
        let had: Vec<&Value> = conditions(old).filter(|one| one["type"] == decision).collect();
        let all = csr.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        let has = all.into_iter().flatten().filter(|one| one["type"] == decision);
        let has: Vec<&mut Value> = has.collect();
        let verb = match has.len().cmp(&had.len()) {
            Ordering::Equal => {
                has.into_iter().zip(had).for_each(|(place, kept)| place.clone_from(kept));
                continue;
            }
            Ordering::Greater => "add",
            Ordering::Less => "remove",
        };
        let why = format!("updates may not {verb} a condition of type {decision:?}");
        errors.push(FieldError::forbidden("status.conditions", why));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(kind, text(csr, "/metadata/name"), &errors)),
    }
}

fn date_conditions(csr: &mut Value, old: &Value, now: &str) {
    let Some(all) = csr.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    for condition in all {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = json!(now);
        }
        if condition["lastTransitionTime"].is_null() {
            let same = |old: &&Value| {
                old["type"] == condition["type"] && old["status"] == condition["status"]
            };
            let since = conditions(old).find(same).map(|old| old["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(now));
        }
    }
}
