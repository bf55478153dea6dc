//! Whether a pod of the set should be on a node.

use coracle_api::Object;
use coracle_api::resources::NODES;
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::scheduler::{allows_node, tolerates};

/// What every pod of a DaemonSet bears: key and effect.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub name: String,
    /// Whether a pod belongs there.
    pub should_run: bool,
    /// Whether a pod that is there may stay.
    pub may_stay: bool,
}

/// All nodes, by name. `template` is a pod as the set makes it.
pub(super) fn places(snapshot: &Snapshot, template: &Pod) -> Vec<Place> {
    let tolerations = tolerations(template);
    let place = |object: &Object| place(object, template, &tolerations);
    snapshot.list(NODES, None).map(|node| place(node)).collect()
}

fn place(object: &Object, template: &Pod, tolerations: &[Toleration]) -> Place {
    let metadata = object.metadata();
    let name = metadata.name.clone();
    let spec = template.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let fits =
        (wanted.is_empty() || wanted == name) && allows_node(template, &metadata.labels, &name);
    let node = object.view::<Node>().ok();
    let taints = node.as_ref().and_then(|node| node.spec.as_ref()?.taints.as_deref());
    let repels = |effects: &[&str]| {
        let repelling = |taint: &&Taint| effects.contains(&taint.effect.as_str());
        let mut taints = taints.unwrap_or_default().iter().filter(repelling);
        taints.any(|taint| !tolerates(tolerations, taint))
    };
    Place {
        name,
        should_run: fits && !repels(&["NoSchedule", "NoExecute"]),
        may_stay: fits && !repels(&["NoExecute"]),
    }
}

/// What the pods of a set bear: what the template says, and what those of every set do.
pub(super) fn tolerations(template: &Pod) -> Vec<Toleration> {
    let spec = template.spec.as_ref();
    let mut all = spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
    let on_host = spec.and_then(|spec| spec.host_network) == Some(true);
    for (key, effect) in BORNE.into_iter().chain(on_host.then_some(NO_NETWORK)) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}
