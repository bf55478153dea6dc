//! Every decision of the control plane: pure functions from a snapshot to a plan.
//!
//! Nothing here does I/O, reads a clock or draws a random number: the same snapshot, key and time
//! give the same plan, in the engine and in the simulation alike.

pub mod plan;

pub use plan::{DeleteOptions, EventType, Note, Plan, Propagation, Write};
