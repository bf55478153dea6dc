//! Volumes that refuse writes because their disk failed or was full.
//!
//! Nothing repairs a file system under a process that has it. So whoever has it is told and killed,
//! as its writes fail anyway: no pod is Ready on a volume that takes nothing, and the container
//! starts again on a repaired one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::resources::PERSISTENT_VOLUME_CLAIMS;
use coracle_api::{Object, pods};
use coracle_controllers::VOLUME_FAILED;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::context::Context;
use crate::planner::Note;
use crate::tasks::blocking;
use crate::volumes::claims::{self, Source};
use crate::volumes::{VolumeError, mount_table, sized};

const PERIOD: Duration = Duration::from_secs(3);
const SIGKILL: i32 = 9;

/// Looks at the volumes of the node, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let data = context.places.data.clone();
        match blocking(move || refusing(&data)).await {
            Ok(refusing) if refusing.is_empty() => {}
            Ok(refusing) => end_users(&context, &refusing).await,
            Err(error) => tracing::warn!(%error, "look at the volumes"),
        }
    }
}

/// The mounts below the data directory that refuse writes.
fn refusing(data: &std::path::Path) -> Result<BTreeSet<PathBuf>, VolumeError> {
    let refuses = |mount: &mount_table::Mount| {
        mount.readonly && mount.target.starts_with(data) && sized::is_mount_point(&mount.target)
    };
    Ok(mount_table::all()?.into_iter().filter(refuses).map(|mount| mount.target).collect())
}

async fn end_users(context: &Arc<Context>, refusing: &BTreeSet<PathBuf>) {
    let snapshot = context.client.api.snapshot();
    for object in context.pods(&snapshot) {
        let Ok(pod) = object.view::<Pod>() else { continue };
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let place = place(context, &snapshot, &pod, volume);
            if place.is_some_and(|place| refusing.contains(&sized::mount_point(&place))) {
                end_containers(context, &snapshot, object, &pod, volume).await;
            }
        }
    }
}

/// The directory of a volume of a size that holds.
fn place(context: &Context, snapshot: &Snapshot, pod: &Pod, volume: &Volume) -> Option<PathBuf> {
    if let Some(source) = &volume.empty_dir {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        return source.size_limit.as_ref().map(|_| context.places.empty_dir(uid, &volume.name));
    }
    match claims::source(snapshot, pod, volume) {
        Ok(Some(Source::Ours(name, _))) => Some(context.places.persistent(&name)),
        _ => None,
    }
}

async fn end_containers(
    context: &Arc<Context>,
    snapshot: &Snapshot,
    object: &Arc<Object>,
    pod: &Pod,
    volume: &Volume,
) {
    let uid = &object.metadata().uid;
    let Some(shown) = context.shown.get(uid) else { return };
    for container in crate::pods::containers(pod) {
        let mounts = container.volume_mounts.iter().flatten();
        let run = shown.containers.get(&container.name).and_then(|it| it.current.as_ref());
        let Some(run) = run.filter(|run| run.running) else { continue };
        if !mounts.into_iter().any(|mount| mount.name == volume.name) {
            continue;
        }
        let message = format!(
            "Volume \"{}\" refuses writes since its disk failed or was full; container {} is killed and starts \
             again on a repaired volume",
            volume.name, container.name
        );
        let claim = pods::claim_name(pod, volume).and_then(|name| {
            snapshot.find(PERSISTENT_VOLUME_CLAIMS, &object.metadata().namespace, &name)
        });
        for about in [Some(object), claim].into_iter().flatten() {
            context.client.record(about, Note::warning(VOLUME_FAILED, message.as_str()));
        }
        if let Err(error) = context.runtime.signal(uid, &run.id, SIGKILL).await {
            tracing::warn!(pod = %object.key(), container = container.name, %error, "no signal");
        }
    }
}
