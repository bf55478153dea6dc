//! Approved requests get their certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use coracle_api::{Call, Given, Key, Timestamp, time};
use coracle_store::Snapshot;
use serde_json::Value;

use super::request::Request;
use super::rules;
use crate::plan::{Because, Plan, Write};
use crate::table::{Controller, itself};
use crate::{Context, json};

/// The life of a certificate, in seconds, where none is asked for, and at most.
const YEAR: i64 = 365 * 24 * 60 * 60;
const SHORTEST: i64 = 10 * 60;
/// Clocks may be so far behind.
const BACKDATED: i64 = 5 * 60;
/// What is to live shorter than this does so from now on, and not from when it begins.
const SHORT: i64 = 8 * 60 * 60;
/// Seconds after which a signature is asked for again that could not be made.
const AGAIN: i64 = 60;

/// The row of the table.
pub(crate) const SIGNER: Controller = Controller {
    name: "certificatesigningrequest-signing-controller",
    serial: false,
    watches: &[(REQUESTS, itself)],
    decide,
};

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(request) = Request::read(snapshot, key).filter(waits) else { return Plan::default() };
    let Some(asked) = request.asked() else {
        let why = format!("unable to parse csr {:?}", &*key.name);
        return Plan { because: Some(Because::only(why)), ..Plan::default() };
    };
    match rules::check(request.signer(), &asked, &request.usages()) {
        // Another signer's: it is theirs to sign.
        None => return Plan::default(),
        Some(Err(why)) => return failed(&request, &why, context.now),
        Some(Ok(())) => {}
    }
    match context.given {
        None => Plan { asks: Some(question(&request, context.now)), ..Plan::default() },
        Some(Ok(Given::Certificate(pem))) => {
            let certificate = Value::from(STANDARD.encode(pem));
            let signed = json::with(request.object, &["status", "certificate"], certificate);
            Plan::each([Write::status(signed)])
        }
        Some(Err(why)) if why.code == 400 => failed(&request, &why.message, context.now),
        Some(other) => {
            let why = other.as_ref().err().map_or("no answer", |status| &*status.message);
            let mut plan = Plan { because: Some(Because::only(why)), ..Plan::default() };
            plan.look_again_at(time::after(context.now, AGAIN));
            plan
        }
    }
}

fn waits(request: &Request<'_>) -> bool {
    let has = |of: &str| request.condition(of).is_some();
    has("Approved") && !has("Denied") && !has("Failed") && !request.is_issued()
}

/// It will never be signed.
fn failed(request: &Request<'_>, why: &str, now: Timestamp) -> Plan {
    let failed = request.with_condition("Failed", "SignerValidationFailure", why, now);
    Plan::each([Write::status(failed)])
}

fn question(request: &Request<'_>, now: Timestamp) -> Call {
    let asked = request.field("/spec/expirationSeconds").as_i64();
    let life = asked.map_or(YEAR, |seconds| seconds.clamp(SHORTEST, YEAR));
    let until = if life < SHORT { life } else { life.saturating_sub(BACKDATED) };
    Call::Certify {
        request: request.text("/spec/request").to_owned(),
        usages: request.usages().into_iter().map(str::to_owned).collect(),
        not_before: now.as_second().saturating_sub(BACKDATED),
        not_after: now.as_second().saturating_add(until),
    }
}
