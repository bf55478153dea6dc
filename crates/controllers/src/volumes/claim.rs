//! What a claim needs: a volume, and a status.

use std::sync::Arc;

use coracle_api::Object;
use coracle_store::Snapshot;
use serde_json::{Value, json};

use super::{
    CLASSES, Class, IS_DEFAULT_CLASS, PROVISIONER_NAME, SELECTED_NODE, VOLUMES, bind, class_name,
    class_of, is_bound, is_kept_for, offers, reserve,
};
use crate::json;
use crate::plan::{Because, Note, Plan, Step, Write};

/// Annotations in which external provisioners look for their work.
const PROVISIONER_ANNOTATIONS: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

/// What should happen to the claim now.
pub(super) fn decide(snapshot: &Snapshot, claim: &Arc<Object>) -> Plan {
    if is_bound(claim) {
        return report(snapshot, claim);
    }
    if claim.metadata().is_deleting() {
        return Plan::default();
    }
    if let Some(name) = claim.str_at("/spec/volumeName").filter(|name| !name.is_empty()) {
        return take(snapshot, claim, name);
    }
    let class = class_of(snapshot, claim);
    let waits = class.as_ref().is_some_and(Class::waits_for_consumer);
    let offered = offers(snapshot, claim).into_iter().find(|v| !waits || is_kept_for(v, claim));
    match offered {
        Some(volume) => marry(claim, &volume),
        None => wait(snapshot, claim, class.as_ref()),
    }
}

fn marry(claim: &Object, volume: &Arc<Object>) -> Plan {
    let reserved = reserve(volume, claim);
    let rests_on = if reserved.is_none() { vec![Arc::clone(volume)] } else { Vec::new() };
    let bound = bind(claim, &volume.metadata().name);
    Plan { rests_on, ..Plan::of(Step::together(reserved.into_iter().chain([bound]))) }
}

/// The claim names the volume that it wants.
fn take(snapshot: &Snapshot, claim: &Arc<Object>, name: &str) -> Plan {
    let mut plan = Plan::default();
    let because = match snapshot.find(VOLUMES, "", name) {
        None => format!("volume {name} does not exist"),
        Some(volume) if super::claim_of(volume).is_none() || is_kept_for(volume, claim) => {
            return marry(claim, volume);
        }
        Some(_) => {
            let told = format!("volume \"{name}\" already bound to a different claim.");
            plan.notes.push(Note::warning(claim, "FailedBinding", told));
            format!("volume {name} is bound to another claim")
        }
    };
    plan.because = Some(Because::only(because));
    pending(claim, plan)
}

/// No volume would do: who is expected to bring one?
fn wait(snapshot: &Snapshot, claim: &Arc<Object>, class: Option<&Class>) -> Plan {
    let name = class_name(claim);
    let mut plan = Plan::default();
    let Some(class) = class else {
        if claim.value()["spec"]["storageClassName"].is_null()
            && let Some(default) = default_class(snapshot)
        {
            let value = json::with(claim, &["spec", "storageClassName"], json!(default));
            plan.write(Write::Update(value));
            return plan;
        }
        let (note, because) = if name.is_empty() {
            let why = "no persistent volumes available for this claim and no storage class is set";
            (Note::normal(claim, "FailedBinding", why), why.to_owned())
        } else {
            let why = format!("storageclass.storage.k8s.io \"{name}\" not found");
            (Note::warning(claim, "ProvisioningFailed", why.as_str()), why)
        };
        plan.notes.push(note);
        plan.because = Some(Because::only(because));
        return pending(claim, plan);
    };
    if class.waits_for_consumer() && !claim.metadata().annotations.contains_key(SELECTED_NODE) {
        let why = "waiting for first consumer to be created before binding";
        plan.notes.push(Note::normal(claim, "WaitForFirstConsumer", why));
        plan.because = Some(Because::only(why));
    } else if !class.can_provision() {
        let why = "no persistent volumes available for this claim and its class provisions none";
        plan.because = Some(Because::only(why));
    } else if class.provisioner() != PROVISIONER_NAME {
        expect_from(claim, class.provisioner(), &mut plan);
    }
    pending(claim, plan)
}

/// Somebody else's provisioner is asked.
fn expect_from(claim: &Arc<Object>, provisioner: &str, plan: &mut Plan) {
    let told =
        |name: &str| claim.metadata().annotations.get(name).is_some_and(|p| p == provisioner);
    if !PROVISIONER_ANNOTATIONS.iter().all(|name| told(name)) {
        let mut value = claim.value().clone();
        for name in PROVISIONER_ANNOTATIONS {
            json::set(&mut value, &["metadata", "annotations", name], json!(provisioner));
        }
        plan.write(Write::Update(value));
        return;
    }
    let why = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or \
         manually by the system administrator. If volume creation is delayed, please verify that \
         the provisioner is running and correctly registered."
    );
    plan.notes.push(Note::normal(claim, "ExternalProvisioning", why.as_str()));
    plan.because = Some(Because::only(why));
}

/// The default class that was made last.
fn default_class(snapshot: &Snapshot) -> Option<String> {
    let is_default = |class: &&Arc<Object>| {
        class.metadata().annotations.get(IS_DEFAULT_CLASS).is_some_and(|value| value == "true")
    };
    let classes = snapshot.list(CLASSES, None).filter(is_default);
    let newest = classes.max_by_key(|class| class.metadata().creation_timestamp)?;
    Some(newest.metadata().name.clone())
}

/// The claim has no volume yet; says so in its status when nothing else is written.
fn pending(claim: &Object, mut plan: Plan) -> Plan {
    if plan.writes_nothing() && claim.str_at("/status/phase").is_none() {
        let status = json!({"phase": "Pending"});
        plan.write(Write::status(json::with(claim, &["status"], status)));
    }
    plan
}

/// The claim has a volume, or had one.
fn report(snapshot: &Snapshot, claim: &Arc<Object>) -> Plan {
    let name = claim.str_at("/spec/volumeName").unwrap_or_default();
    let volume = snapshot.find(VOLUMES, "", name).filter(|volume| is_kept_for(volume, claim));
    let old = &claim.value()["status"];
    let mut status = old.clone();
    let mut plan = Plan::default();
    if let Some(volume) = volume {
        let spec = &volume.value()["spec"];
        json::set(&mut status, &["phase"], json!("Bound"));
        json::set(&mut status, &["accessModes"], spec["accessModes"].clone());
        // A change of size is the expander's to tell.
        if old["phase"] != "Bound" {
            json::set(&mut status, &["capacity"], spec["capacity"].clone());
        }
    } else if old["phase"] != "Lost" {
        json::set(&mut status, &["phase"], json!("Lost"));
        for field in ["accessModes", "capacity"] {
            json::set(&mut status, &[field], Value::Null);
        }
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        plan.notes.push(Note::warning(claim, "ClaimLost", why));
    }
    if status != *old {
        plan.write(Write::status(json::with(claim, &["status"], status)));
    }
    plan
}
