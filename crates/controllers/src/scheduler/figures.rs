//! How much of a resource is asked for and how much is left, in words.

use coracle_api::{Quantity, sums};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::Pod;

use super::nodes::Nodes;
use super::request::{Amounts, numbers};

/// Nodes that are named before the rest is only counted.
const NODES_MAX: usize = 3;

/// `it asks for cpu 4, and node-1 has 1500m of 2 left`
pub(crate) fn figures(snapshot: &Snapshot, pod: &Pod, resource: &str) -> String {
    let of = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or(0);
    let pod = serde_json::to_value(pod).unwrap_or_default();
    let asked = of(&numbers(&sums::on_node(&pod)));
    let nodes = Nodes::of(snapshot);
    let mut left: Vec<String> = nodes
        .iter()
        .take(NODES_MAX)
        .map(|node| {
            let (all, used) = (of(&node.allocatable), of(&node.used));
            let free = all.saturating_sub(used).max(0);
            format!("{} has {} of {}", node.name(), text(resource, free), text(resource, all))
        })
        .collect();
    if nodes.len() > NODES_MAX {
        left.push(format!("{} more nodes have not enough", nodes.len() - NODES_MAX));
    }
    format!("it asks for {resource} {}, and {} left", text(resource, asked), left.join(", "))
}

/// An amount as the API would write it.
fn text(resource: &str, amount: i64) -> String {
    let is_bytes =
        matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    let quantity = match resource {
        "cpu" => Quantity::from_millis(amount),
        _ if is_bytes => Quantity::from_bytes(amount),
        _ => Quantity::from_count(amount),
    };
    quantity.to_string()
}
