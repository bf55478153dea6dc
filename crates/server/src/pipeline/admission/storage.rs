//! Claims and volumes: the default class, protection while in use, growth.

use coracle_api::resources::{PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES as CLASSES};
use coracle_api::resources::{PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES};
use coracle_api::{Quantity, Status};
use serde_json::{Value, json};

use crate::pipeline::admission::defaults::newest_default;
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{map_at, metadata, text};
use crate::pipeline::write::WriteEnv;

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &[&str] = &[
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// DefaultStorageClass.
pub(super) fn default_class(
    attributes: &mut Attributes<'_>,
    claim: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let annotated = claim["metadata"]["annotations"].get(BETA_CLASS).is_some();
    if !attributes.is(Operation::Create, PERSISTENT_VOLUME_CLAIMS)
        || annotated
        || claim["spec"]["storageClassName"].is_string()
    {
        return Ok(());
    }
    if let Some(class) = newest_default(attributes, CLASSES, DEFAULT_CLASS) {
        let name = class.metadata().name.clone();
        map_at(claim, "spec").insert("storageClassName".into(), name.into());
    }
    Ok(())
}

/// StorageObjectInUseProtection: a finalizer keeps what is in use.
pub(super) fn protection(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    _: &mut WriteEnv<'_>,
) -> Result<(), Status> {
    let finalizer = match &*attributes.request.kind.group_resource() {
        PERSISTENT_VOLUME_CLAIMS => "kubernetes.io/pvc-protection",
        PERSISTENT_VOLUMES => "kubernetes.io/pv-protection",
        VOLUME_ATTRIBUTES_CLASSES => "kubernetes.io/vac-protection",
        _ => return Ok(()),
    };
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let mut all = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !all.contains(&json!(finalizer)) {
        all.push(json!(finalizer));
        metadata(value).insert("finalizers".into(), all.into());
    }
    Ok(())
}

/// PersistentVolumeClaimResize: only a class that allows it lets a claim grow.
pub(super) fn may_grow(attributes: &mut Attributes<'_>, claim: &Value) -> Result<(), Status> {
    let Some(old) = attributes.old else { return Ok(()) };
    if !attributes.is(Operation::Update, PERSISTENT_VOLUME_CLAIMS)
        || old.str_at("/status/phase") != Some("Bound")
        || !grows(old.value(), claim)
    {
        return Ok(());
    }
    let class = text(claim, "/spec/storageClassName");
    let class = attributes.snapshot.find(CLASSES, "", class);
    if class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that \
               provisions the pvc must support resize";
    Err(attributes.forbidden(&attributes.request.name, why))
}

fn grows(old: &Value, new: &Value) -> bool {
    let size = |claim: &Value| {
        Quantity::from_json(claim.pointer("/spec/resources/requests/storage")?).ok()
    };
    match (size(old), size(new)) {
        (Some(old), Some(new)) => new > old,
        _ => false,
    }
}
