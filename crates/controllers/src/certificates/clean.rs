//! Requests go when nobody needs them any more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::resources::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use coracle_api::{Key, Timestamp, certificates, time};
use coracle_store::Snapshot;

use super::request::Request;
use crate::Context;
use crate::plan::{Plan, Write};
use crate::table::{Controller, itself};

/// Seconds after which a request goes that was decided about, and one that was not.
const DECIDED: i64 = 60 * 60;
const PENDING: i64 = 24 * 60 * 60;

/// The row of the table.
pub(crate) const CLEANER: Controller = Controller {
    name: "certificatesigningrequest-cleaner-controller",
    serial: false,
    watches: &[(REQUESTS, itself)],
    decide,
};

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(request) = Request::read(snapshot, key) else { return plan };
    match end(&request) {
        Some(end) if end <= context.now => plan.write(Write::delete(request.object)),
        Some(end) => plan.look_again_at(end),
        None => {}
    }
    plan
}

/// When the request is of no more use.
fn end(request: &Request<'_>) -> Option<Timestamp> {
    let after = |of: &str, seconds: i64| {
        let since = request.condition(of)?["lastUpdateTime"].as_str()?.parse().ok()?;
        Some(time::after(since, seconds))
    };
    let approved = after("Approved", if request.is_issued() { DECIDED } else { PENDING });
    let unheeded = request.created().filter(|_| !request.has_conditions());
    let unheeded = unheeded.map(|since| time::after(since, PENDING));
    let ends =
        [approved, after("Denied", DECIDED), after("Failed", DECIDED), unheeded, over(request)];
    ends.into_iter().flatten().min()
}

/// When the certificate is over.
fn over(request: &Request<'_>) -> Option<Timestamp> {
    let pem = STANDARD.decode(request.text("/status/certificate")).ok()?;
    certificates::end_of_pem(std::str::from_utf8(&pem).ok()?)
}
