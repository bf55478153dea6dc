//! The end of all pods at once, when the cluster goes down.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use coracle_runtime::{ContainerState, Containers, RuntimeError, RuntimeEvent, Sandbox};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, timeout_at};

use crate::node::{Context, Node, NodeError};
use crate::planner::grace_seconds;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Containers that have the stop signal, by ID: their pod, and when SIGKILL follows.
type Stopping = BTreeMap<String, (String, Instant)>;

impl Node {
    /// Stops all pods: the stop signal, each pod's own grace but `most` at most, then SIGKILL; then
    /// everything of them but their persistent volumes' content is removed. They start again with
    /// the next engine. The node's loops are stopped first, so that nothing starts them again now.
    ///
    /// # Errors
    /// The first pod that could not be removed; the others are removed all the same.
    pub async fn stop_pods(&self, most: Duration) -> Result<(), NodeError> {
        self.shutdown();
        let runtime = &*self.context.runtime;
        let mut events = runtime.events();
        let sandboxes = runtime.list().await.map_err(NodeError::List)?;
        let mut stopping = ask_to_stop(runtime, &sandboxes, &self.context.graces(), most).await;
        while let Some(deadline) = stopping.values().map(|(_, deadline)| *deadline).min() {
            match timeout_at(deadline, events.recv()).await {
                Ok(Some(RuntimeEvent::ContainerExited { container, .. })) => {
                    stopping.remove(&container.id);
                }
                Ok(Some(RuntimeEvent::SandboxLost { pod_uid })) => {
                    stopping.retain(|_, (uid, _)| *uid != pod_uid);
                }
                Ok(None) => break,
                Err(_) => kill_overdue(runtime, &mut stopping).await,
            }
        }
        let removals = sandboxes.iter().map(|sandbox| self.context.remove_pod(&sandbox.pod_uid));
        let removed = futures_util::future::join_all(removals).await;
        let failed = sandboxes.iter().zip(removed).find_map(|(it, done)| Some((it, done.err()?)));
        match failed {
            None => Ok(()),
            Some((sandbox, message)) => Err(NodeError::List(RuntimeError::Shim {
                operation: format!("remove pod {}/{}", sandbox.namespace, sandbox.name),
                message,
            })),
        }
    }
}

impl Context {
    /// How long each pod may take to end, by UID.
    fn graces(&self) -> HashMap<String, Duration> {
        let snapshot = self.client.api.snapshot();
        let pods = snapshot.list("pods", None).filter_map(|object| {
            let seconds = grace_seconds(&*object.view::<Pod>().ok()?);
            Some((object.metadata().uid.clone(), Duration::from_secs(seconds.unsigned_abs())))
        });
        pods.collect()
    }
}

/// Sends the stop signal to every running container.
async fn ask_to_stop(
    runtime: &dyn Containers,
    sandboxes: &[Sandbox],
    graces: &HashMap<String, Duration>,
    most: Duration,
) -> Stopping {
    let mut stopping = Stopping::new();
    for sandbox in sandboxes {
        // A pod whose object is gone was given its time already.
        let grace = graces.get(&sandbox.pod_uid).copied().unwrap_or_default().min(most);
        for container in &sandbox.containers {
            if !matches!(container.state, ContainerState::Running { .. }) {
                continue;
            }
            if signal(runtime, &sandbox.pod_uid, &container.id, SIGTERM).await {
                let entry = (sandbox.pod_uid.clone(), Instant::now() + grace);
                stopping.insert(container.id.clone(), entry);
            }
        }
    }
    stopping
}

/// Kills those whose time is over. The removal of their pods waits for them.
async fn kill_overdue(runtime: &dyn Containers, stopping: &mut Stopping) {
    let now = Instant::now();
    let (overdue, waiting): (Stopping, Stopping) =
        std::mem::take(stopping).into_iter().partition(|(_, (_, deadline))| *deadline <= now);
    *stopping = waiting;
    for (id, (uid, _)) in &overdue {
        signal(runtime, uid, id, SIGKILL).await;
    }
}

async fn signal(runtime: &dyn Containers, pod_uid: &str, container: &str, signal: i32) -> bool {
    let sent = runtime.signal(pod_uid, container, signal).await;
    if let Err(error) = &sent {
        tracing::debug!(%container, %error, "no signal");
    }
    sent.is_ok()
}
