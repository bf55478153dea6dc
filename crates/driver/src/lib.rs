//! The one loop that carries decisions out: watch, queue, snapshot, decide, commit.
//!
//! [`Loop`] is the whole of it and runs nothing by itself: the engine ([`run`]) and the simulation
//! step it, with their own clocks. At rest it writes nothing and asks to be woken only when a
//! decision wants to be looked at again.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod errand;
mod events;
mod journal;
mod panics;
mod queue;
mod reasons;
mod requests;
mod run;
mod turn;

#[cfg(test)]
mod tests;

pub use errand::{Errand, Outcome};
pub use events::{EventRecorder, EventSource};
pub use journal::{Entry, Journal};
pub use queue::Job;
pub use reasons::{Reason, Reasons};
pub use run::run;
pub use turn::{Loop, bootstrap};
