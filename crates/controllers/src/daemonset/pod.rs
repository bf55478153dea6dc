//! A pod of a set, for one node.

use serde_json::{Value, json};

use super::draft::Draft;
use super::labels::{FAILURES, GENERATION, GENERATION_LABEL, HASH_LABEL};
use super::nodes;
use crate::json;
use crate::workload::template;

impl Draft<'_> {
    /// A pod for `node`, after so many that failed there.
    pub fn new_pod(&mut self, node: &str, failures: u32) -> Value {
        let owner = &self.set.owner;
        let prefix = format!("{}-", owner.name());
        let name = self.names.next(&prefix);
        let made = &owner.object.value()["spec"]["template"];
        let mut pod = template::pod(owner, made, &prefix, &name);
        let hash = &self.newest.hash;
        json::set(&mut pod, &["metadata", "labels", HASH_LABEL], json!(hash));
        if let Some(generation) = owner.object.metadata().annotations.get(GENERATION) {
            json::set(&mut pod, &["metadata", "labels", GENERATION_LABEL], json!(generation));
        }
        if failures > 0 {
            let failures = json!(failures.to_string());
            json::set(&mut pod, &["metadata", "annotations", FAILURES], failures);
        }
        json::set(
            &mut pod,
            &["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"],
            json!({"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [node]},
            ]}]}),
        );
        json::set(
            &mut pod,
            &["spec", "tolerations"],
            json!(nodes::tolerations(&self.set.template)),
        );
        pod
    }
}
