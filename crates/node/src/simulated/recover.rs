//! What runs of a simulated pod: nowhere but in its status.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use coracle_runtime::{Container, ContainerState, Sandbox, SandboxState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods::PodId;
use crate::worker::Kept;

/// A sandbox as a machine would show it.
pub(super) fn sandbox(id: &PodId, number: u32, ip: Ipv4Addr, now: Timestamp) -> Sandbox {
    Sandbox {
        pod_uid: id.uid.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        state: SandboxState::Ready,
        shim_pid: 0,
        network_namespace: PathBuf::new(),
        created_at: now,
        containers: Vec::new(),
        labels: [].into(),
        annotations: Kept::of_sandbox(number, ip),
    }
}

/// The sandbox and containers that an earlier engine's status tells of; `None` before the pod had any.
pub(super) fn recovered(pod: &Pod, now: Timestamp) -> Option<Sandbox> {
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.as_ref()?.parse().ok()?;
    let lists = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let containers: Vec<_> = lists.into_iter().flatten().flatten().filter_map(running).collect();
    let is_left = !containers.is_empty();
    is_left.then(|| Sandbox { containers, ..sandbox(&PodId::of(pod), 1, ip, now) })
}

fn running(status: &ContainerStatus) -> Option<Container> {
    let started_at = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0;
    Some(Container {
        id: status.container_id.as_ref()?.rsplit('/').next()?.to_owned(),
        name: status.name.clone(),
        attempt: u32::try_from(status.restart_count).unwrap_or_default(),
        pid: 0,
        state: ContainerState::Running { started_at },
        log_path: PathBuf::new(),
        labels: [].into(),
        annotations: Kept::of_container((0, 0), &status.image, &status.image_id),
    })
}
