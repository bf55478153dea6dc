//! Probes and hooks: what asks containers, beside whatever else is done.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::Hands;
use crate::planner::{HookKind, ProbeKind, find_container, full_name};
use crate::worker::Message;
use crate::{dial, hook, probe};

/// How often it is looked whether the container of a hook that takes its time still runs.
const GLANCE: Duration = Duration::from_secs(1);

impl Hands {
    pub(super) fn probe(
        &self,
        container: String,
        kind: ProbeKind,
        id: String,
        ip: Option<Ipv4Addr>,
    ) {
        let Some((_, spec)) = find_container(&self.pod, &container) else { return };
        let Some(probe) = kind.of(&spec).cloned() else { return };
        let target = self.target(&spec, &id, ip);
        let (runtime, outbox) = (self.context.runtime.clone(), self.outbox.clone());
        self.context.tasks.spawn(async move {
            let outcome = probe::run(&*runtime, &target, &probe).await;
            outbox.send(Message::Probed { container, kind, id, outcome });
        });
    }

    pub(super) fn hook(&self, container: String, kind: HookKind, id: String, ip: Option<Ipv4Addr>) {
        let Some((_, spec)) = find_container(&self.pod, &container) else { return };
        let Some(handler) = kind.of(&spec).cloned() else { return };
        let (target, pod) = (self.target(&spec, &id, ip), full_name(&self.pod));
        let (hands, outbox) = (self.clone(), self.outbox.clone());
        self.context.tasks.spawn(async move {
            let ended = hands.has_ended(&container, &id);
            let result = hook::run(&*hands.context.runtime, &target, &pod, &handler, ended).await;
            if let Err(error) = &result {
                tracing::info!(error, "a hook failed");
            }
            outbox.send(Message::Hooked { container, kind, id, result });
        });
    }

    /// Comes when the instance `id` of a container does not run any more.
    async fn has_ended(&self, container: &str, id: &str) {
        let runs = || {
            let shown = self.context.shown.get(&self.id.uid)?;
            let current = shown.containers.get(container)?.current.as_ref()?.clone();
            (current.id == id && current.running).then_some(())
        };
        loop {
            tokio::time::sleep(GLANCE).await;
            if runs().is_none() {
                return;
            }
        }
    }

    fn target(&self, container: &Container, id: &str, ip: Option<Ipv4Addr>) -> probe::Target {
        probe::Target {
            pod_uid: self.id.uid.clone(),
            container_id: id.to_owned(),
            pod_ip: ip,
            container: container.clone(),
            dial: dial::from_node(&self.context.kernel),
        }
    }
}
