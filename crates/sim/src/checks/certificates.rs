//! CertificateSigningRequests: signed when somebody approved what fits, with what was asked for, once;
//! and cleaned away when nobody needs them, not before.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use coracle_api::{Object, Timestamp};
use coracle_store::Snapshot;
use serde_json::Value;

use super::{Actor, Change};
use crate::outside::certificate;
use crate::runtime::later;

/// The label that says whether a request is one that its signer signs.
pub(crate) const FITS: &str = "fits";
const APPROVER: &str = "certificatesigningrequest-approving-controller";
const CLEANER: &str = "certificatesigningrequest-cleaner-controller";
const OWN: &str = "kubernetes.io/";
const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

pub(super) fn check(actor: &Actor, changes: &[Change], now: Timestamp) -> Result<(), String> {
    let own = changes.iter().filter(|it| *it.key.resource == *REQUESTS);
    for Change { key, old, new } in own {
        match (old, new) {
            (Some(old), Some(new)) => changed(actor, old, new)?,
            (Some(old), None) if *actor == Actor::Controller(CLEANER) && !is_over(old, now) => {
                return Err(format!("{key} was cleaned away too early: {}", old.value()["status"]));
            }
            _ => {}
        }
        if let Some(new) = new.as_ref().filter(|it| has(it, "Approved") && has(it, "Denied")) {
            return Err(format!("{} is approved and denied", new.key()));
        }
    }
    Ok(())
}

fn changed(actor: &Actor, old: &Arc<Object>, new: &Arc<Object>) -> Result<(), String> {
    let (key, was, is) = (new.key(), issued(old), issued(new));
    if was.is_some() && was != is {
        return Err(format!("{key} had a certificate and has another"));
    }
    let by_us = matches!(actor, Actor::Controller(_));
    if let Some(is) = is.filter(|_| was.is_none() && by_us) {
        let may = has(old, "Approved") && !has(old, "Denied") && !has(old, "Failed");
        if !may || !fits(old) {
            let status = &old.value()["status"];
            return Err(format!("{key} was signed, and fits: {}: {status}", fits(old)));
        }
        let asked = old.str_at("/spec/request").unwrap_or_default();
        if is != STANDARD.encode(certificate(asked)) {
            return Err(format!("{key} got what it did not ask for"));
        }
    }
    let is_new = |what: &str| has(new, what) && !has(old, what);
    if is_new("Approved") && *actor == Actor::Controller(APPROVER) && !fits(old) {
        return Err(format!("{key} was approved, and does not fit"));
    }
    match by_us && is_new("Failed") && (fits(old) || !signer(old).starts_with(OWN)) {
        true => Err(format!("{key} was refused, and fits or is another signer's")),
        false => Ok(()),
    }
}

fn signer(request: &Object) -> &str {
    request.str_at("/spec/signerName").unwrap_or_default()
}

fn fits(request: &Object) -> bool {
    request.metadata().labels.get(FITS).is_some_and(|fits| fits == "true")
}

fn issued(request: &Object) -> Option<&str> {
    request.str_at("/status/certificate").filter(|it| !it.is_empty())
}

fn conditions(request: &Object) -> impl Iterator<Item = &Value> {
    request.value()["status"]["conditions"].as_array().into_iter().flatten()
}

fn has(request: &Object, what: &str) -> bool {
    conditions(request).any(|it| it["type"] == what)
}

/// Whether it was decided about an hour ago, or nobody has done anything about it for a day.
fn is_over(request: &Object, now: Timestamp) -> bool {
    let old = |text: Option<&str>, seconds: i64| {
        let since = text.and_then(|it| it.parse::<Timestamp>().ok());
        since.is_some_and(|since| later(since, seconds) <= now)
    };
    let decided = |it: &Value| match it["type"].as_str() {
        Some("Approved") if issued(request).is_none() => DAY,
        _ => HOUR,
    };
    old(request.str_at("/metadata/creationTimestamp"), DAY)
        || conditions(request).any(|it| old(it["lastUpdateTime"].as_str(), decided(it)))
}

/// Whether each request has what it waited for.
pub(super) fn rests(snapshot: &Snapshot, now: Timestamp) -> Result<(), String> {
    for request in snapshot.list(REQUESTS, None) {
        let (key, status) = (request.key(), &request.value()["status"]);
        // Looked at when it is time, and not before.
        let decided = has(request, "Denied") || has(request, "Failed") || issued(request).is_some();
        if decided && conditions(request).next().is_some() && is_over(request, now) {
            return Err(format!("{key} is still there: {status}"));
        }
        let waits = has(request, "Approved") && !decided;
        if waits && signer(request).starts_with(OWN) {
            return Err(format!("{key} is approved and has nothing: {status}"));
        }
    }
    Ok(())
}
