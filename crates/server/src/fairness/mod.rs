//! API Priority and Fairness: whose request goes on, waits or is refused.
//!
//! All of it is pure: what is asked is classified by rules that were made of the objects once, and
//! [`gate::Gate`] is told what arrives and ends, and when.

use std::sync::Arc;

pub(crate) mod gate;
mod hand;
mod level;
mod queue;
pub(crate) mod rules;
pub(crate) mod shown;
mod turns;

#[cfg(test)]
mod tests;

/// Name of a priority level or a flow schema.
pub(crate) type Name = Arc<str>;
/// A request that was let in.
pub(crate) type Ticket = u64;
