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
