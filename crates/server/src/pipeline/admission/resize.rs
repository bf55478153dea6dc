//! PodResizeValidator: a pod is not resized beyond all that its node has. Whether there is room
//! beside the others is the node's to say, now or later.

use coracle_api::pod_resources::{Amounts, amounts, requests};
use coracle_api::resources::NODES;
use coracle_api::{Cause, Object, Quantity, Status};
use serde_json::Value;

use crate::pipeline::admission::Attributes;
use crate::pipeline::verbs::text;

/// Refuses a resize that cannot ever come to be where the pod is. As upstream's `validatePodResize`.
pub(super) fn fits_node(attributes: &mut Attributes<'_>, value: &Value) -> Result<(), Status> {
    let changes = |old: &Object| old.value()["spec"] != value["spec"];
    let node = text(value, "/spec/nodeName");
    if !attributes.resizes() || node.is_empty() || !attributes.old.is_some_and(changes) {
        return Ok(());
    }
    let name = text(value, "/metadata/name");
    let Some(found) = attributes.snapshot.find(NODES, "", node) else {
        return Err(attributes.forbidden(name, format!("node {node:?} not found")));
    };
    let there = amounts(&found.value()["status"]["allocatable"]).collect();
    let lacks = beyond(&requests(&value["spec"]), &there);
    if lacks.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", lacks.join("; "));
    let cause =
        Cause { reason: "NodeCapacity".into(), message: String::new(), field: String::new() };
    Err(attributes.forbidden(name, why).with_details(|details| details.causes.push(cause)))
}

/// The parts of upstream's sentence for what is asked for and is not there.
fn beyond(asked: &Amounts, there: &Amounts) -> Vec<String> {
    let number =
        |of: &Amounts, name: &str| of.get(name).copied().unwrap_or(Quantity::ZERO).figure(name);
    let lack = |name: &&str| {
        let (asked, there) = (number(asked, name), number(there, name));
        (asked > there).then(|| format!("{name}, requested: {asked}, allocatable: {there}"))
    };
    ["cpu", "memory"].iter().filter_map(lack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_there_at_all_is_named() {
        let of = |value: Value| amounts(&value).collect();
        let there = of(json!({"cpu": "2", "memory": "1Gi"}));
        assert!(beyond(&of(json!({"cpu": "2", "memory": "1Gi"})), &there).is_empty());
        assert_eq!(
            beyond(&of(json!({"cpu": "9", "memory": "2Gi"})), &there),
            [
                "cpu, requested: 9000, allocatable: 2000",
                "memory, requested: 2147483648, allocatable: 1073741824",
            ]
        );
    }
}
