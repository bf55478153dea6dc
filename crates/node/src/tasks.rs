//! What runs beside the node's loop, and what runs apart because it blocks.

use std::sync::Mutex;

use tokio::task::JoinSet;

use crate::node::locked;

/// Tasks that end with the node.
#[derive(Default)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
}

impl Tasks {
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = locked(&self.set);
        while let Some(done) = set.try_join_next() {
            if let Err(error) = done
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the node broke off");
            }
        }
        set.spawn(task);
    }

    pub fn stop(&self) {
        locked(&self.set).abort_all();
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the engine is going down, and so is whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
