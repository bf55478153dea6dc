//! The data of persistent volumes that are being deleted.
//!
//! A volume of the class `standard` keeps a finalizer until its node has removed the data; that is
//! done here, when nothing but this finalizer holds the object any more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Object;
use coracle_api::resources::PERSISTENT_VOLUMES;
use coracle_controllers::volumes::{DATA_FINALIZER, local_name};
use serde_json::Value;

use crate::context::Context;
use crate::tasks::blocking;
use crate::volumes::sized::Sized;
use crate::volumes::uses::Turn;
use crate::volumes::{VolumeError, failed};

const AGAIN: Duration = Duration::from_secs(5);

/// Removes the data of deleted volumes, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let store = context.client.api.store().clone();
    loop {
        let snapshot = context.client.api.snapshot();
        let mut all_done = true;
        for object in snapshot.list(PERSISTENT_VOLUMES, None).filter(|it| is_ours_alone(it)) {
            if let Err(error) = remove(&context, object).await {
                tracing::warn!(volume = %object.key(), %error, "the data is not removed");
                all_done = false;
            }
        }
        let revision = snapshot.revision();
        // Nothing of it is kept while nothing happens.
        drop(snapshot);
        let Ok(mut watch) = store.watch_resource(PERSISTENT_VOLUMES, revision) else { continue };
        tokio::select! {
            // Too old a watch means that something has changed.
            event = watch.next() => event.map(drop).unwrap_or_default(),
            () = tokio::time::sleep(AGAIN), if !all_done => {}
        }
    }
}

fn is_ours_alone(object: &Object) -> bool {
    let metadata = object.metadata();
    metadata.is_deleting() && metadata.finalizers == [DATA_FINALIZER]
}

async fn remove(context: &Arc<Context>, object: &Arc<Object>) -> Result<(), String> {
    if let Some(name) = local_name(object).map(str::to_owned) {
        let context = Arc::clone(context);
        let removed = blocking(move || remove_data(&context.places.persistent(&name))).await;
        removed.map_err(|error| error.to_string())?;
    }
    let mut body = object.value().clone();
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        metadata.remove("finalizers");
    }
    let updated = context.client.update(PERSISTENT_VOLUMES, None, body).await;
    updated.map(drop).map_err(|error| error.to_string())
}

fn remove_data(directory: &Path) -> Result<(), VolumeError> {
    if !directory.exists() {
        return Ok(());
    }
    let _turn = Turn::of(directory)?;
    Sized::of(directory).release()?;
    coracle_runtime::remove_all(directory).map_err(failed("remove", directory))
}
