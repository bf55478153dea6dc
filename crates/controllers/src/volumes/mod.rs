//! PersistentVolumes and their claims: which volume a claim gets, who makes it, and what becomes of
//! it afterwards.
//!
//! Volumes of the class `standard` are directories on a node. They are made where the first pod
//! that uses the claim is scheduled (`WaitForFirstConsumer`, as kind has it): the data cannot move
//! later, so the pod's own wishes must come first, and with several nodes the replicas of a set do
//! not end up on one. Provisioning and binding are one plan: there is no volume without its claim.
//!
//! When a claim is gone, its volume is Released. With reclaim policy Delete it is then deleted, but
//! stays, with a deletionTimestamp, until its node has removed the data and taken
//! [`DATA_FINALIZER`] off.

mod binder;
mod claim;
mod ephemeral;
mod expand;
mod local;
mod matching;
mod protection;
mod provisioner;
#[cfg(test)]
mod tests;
mod volume;

use std::sync::Arc;

use coracle_api::resources::{
    PERSISTENT_VOLUME_CLAIMS as CLAIMS, PERSISTENT_VOLUMES as VOLUMES, STORAGE_CLASSES as CLASSES,
    VOLUME_ATTRIBUTES_CLASSES as ATTRIBUTES_CLASSES,
};
use coracle_api::{Key, Object};
use coracle_store::Snapshot;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use crate::json;
use crate::plan::Write;

pub(crate) use self::binder::CONTROLLER as BINDER;
pub(crate) use self::ephemeral::CONTROLLER as EPHEMERAL;
pub(crate) use self::expand::CONTROLLER as EXPANDER;
pub use self::expand::{RESIZE_PENDING, grown, waits_for_resize};
pub use self::local::local_name;
pub(crate) use self::matching::offers;
pub(crate) use self::protection::{
    ATTRIBUTES_PROTECTOR, CLAIM_PROTECTOR, VOLUME_PROTECTION, VOLUME_PROTECTOR,
};
pub(crate) use self::provisioner::CONTROLLER as PROVISIONER;

/// The provisioner of the class `standard`.
pub const PROVISIONER_NAME: &str = "coracle.dev/local";
/// Finalizer of a volume that [`PROVISIONER_NAME`] made: its node takes it off when a volume that
/// is being deleted has no data any more.
pub const DATA_FINALIZER: &str = "coracle.dev/volume-data";
/// Annotation of a claim with the node of its first consumer.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotation of a volume with the provisioner that made it.
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const IS_DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Whether claim and volume have found each other; the volume may be gone since.
pub(crate) fn is_bound(claim: &Object) -> bool {
    claim.metadata().annotations.contains_key(BIND_COMPLETED)
        && claim.str_at("/spec/volumeName").is_some_and(|name| !name.is_empty())
}

/// A claim's StorageClass.
pub(crate) struct Class(Arc<StorageClass>);

impl Class {
    pub fn waits_for_consumer(&self) -> bool {
        self.0.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
    }

    pub fn provisioner(&self) -> &str {
        &self.0.provisioner
    }

    pub fn can_provision(&self) -> bool {
        self.0.provisioner != "kubernetes.io/no-provisioner"
    }

    pub fn reclaim_policy(&self) -> &str {
        self.0.reclaim_policy.as_deref().unwrap_or("Delete")
    }

    pub fn allows_expansion(&self) -> bool {
        self.0.allow_volume_expansion == Some(true)
    }
}

/// The name of a claim's or a volume's class; empty when it has none.
fn class_name(object: &Object) -> &str {
    let old = object.metadata().annotations.get("volume.beta.kubernetes.io/storage-class");
    old.map(String::as_str).or_else(|| object.str_at("/spec/storageClassName")).unwrap_or_default()
}

/// The class of a claim, when it names one that exists.
pub(crate) fn class_of(snapshot: &Snapshot, claim: &Object) -> Option<Class> {
    let class = snapshot.find(CLASSES, "", class_name(claim))?;
    class.view().ok().map(Class)
}

/// Where the claim is that a volume is kept for.
fn claim_of(volume: &Object) -> Option<Key> {
    let namespace = volume.str_at("/spec/claimRef/namespace")?;
    Some(Key::new(CLAIMS, namespace, volume.str_at("/spec/claimRef/name")?))
}

/// Whether the volume is kept for this very claim.
fn is_kept_for(volume: &Object, claim: &Object) -> bool {
    let uid = volume.str_at("/spec/claimRef/uid").unwrap_or_default();
    claim_of(volume).as_ref() == Some(claim.key())
        && (uid.is_empty() || uid == claim.metadata().uid)
}

/// Keeps a volume for a claim; nothing, when it is.
pub(crate) fn reserve(volume: &Object, claim: &Object) -> Option<Write> {
    if volume.str_at("/spec/claimRef/uid") == Some(claim.metadata().uid.as_str()) {
        return None;
    }
    let was_kept = claim_of(volume).is_some();
    let mut value = json::with(volume, &["spec", "claimRef"], claim_reference(claim));
    if !was_kept {
        let path = ["metadata", "annotations", BOUND_BY_CONTROLLER];
        json::set(&mut value, &path, json!("yes"));
    }
    Some(Write::Update(value))
}

fn claim_reference(claim: &Object) -> serde_json::Value {
    let metadata = claim.metadata();
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    })
}

/// Gives a claim its volume.
fn bind(claim: &Object, volume: &str) -> Write {
    let was_named = claim.str_at("/spec/volumeName") == Some(volume);
    let mut value = json::with(claim, &["spec", "volumeName"], json!(volume));
    json::set(&mut value, &["metadata", "annotations", BIND_COMPLETED], json!("yes"));
    if !was_named {
        json::set(&mut value, &["metadata", "annotations", BOUND_BY_CONTROLLER], json!("yes"));
    }
    Write::Update(value)
}
