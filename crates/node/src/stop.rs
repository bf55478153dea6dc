//! The end of all pods when the cluster goes down, as their sets would end them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Object;
use coracle_api::resources::{PODS, STATEFUL_SETS};
use coracle_runtime::{
    Container as Running, ContainerState, Containers, RuntimeError, RuntimeEvent, Sandbox,
};
use coracle_store::Snapshot;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::context::Context;
use crate::error::NodeError;
use crate::images::ImageStore;
use crate::planner::{
    HookKind, MINIMUM_GRACE_SECONDS, Role, all_containers, find_container, full_name, grace_seconds,
};
use crate::probe::Target;
use crate::worker::Kept;
use crate::{dial, hook};

const SIGTERM: i32 = 15;

/// How pods are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the signal and the grace that each asks for; those of an ordered set from the highest
    /// ordinal down, each when the one before is gone.
    Gracefully,
    /// At once.
    Killed,
}

/// A pod that is to end.
struct Doomed {
    sandbox: Sandbox,
    pod: Option<Arc<Pod>>,
}

/// No pod of a machine that goes down is waited for longer, whatever grace it asks for: a year's is as
/// good, and no clock is beyond it.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Ends all pods and removes everything of them but their persistent volumes' content.
///
/// # Errors
/// The first pod that could not be removed; the others are removed all the same.
pub(crate) async fn stop_pods(context: &Arc<Context>, ending: Ending) -> Result<(), NodeError> {
    let sandboxes = context.runtime.list().await.map_err(NodeError::List)?;
    let snapshot = context.client.api.snapshot();
    let stopped = lines(sandboxes, &snapshot, ending).into_iter().map(|line| async move {
        for doomed in line {
            doomed.end(context, ending).await?;
        }
        Ok(())
    });
    join_all(stopped).await.into_iter().collect()
}

/// Pods that end one after another, each line beside the others.
fn lines(sandboxes: Vec<Sandbox>, snapshot: &Snapshot, ending: Ending) -> Vec<Vec<Doomed>> {
    let mut sets: BTreeMap<(String, String), Vec<(u32, Doomed)>> = BTreeMap::new();
    let mut lines = Vec::new();
    for sandbox in sandboxes {
        let object = snapshot.find(PODS, &sandbox.namespace, &sandbox.name);
        let object = object.filter(|object| object.metadata().uid == sandbox.pod_uid);
        let pod = object.and_then(|object| object.view::<Pod>().ok());
        let set = object.and_then(|object| ordered_set(object, snapshot));
        let doomed = Doomed { sandbox, pod };
        match set.filter(|_| ending == Ending::Gracefully) {
            None => lines.push(vec![doomed]),
            Some(set) => {
                let ordinal = doomed.sandbox.name.rsplit('-').next().and_then(|n| n.parse().ok());
                let key = (doomed.sandbox.namespace.clone(), set);
                sets.entry(key).or_default().push((ordinal.unwrap_or_default(), doomed));
            }
        }
    }
    lines.extend(sets.into_values().map(|mut members| {
        members.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        members.into_iter().map(|(_, doomed)| doomed).collect()
    }));
    lines
}

/// The StatefulSet that the pod belongs to, if that keeps an order.
fn ordered_set(pod: &Object, snapshot: &Snapshot) -> Option<String> {
    let owner = pod.metadata().controller().filter(|owner| owner.kind == "StatefulSet")?;
    let set = snapshot.find(STATEFUL_SETS, &pod.metadata().namespace, &owner.name)?;
    (set.str_at("/spec/podManagementPolicy") != Some("Parallel")).then(|| owner.name.clone())
}

impl Doomed {
    async fn end(&self, context: &Arc<Context>, ending: Ending) -> Result<(), NodeError> {
        if ending == Ending::Gracefully {
            self.stop(context).await;
        }
        context.remove_pod(&self.sandbox.pod_uid).await.map_err(|message| {
            let operation = format!("remove pod {}/{}", self.sandbox.namespace, self.sandbox.name);
            NodeError::List(RuntimeError::Shim { operation, message })
        })
    }

