//! From a pod's spec to what the runtime is asked for. All but [`user`] is pure.

pub(crate) mod container;
pub(crate) mod env;
pub mod fields;
pub(crate) mod files;
pub(crate) mod resources;
pub(crate) mod runtime_class;
pub(crate) mod user;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{Container, Pod};

pub use resources::container_resources;

/// All containers of the pod, the init containers first.
pub(crate) fn containers(pod: &Pod) -> Vec<&Container> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    init.chain(spec.into_iter().flat_map(|spec| &spec.containers)).collect()
}

/// Names of all images that the pod has or will: of its containers and volumes, as its spec has them
/// and as those are known that run, which may have lost that name since.
pub(crate) fn images(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref();
    let volumes = spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    let volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone());
    let ephemeral = spec.and_then(|spec| spec.ephemeral_containers.as_ref()).into_iter().flatten();
    let ephemeral = ephemeral.filter_map(|container| container.image.clone());
    let named = containers(pod).into_iter().filter_map(|container| container.image.clone());
    let status = pod.status.as_ref();
    let lists = status.map(|it| {
        [&it.init_container_statuses, &it.container_statuses, &it.ephemeral_container_statuses]
    });
    let statuses = lists.into_iter().flatten().flatten().flatten();
    let running = statuses.map(|status| status.image_id.clone()).filter(|id| !id.is_empty());
    named.chain(volumes).chain(ephemeral).chain(running).collect()
}

/// Whether the pod is in the node's network, not in one of its own.
pub(crate) fn is_on_host(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

/// The pod's own name, namespace and UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

impl PodId {
    /// Of this pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &pod.metadata;
        Self { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) }
    }
}

/// A container that cannot be made: reason and message of its waiting state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ContainerError {
    /// `CreateContainerConfigError` or `CreateContainerError`.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

impl ContainerError {
    pub fn config(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.into() }
    }

    pub fn create(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerError", message: message.into() }
    }
}
