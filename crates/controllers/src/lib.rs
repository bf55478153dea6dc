//! Every decision of the control plane: pure functions from a snapshot to a plan.
//!
//! Nothing here does I/O, reads a clock or draws a random number: the same snapshot, key and time
//! give the same plan, in the engine and in the simulation alike. [`CONTROLLERS`] is the table of
//! them; the driver reads it and knows none by name.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod all;
mod autoscaler;
mod availability;
mod bootstrap;
mod certificates;
mod context;
mod cronjob;
mod daemonset;
mod definitions;
mod deployment;
mod disruption;
mod endpoints;
mod event_expiry;
mod finalizers;
mod flow_control;
mod garbage;
mod job;
mod json;
mod load_balancer;
mod memory;
mod namespaced;
mod namespaces;
mod nodes;
pub mod plan;
mod pod_conditions;
mod policies;
mod quota;
mod registration;
mod replicaset;
mod roles;
mod scheduler;
mod served;
mod service_ranges;
mod statefulset;
mod table;
mod taints;
mod token_secrets;
mod trust;
pub mod volumes;
mod why;
mod workload;

use coracle_api::Timestamp;

pub use all::CONTROLLERS;
pub use bootstrap::bootstrap;
pub use context::{Config, Context};
pub use memory::{Memory, Stamped};
pub use plan::{
    Because, DeleteOptions, EventType, Instead, Note, Plan, Propagation, Refusal, Step, Write,
};
pub use registration::at_start as register_at_start;
pub use scheduler::tolerates;
pub use table::{ANY, Concerns, Controller, Decide};
pub use why::{VOLUME_FAILED, is_told_by_its_controller, outlook, shortfall, status_reason};

#[cfg(test)]
mod counting;
#[cfg(test)]
mod world;

/// `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
