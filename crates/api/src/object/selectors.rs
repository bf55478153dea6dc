//! Which objects select others by label, and where their selectors are.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::resources::{
    DAEMON_SETS, DEPLOYMENTS, JOBS, NETWORK_POLICIES, POD_DISRUPTION_BUDGETS, REPLICA_SETS,
    REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS,
};
use crate::{Object, Selector};

/// The GroupResources whose objects select pods.
pub const RESOURCES: &[&str] = &[
    SERVICES,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    REPLICA_SETS,
    DEPLOYMENTS,
    DAEMON_SETS,
    JOBS,
    POD_DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
];

/// The selector in `object` of `resource`; `None` when there is none, or it is malformed.
pub(crate) fn parse(resource: &str, object: &Value) -> Option<Selector> {
    let spec = object.get("spec")?;
    match resource {
        // A map of labels; without any, nothing is selected.
        SERVICES | REPLICATION_CONTROLLERS => {
            let labels = spec.get("selector")?.as_object()?;
            let labels: BTreeMap<String, String> = labels
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            (!labels.is_empty()).then(|| Selector::from_labels(&labels))
        }
        NETWORK_POLICIES => Selector::from_json(spec.get("podSelector")).ok(),
        _ => Selector::from_json(spec.get("selector")).ok(),
    }
}

impl Object {
    /// By which labels the object selects pods: nothing, when it does not. Parsed once a version.
    pub fn selector(&self) -> Arc<Selector> {
        self.memo(|| parse(&self.key().resource, self.value()).unwrap_or_else(Selector::nothing))
    }
}
