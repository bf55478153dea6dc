//! Every decision of the control plane: pure functions from a snapshot to a plan.
//!
//! Nothing here does I/O, reads a clock or draws a random number: the same snapshot, key and time
//! give the same plan, in the engine and in the simulation alike. [`CONTROLLERS`] is the table of
//! them; the driver reads it and knows none by name.

mod context;
mod json;
pub mod plan;
mod pods;
mod scheduler;
mod statefulset;
mod table;

pub use context::{Config, Context};
pub use plan::{Because, DeleteOptions, EventType, Note, Plan, Propagation, Refusal, Write};
pub use table::{ANY, CONTROLLERS, Concerns, Controller, Decide};

#[cfg(test)]
mod world;
