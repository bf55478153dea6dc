//! What runs beside the node's loop, and what runs apart because it blocks.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use crate::context::locked;

/// How long a step that is being taken may keep the node from stopping.
const LAST_STEPS: Duration = Duration::from_secs(10);
/// Steps that may be taken at once: more than there are pods.
const STEPS: u32 = 1 << 20;

/// Tasks that end with the node.
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
    /// Closed once no more steps may be taken.
    steps: Semaphore,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { set: Mutex::default(), steps: Semaphore::new(STEPS as usize) }
    }
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

    /// To be held while something is changed that outlives the engine, such as a sandbox that is
    /// made: the node stops before or after, never in the middle.
    pub async fn step(&self) -> SemaphorePermit<'_> {
        match self.steps.acquire().await {
            Ok(permit) => permit,
            // The node has stopped, and this task ends here.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends all tasks between two steps.
    pub async fn stop(&self) {
        let all = tokio::time::timeout(LAST_STEPS, self.steps.acquire_many(STEPS)).await;
        if all.is_err() {
            tracing::warn!("a pod's step takes too long: the node stops in the middle of it");
        }
        self.abort();
    }

    /// Ends all tasks wherever they are.
    pub fn abort(&self) {
        self.steps.close();
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
