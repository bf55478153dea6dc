//! What runs beside the node's loop, and what runs apart because it blocks.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;

use crate::lock::locked;

/// How long a step that is being taken may keep the node from stopping.
const LAST_STEPS: Duration = Duration::from_secs(10);
/// Steps that may be taken at once: more than there are pods.
const STEPS: u32 = 1 << 20;

/// Tasks that end with the node.
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
    /// Closed once no more steps may be taken.
    steps: Semaphore,
    /// The first task that has ended although the node needs it.
    broken: watch::Sender<Option<&'static str>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            set: Mutex::default(),
            steps: Semaphore::new(STEPS as usize),
            broken: watch::Sender::new(None),
        }
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

    /// A task that lives as long as the node: should it end, in whatever way, the node is broken.
    pub fn spawn_vital(&self, part: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let vital = Vital { part, broken: self.broken.clone() };
        self.spawn(async move {
            let _told_at_the_end = vital;
            task.await;
        });
    }

    /// The first task that has ended although the node needs it; all do once the node stops.
    pub async fn broken_part(&self) -> &'static str {
        let mut broken = self.broken.subscribe();
        loop {
            if let Some(part) = *broken.borrow_and_update() {
                return part;
            }
            // The sender lives as long as this does.
            if broken.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
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

/// Tells, when it is dropped, that a part of the node has ended.
struct Vital {
    part: &'static str,
    broken: watch::Sender<Option<&'static str>>,
}

impl Drop for Vital {
    fn drop(&mut self) {
        self.broken.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(self.part);
            is_first
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_ends_or_panics_is_told() {
        for panics in [false, true] {
            let tasks = Tasks::default();
            tasks.spawn_vital("one that stays", std::future::pending());
            tasks.spawn_vital("one that ends", async move { assert!(!panics, "a bug") });
            assert_eq!(tasks.broken_part().await, "one that ends");
        }
    }
}
