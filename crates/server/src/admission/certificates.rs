//! Certificate signing requests: who asks, for what, and since when it is granted. A signer trusts
//! what it reads here, so none of it is the client's to say.

use coracle_api::Status;
use serde_json::{Value, json};

use crate::admission::Attributes;
use crate::prepare::WriteEnv;
use crate::source::rfc3339;
use crate::verbs::{Part, map_at};

/// Conditions that only `/approval` gives and takes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// Sets who asks for a new request; keeps what was asked, and dates the conditions, of an old one.
pub(super) fn settle(
    attributes: &mut Attributes<'_>,
    csr: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let request = attributes.request;
    if request.kind.plural != "certificatesigningrequests" {
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
    if Part::of(&request.subresource) == Some(Part::Status) {
        keep_decisions(csr, old);
    }
    date_conditions(csr, old, &rfc3339(env.now));
    Ok(())
}

fn conditions(csr: &Value) -> impl Iterator<Item = &Value> {
    csr["status"]["conditions"].as_array().into_iter().flatten()
}

fn keep_decisions(csr: &mut Value, old: &Value) {
    let is_decision = |condition: &&Value| DECISIONS.iter().any(|kind| condition["type"] == *kind);
    let others = conditions(csr).filter(|condition| !is_decision(condition));
    let all: Vec<Value> = conditions(old).filter(is_decision).chain(others).cloned().collect();
    let status = map_at(csr, "status");
    match all.is_empty() {
        true => status.remove("conditions"),
        false => status.insert("conditions".into(), all.into()),
    };
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
