//! Requests of kubelets are approved when their requesters may have them approved.

use coracle_api::resources::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use coracle_api::{Call, Given, Key, Subresource, time};
use coracle_store::Snapshot;
use serde_json::json;

use super::request::Request;
use super::rules::{self, KUBELET_CLIENT};
use crate::Context;
use crate::plan::{Because, Plan, Write};
use crate::table::{Controller, itself};

/// Seconds after which rights are looked at again that were missing.
const AGAIN: i64 = 60;
/// Rights on requests that have them approved, the stronger one first, and what is said then.
const SELF: (&str, &str) =
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const OTHER: (&str, &str) =
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

/// The row of the table.
pub(crate) const APPROVER: Controller = Controller {
    name: "certificatesigningrequest-approving-controller",
    serial: false,
    watches: &[(REQUESTS, itself)],
    decide,
};

fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let undecided = |request: &Request<'_>| {
        !request.is_issued()
            && request.condition("Approved").is_none()
            && request.condition("Denied").is_none()
    };
    let found = Request::read(snapshot, key).filter(undecided);
    let Some(request) = found.filter(|request| request.signer() == KUBELET_CLIENT) else {
        return Plan::default();
    };
    let fits =
        request.asked().filter(|asked| rules::kubelet_client(asked, &request.usages()).is_ok());
    let Some(asked) = fits else { return Plan::default() };
    let is_own = request.text("/spec/username") == asked.common_name;
    let rights = if is_own { vec![SELF, OTHER] } else { vec![OTHER] };
    let allowed = match context.given {
        Some(Ok(Given::Allowed(allowed))) => allowed,
        None => {
            let questions = rights.iter().map(|(right, _)| question(&request, right)).collect();
            return Plan { asks: Some(Call::Review { questions }), ..Plan::default() };
        }
        Some(_) => &Vec::new(),
    };
    let granted = rights.iter().zip(allowed).find(|(_, allowed)| **allowed);
    let Some(((_, message), _)) = granted else {
        let names: Vec<&str> = rights.iter().map(|(right, _)| *right).collect();
        let why = format!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            &*key.name,
            names.join(" ")
        );
        let mut plan = Plan { because: Some(Because::only(why)), ..Plan::default() };
        plan.look_again_at(time::after(context.now, AGAIN));
        return plan;
    };
    let approved = request.with_condition("Approved", "AutoApproved", message, context.now);
    Plan::each([Write::UpdateSubresource(Subresource::Approval, approved)])
}

/// Whether the requester may have it approved.
fn question(request: &Request<'_>, right: &str) -> String {
    json!({
        "user": request.field("/spec/username"),
        "uid": request.field("/spec/uid"),
        "groups": request.field("/spec/groups"),
        "extra": request.field("/spec/extra"),
        "resourceAttributes": {
            "group": "certificates.k8s.io",
            "resource": REQUESTS.split('.').next(),
            "subresource": right,
            "verb": "create",
        },
    })
    .to_string()
}
