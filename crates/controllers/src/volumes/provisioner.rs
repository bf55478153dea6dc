//! The provisioner of the class `standard`: a directory on the node of the first consumer.

use std::sync::Arc;

use coracle_api::resources::NODES;
use coracle_api::{Key, Object};
use coracle_store::{Event, Snapshot};
use serde_json::{Value, json};

use super::binder::unbound_claims;
use super::matching::wanted_size;
use super::{
    CLAIMS, CLASSES, Class, DATA_FINALIZER, PROVISIONED_BY, PROVISIONER_NAME, SELECTED_NODE,
    VOLUME_PROTECTION, bind, claim_reference, class_name, class_of, is_bound, local, offers,
};
use crate::plan::{Because, Note, Plan, Step, Write};
use crate::table::{Controller, itself};
use crate::{Config, Context};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// The row of the table.
pub(crate) const CONTROLLER: Controller = Controller {
    name: PROVISIONER_NAME,
    serial: false,
    watches: &[(CLAIMS, itself), (CLASSES, claims_of_class)],
    decide,
};

fn claims_of_class(event: &Event, snapshot: &Snapshot) -> Vec<Key> {
    unbound_claims(snapshot, &event.key.name)
}

/// Makes the volume of the claim at `key` and binds it.
pub(crate) fn decide(snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Plan {
    let Some(claim) = snapshot.get(key).filter(|claim| is_ours(claim)) else {
        return Plan::default();
    };
    let Some(class) = class_of(snapshot, claim).filter(|c| c.provisioner() == PROVISIONER_NAME)
    else {
        return Plan::default();
    };
    let node = match node(snapshot, claim, &class) {
        Ok(Some(node)) if offers(snapshot, claim).is_empty() => node,
        Ok(_) => return Plan::default(),
        Err(why) => return failed(claim, why),
    };
    if let Err(why) = possible(claim, context.config) {
        return failed(claim, why);
    }
    let name = format!("pvc-{}", claim.metadata().uid);
    let of = format!("{}/{}", claim.metadata().namespace, claim.metadata().name);
    let started = format!("External provisioner is provisioning volume for claim \"{of}\"");
    let done = format!("Successfully provisioned volume {name}");
    let volume = new_volume(claim, &name, &class, node);
    Plan {
        rests_on: vec![Arc::clone(node)],
        ..Plan::of(
            Step::together([Write::Create(volume), bind(claim, &name)])
                .say(Note::normal(claim, "Provisioning", started))
                .say(Note::normal(claim, "ProvisioningSucceeded", done)),
        )
    }
}

/// A claim that wants a volume made.
fn is_ours(claim: &Object) -> bool {
    let names_volume = claim.str_at("/spec/volumeName").is_some_and(|name| !name.is_empty());
    !is_bound(claim) && !names_volume && !claim.metadata().is_deleting()
}

/// Where the volume goes: the node of the first consumer; with `Immediate`, any. `None` while there
/// is no consumer.
fn node<'a>(
    snapshot: &'a Snapshot,
    claim: &Object,
    class: &Class,
) -> Result<Option<&'a Arc<Object>>, String> {
    match claim.metadata().annotations.get(SELECTED_NODE) {
        Some(name) => match snapshot.find(NODES, "", name) {
            Some(node) => Ok(Some(node)),
            None => Err(format!("node \"{name}\" not found")),
        },
        None if class.waits_for_consumer() => Ok(None),
        None => match snapshot.list(NODES, None).next() {
            Some(node) => Ok(Some(node)),
            None => Err("there is no node to make the volume on".to_owned()),
        },
    }
}

fn possible(claim: &Object, config: &Config) -> Result<(), String> {
    if claim.str_at("/spec/volumeMode") == Some("Block") {
        return Err("block volumes are not supported by this provisioner".to_owned());
    }
    if !claim.value()["spec"]["selector"].is_null() {
        return Err("claim Selector is not supported by this provisioner".to_owned());
    }
    config.can_hold(wanted_size(claim))
}

fn failed(claim: &Arc<Object>, why: String) -> Plan {
    let class = class_name(claim);
    let message = format!("failed to provision volume with StorageClass \"{class}\": {why}");
    let notes = vec![Note::warning(claim, "ProvisioningFailed", message.as_str())];
    Plan { notes, because: Some(Because::only(message)), ..Plan::default() }
}

fn new_volume(claim: &Object, name: &str, class: &Class, node: &Object) -> Value {
    let spec = &claim.value()["spec"];
    let metadata = node.metadata();
    let hostname = metadata.labels.get(HOSTNAME).unwrap_or(&metadata.name);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: PROVISIONER_NAME},
            "finalizers": [VOLUME_PROTECTION, DATA_FINALIZER],
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": class.reclaim_policy(),
            "storageClassName": class_name(claim),
            "volumeMode": "Filesystem",
            "claimRef": claim_reference(claim),
            "csi": local::source(name),
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": HOSTNAME, "operator": "In", "values": [hostname]},
            ]}]}},
        },
    })
}
