//! The pods of a set, by node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorTerm, Pod};

use crate::workload::replica::Replica;

/// Pods by the node that they are or will be on, each in the order of [`first`].
pub(super) type Members = BTreeMap<String, Vec<Replica>>;

/// The pods that count: one that has ended and is being deleted is as good as gone.
pub(super) fn by_node(pods: Vec<Replica>) -> Members {
    let mut members = Members::new();
    for pod in pods.into_iter().filter(|pod| !pod.is_deleting() || pod.is_ending()) {
        if let Some(node) = target(&pod) {
            members.entry(node).or_default().push(pod);
        }
    }
    for pods in members.values_mut() {
        pods.sort_by(|a, b| first(a).cmp(&first(b)));
    }
    members
}

/// Those that a node has come first, then the oldest.
fn first(pod: &Replica) -> (bool, Option<coracle_api::Timestamp>, &str) {
    (pod.node().is_none(), pod.object.metadata().creation_timestamp, pod.name())
}

/// The node that a pod is on, or that its affinity names.
fn target(pod: &Replica) -> Option<String> {
    pod.node().map(str::to_owned).or_else(|| named(&pod.pod))
}

fn named(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let of = |term: &NodeSelectorTerm| {
        let fields = term.match_fields.as_ref()?;
        let field = fields.iter().find(|field| field.key == "metadata.name")?;
        field.values.as_ref()?.first().cloned()
    };
    required.node_selector_terms.iter().find_map(of)
}