    /// Ends its containers as its worker would: hooks first, then the signals, a sidecar's after
    /// all that it may serve; all within its grace.
    async fn stop(&self, context: &Context) {
        let mut events = context.runtime.events();
        let now = tokio::time::Instant::now();
        let deadline = now.checked_add(self.grace()).unwrap_or(now);
        if self.grace() > Duration::ZERO {
            drop(tokio::time::timeout_at(deadline, self.hooks(context)).await);
        }
        for names in self.turns() {
            let mut running = self.signal(&*context.runtime, &context.images, &names).await;
            let granted = tokio::time::Instant::now()
                .checked_add(Duration::from_secs(MINIMUM_GRACE_SECONDS.into()))
                .unwrap_or(now);
            while !running.is_empty() {
                match tokio::time::timeout_at(deadline.max(granted), events.recv()).await {
                    Ok(Some(RuntimeEvent::ContainerExited { container, .. })) => {
                        running.remove(&container.id);
                    }
                    Ok(Some(RuntimeEvent::SandboxLost { pod_uid })) => {
                        if pod_uid == self.sandbox.pod_uid {
                            return;
                        }
                    }
                    // Whatever still runs is killed with its sandbox.
                    Ok(None) => return,
                    Err(_) => break,
                }
            }
        }
    }

    /// The names of its containers, in the order in which they end.
    fn turns(&self) -> Vec<Vec<String>> {
        let name = |it: &Container| it.name.clone();
        let (mut together, mut sidecars) = (Vec::new(), Vec::new());
        let known: Vec<_> = self.pod.iter().flat_map(|pod| all_containers(pod)).collect();
        for (role, container) in &known {
            match role {
                Role::Sidecar => sidecars.push(vec![name(container)]),
                _ => together.push(name(container)),
            }
        }
        let is_known = |it: &&Running| known.iter().any(|(_, spec)| spec.name == it.name);
        let strangers = self.sandbox.containers.iter().filter(|it| !is_known(it));
        together.extend(strangers.map(|it| it.name.clone()));
        sidecars.push(together);
        sidecars.reverse();
        sidecars
    }

    /// Runs the `preStop` hooks of all its containers.
    async fn hooks(&self, context: &Context) {
        let hooks = self.running().filter_map(|running| {
            let pod = self.pod.as_ref()?;
            let (_, container) = find_container(pod, &running.name)?;
            let handler = HookKind::PreStop.of(&container)?.clone();
            let target = Target {
                pod_uid: self.sandbox.pod_uid.clone(),
                container_id: running.id.clone(),
                pod_ip: Kept::ip(&self.sandbox),
                container: container.into_owned(),
                dial: dial::from_node(&context.kernel),
            };
            Some(async move {
                let (runtime, name, ended) =
                    (&*context.runtime, full_name(pod), std::future::pending());
                if let Err(error) = hook::run(runtime, &target, &name, &handler, ended).await {
                    tracing::warn!(%error, "a hook failed");
                }
            })
        });
        join_all(hooks).await;
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        let all = self.sandbox.containers.iter();
        all.filter(|container| matches!(container.state, ContainerState::Running { .. }))
    }

    fn grace(&self) -> Duration {
        // A pod whose object is gone was given its time already.
        let seconds = self.pod.as_ref().map_or(0, |pod| grace_seconds(pod));
        Duration::from_secs(seconds.try_into().unwrap_or_default()).min(GRACE_MAX)
    }

    /// Tells those of `names` that run to end; their IDs.
    async fn signal(
        &self,
        runtime: &dyn Containers,
        images: &ImageStore,
        names: &[String],
    ) -> BTreeSet<String> {
        let running = self.running().filter(|container| names.contains(&container.name));
        let told = running.map(|container| async move {
            let spec = self.pod.as_ref().and_then(|pod| find_container(pod, &container.name));
            let signal = spec.map_or(SIGTERM, |(_, spec)| stop_signal(&spec, images));
            match runtime.signal(&self.sandbox.pod_uid, &container.id, signal).await {
                Ok(()) => Some(container.id.clone()),
                Err(error) => {
                    tracing::debug!(container = %container.id, %error, "no signal");
                    None
                }
            }
        });
        join_all(told).await.into_iter().flatten().collect()
    }
}

/// What tells a container to end: its own choice, its image's, or SIGTERM.
pub(crate) fn stop_signal(container: &Container, images: &ImageStore) -> i32 {
    let own = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
    let of_image = || {
        let image = images.find(container.image.as_deref().unwrap_or_default()).ok().flatten();
        image.map(|image| image.config.config.stop_signal.clone())
    };
    own.or_else(of_image).and_then(|text| signal_number(&text)).unwrap_or(SIGTERM)
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
        return Some(34 + offset).filter(|number| *number <= 64);
    }
    let index = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(index).ok().map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGNONE", None),
            ("0", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
