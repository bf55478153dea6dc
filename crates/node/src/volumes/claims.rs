//! Which volume a claim leads to: pure.

use std::sync::Arc;

use coracle_api::resources::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use coracle_api::{Object, Quantity, pods};
use coracle_controllers::volumes::local_name;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};

use super::VolumeError;

/// What a persistent volume is.
#[derive(Debug, PartialEq)]
pub(crate) enum Source {
    /// One of ours: its name, and the bytes that it must hold.
    Ours(String, u64),
    /// Something on the machine, which is taken as it is.
    Host(HostPathVolumeSource),
}

/// What the claim of the pod's volume is bound to; `None` when the volume is no claim.
///
/// # Errors
/// When it is bound to nothing, to what this node cannot mount, or is a volume of the pod's own by
/// its name alone.
pub(crate) fn source(
    snapshot: &Snapshot,
    pod: &Pod,
    volume: &Volume,
) -> Result<Option<Source>, VolumeError> {
    let Some(name) = pods::claim_name(pod, volume) else { return Ok(None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claim = snapshot.find(PERSISTENT_VOLUME_CLAIMS, namespace, &name);
    let foreign = claim.filter(|_| volume.ephemeral.is_some());
    if let Some(why) = foreign.and_then(|claim| pods::foreign_claim(pod, claim)) {
        return Err(VolumeError::Missing(why));
    }
    of_claim(snapshot, claim, &name).map(Some)
}

fn of_claim(
    snapshot: &Snapshot,
    claim: Option<&Arc<Object>>,
    name: &str,
) -> Result<Source, VolumeError> {
    let claim = claim.and_then(|object| object.view::<PersistentVolumeClaim>().ok());
    let claim = claim.ok_or_else(|| {
        VolumeError::Missing(format!("persistentvolumeclaim \"{name}\" not found"))
    })?;
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let volume = volume.filter(|_| phase == Some("Bound"));
    let volume = volume.ok_or_else(|| VolumeError::Unbound(name.to_owned()))?;
    let missing = || VolumeError::Missing(format!("persistentvolume \"{volume}\" not found"));
    of_volume(snapshot.find(PERSISTENT_VOLUMES, "", &volume).ok_or_else(missing)?)
}

fn of_volume(object: &Object) -> Result<Source, VolumeError> {
    let unsupported = || {
        let why = format!("volume {} is of a type that is not supported", object.metadata().name);
        VolumeError::Unsupported(why)
    };
    if let Some(name) = local_name(object) {
        return Ok(Source::Ours(name.to_owned(), bytes(object)));
    }
    let volume = object.view::<PersistentVolume>().map_err(|_| unsupported())?;
    let spec = volume.spec.as_ref();
    let local = spec.and_then(|spec| spec.local.as_ref()).map(|local| HostPathVolumeSource {
        path: local.path.clone(),
        type_: Some("Directory".to_owned()),
    });
    let host = spec.and_then(|spec| spec.host_path.clone());
    local.or(host).map(Source::Host).ok_or_else(unsupported)
}

/// How much a persistent volume must hold.
pub(crate) fn bytes(volume: &Object) -> u64 {
    let capacity = volume.value().pointer("/spec/capacity/storage");
    let capacity = capacity.and_then(|amount| Quantity::from_json(amount).ok());
    capacity.and_then(|amount| u64::try_from(amount.value()).ok()).unwrap_or(0)
}
