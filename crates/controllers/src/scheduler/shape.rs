//! What tells a pod from others where nodes are concerned: of many pods that are alike and wait, one
//! is decided, and the others are told the same.

use std::sync::Arc;

use coracle_api::Object;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// All that a decision about a pod depends on; see [`Shape::of`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape(String);

impl Shape {
    /// The shape of a pod, made once a version; `None` for one that is like no other: it has claims
    /// of its own, or a node is kept free for it.
    pub fn of(object: &Object, pod: &Pod) -> Option<Arc<Self>> {
        let spec = pod.spec.as_ref()?;
        let claims = |it: &k8s_openapi::api::core::v1::Volume| {
            it.persistent_volume_claim.is_some() || it.ephemeral.is_some()
        };
        let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_ref());
        if nominated.is_some() || spec.volumes.iter().flatten().any(claims) {
            return None;
        }
        let asks = |all: &[Container]| -> Value {
            let one = |it: &Container| json!([it.resources, it.ports, it.restart_policy, it.image]);
            all.iter().map(one).collect()
        };
        let shape = || {
            let metadata = object.metadata();
            Self(
                json!([
                    metadata.namespace,
                    metadata.labels,
                    metadata.controller().map(|owner| &owner.uid),
                    asks(&spec.containers),
                    asks(spec.init_containers.as_deref().unwrap_or_default()),
                    spec.node_selector,
                    spec.affinity,
                    spec.tolerations,
                    spec.topology_spread_constraints,
                    spec.resources,
                    spec.overhead,
                    spec.priority,
                    spec.preemption_policy,
                ])
                .to_string(),
            )
        };
        Some(object.memo(shape))
    }
}
