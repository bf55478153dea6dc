//! The scheduler: which node a pod runs on.

use coracle_api::Key;
use coracle_store::Snapshot;

use crate::table::{Controller, itself};
use crate::{Context, Plan};

/// The row of the table.
pub(crate) const CONTROLLER: Controller =
    Controller { name: "default-scheduler", watches: &[("pods", itself)], decide };

/// Binds the pod at `key` to a node.
pub(crate) fn decide(_snapshot: &Snapshot, _key: &Key, _context: &Context<'_>) -> Plan {
    Plan::default()
}
