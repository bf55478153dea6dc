//! File systems that grow with their volumes: claims wait for them as `FileSystemResizePending`.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::resources::PERSISTENT_VOLUME_CLAIMS as CLAIMS;
use coracle_api::{Object, Subresource};
use coracle_controllers::volumes::{grown, local_name, waits_for_resize};

use crate::context::Context;
use crate::planner::Note;
use crate::tasks::blocking;
use crate::volumes::claims;
use crate::volumes::sized::{Grown, Sized};
use crate::volumes::uses::Turn;

const AGAIN: Duration = Duration::from_secs(5);

/// Grows what is to grow, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let store = context.client.api.store().clone();
    loop {
        let snapshot = context.client.api.snapshot();
        let mut all_done = true;
        for claim in snapshot.list(CLAIMS, None) {
            if let Some(volume) = waits_for_resize(&snapshot, claim) {
                all_done &= grow(&context, claim, volume).await;
            }
        }
        let revision = snapshot.revision();
        // Nothing of it is kept while nothing happens.
        drop(snapshot);
        let Ok(mut watch) = store.watch_resource(CLAIMS, revision) else { continue };
        tokio::select! {
            // Too old a watch means that something has changed.
            event = watch.next() => event.map(drop).unwrap_or_default(),
            () = tokio::time::sleep(AGAIN), if !all_done => {}
        }
    }
}

/// Whether the claim waits no more.
async fn grow(context: &Arc<Context>, claim: &Arc<Object>, volume: &Object) -> bool {
    let Some(name) = local_name(volume).map(str::to_owned) else { return true };
    let (shared, bytes) = (Arc::clone(context), claims::bytes(volume));
    let done = blocking(move || {
        let directory = shared.places.persistent(&name);
        let _turn = Turn::of(&directory)?;
        Sized::of(&directory).grow(bytes)
    });
    match done.await {
        Ok(Grown::AtNextMount) => return false,
        Ok(Grown::Done) => {}
        Err(error) => {
            let why = format!("NodeExpandVolume.NodeExpandVolume failed: {error}");
            context.client.record(claim, Note::warning("FileSystemResizeFailed", why));
            return false;
        }
    }
    match context.client.update(CLAIMS, Some(Subresource::Status), grown(claim, volume)).await {
        Ok(claim) => {
            let message = "MountVolume.NodeExpandVolume succeeded";
            context.client.record(&claim, Note::normal("FileSystemResizeSuccessful", message));
            true
        }
        Err(refused) => {
            tracing::debug!(claim = %claim.key(), %refused, "its size is not written yet");
            false
        }
    }
}
