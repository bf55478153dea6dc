//! What a pod asks of a node: amounts of resources, and ports of the node itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::pod_resources::{self, Amounts as Quantities};
use coracle_api::{Object, Quantity, index, sums};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// Amounts by resource: thousandths of `cpu`, whole units of everything else.
pub(super) type Amounts = BTreeMap<String, i64>;

/// What one pod asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// With `pods`, of which it is one.
    pub amounts: Amounts,
    /// What is assumed of `cpu` and `memory` beside that.
    pub assumed: BTreeMap<&'static str, i64>,
    pub ports: Vec<index::HostPort>,
}

impl Request {
    /// The request of a pod, made once a version.
    pub fn of(pod: &Object) -> Arc<Self> {
        pod.memo(|| Self {
            amounts: numbers(&sums::on_node(pod.value())),
            assumed: pod_resources::assumed(&pod.value()["spec"]),
            ports: index::host_ports(pod.value()).collect(),
        })
    }
}

/// Sums as numbers.
pub(super) fn numbers(quantities: &Quantities) -> Amounts {
    quantities.iter().map(|(name, amount)| (name.clone(), amount.figure(name))).collect()
}

/// Quantities as numbers; what is no quantity counts as nothing.
pub(super) fn amounts(quantities: Option<&BTreeMap<String, Text>>) -> Amounts {
    let amount =
        |name: &str, text: &Text| Quantity::parse(&text.0).unwrap_or(Quantity::ZERO).figure(name);
    let all = quantities.into_iter().flatten();
    all.map(|(name, text)| (name.clone(), amount(name, text))).collect()
}
