//! Nodes that are only simulated: their pods have the whole life of a pod, and no processes.
//!
//! A Node with the annotation of kwok's users ([`nodes::ANNOTATION`]) is one. Its pods are worked on by
//! the same [`crate::worker::Worker`] as all others, in one task for all of them; what the worker asks
//! of the machine is answered after the time that the pod's annotations tell ([`life`]).

mod fleet;
mod life;
mod nodes;
mod pod;
mod recover;
#[cfg(test)]
mod tests;

pub(crate) use fleet::{keep_addresses, run};
pub(crate) use nodes::is_simulated;
