//! Objects that nobody writes: functions of what is stored, and of facts beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::kinds::offered::Remote;
use crate::{Object, Usage};

/// Makes the objects of a row, of which only those that are asked for need be among them.
pub type Compute = fn(&Seen<'_>) -> Vec<Value>;

/// How the objects of a row are made.
#[derive(Clone, Copy, Debug)]
pub struct Computed {
    /// From what they are made.
    pub compute: Compute,
    /// Whether that is also what containers use, which is measured for whoever asks.
    pub is_measured: bool,
    /// How a refusal calls them, when that is not the row's plural: `podmetrics`.
    pub called: Option<&'static str>,
}

/// What computed objects are a function of.
pub struct Seen<'a> {
    /// What is stored.
    pub objects: &'a dyn Look,
    /// What is known beside.
    pub facts: &'a Facts,
    /// What containers use, for a row that is measured; else nothing.
    pub usage: &'a Usage,
    /// The namespace that is asked about; `None` for all.
    pub namespace: Option<&'a str>,
    /// The name that is asked about; `None` for all.
    pub name: Option<&'a str>,
}

/// All that is stored, at one moment.
pub trait Look {
    /// The objects of `resource`, in one namespace or in all.
    fn look<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a>;
}

/// What is known beside the store, and no longer than the engine runs. Never changes: whoever knows
/// better swaps the pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The parts of the control plane that were begun, and what is wrong with each that fails.
    pub components: BTreeMap<&'static str, Result<(), String>>,
    /// What other API servers have said of themselves, by the name of their APIService.
    pub remotes: BTreeMap<String, Arc<Remote>>,
}

/// Runs the controllers.
pub const CONTROLLER_MANAGER: &str = "controller-manager";
/// Chooses nodes for pods.
pub const SCHEDULER: &str = "scheduler";
/// Keeps the objects.
pub const STORE: &str = "etcd-0";

/// `componentstatuses`: the parts of a control plane under upstream's names.
pub(super) fn component_statuses(seen: &Seen<'_>) -> Vec<Value> {
    let status = |name: &&str| {
        let condition = match seen.facts.components.get(name) {
            Some(Ok(())) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
            Some(Err(why)) => json!({"type": "Healthy", "status": "False", "message": why}),
            None => {
                json!({"type": "Healthy", "status": "Unknown", "error": "it does not run here"})
            }
        };
        json!({
            "apiVersion": "v1",
            "kind": "ComponentStatus",
            "metadata": {"name": name},
            "conditions": [condition],
        })
    };
    [CONTROLLER_MANAGER, STORE, SCHEDULER].iter().map(status).collect()
}
