//! One pod that waits, with all that is asked once for it and not once a node.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::AnyPod;
use k8s_openapi::api::core::v1::{Pod, Toleration};

use super::company::{Company, Others};
use super::nodes::Nodes;
use super::request::Request;
use super::spread::{Counts, Spread};
use super::volumes::Volumes;

/// What a pod asks of nodes.
pub(super) struct Ask<'a> {
    pub object: &'a Arc<Object>,
    pub pod: &'a Pod,
    pub priority: i32,
    pub request: Arc<Request>,
    pub volumes: &'a Volumes,
    pub company: Company<'a>,
    pub spread: Spread<'a>,
    /// Where others are now.
    pub others: Others,
    pub counts: Counts,
}

impl<'a> Ask<'a> {
    pub fn of(nodes: &Nodes, object: &'a Arc<Object>, pod: &'a Pod, volumes: &'a Volumes) -> Self {
        let (company, others) = Company::of(nodes, object, pod);
        let spread = Spread::required(object, pod);
        let counts = spread.counts(nodes);
        let request = Request::of(object);
        let priority = pod.priority();
        Self { object, pod, priority, request, volumes, company, spread, others, counts }
    }

    pub fn tolerations(&self) -> &[Toleration] {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    /// The node that is kept free for it.
    pub fn nominated(&self) -> Option<&str> {
        let status = self.pod.status.as_ref();
        let node = status.and_then(|status| status.nominated_node_name.as_deref());
        node.filter(|node| !node.is_empty())
    }

    /// Whether it takes no other pod's place.
    pub fn never_preempts(&self) -> bool {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never")
    }
}
