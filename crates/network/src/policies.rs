//! NetworkPolicies, compiled to what the kernel looks up: a pure function of policies, pods and
//! namespaces, kept up to date part by part.
//!
//! * [`policy`]: what one policy says, with its selectors as *facts*.
//! * [`facts`]: what can be true of a pod, and matters to some rule.
//! * [`blocks`]: addresses and ports as boxes that do not overlap.
//! * [`classes`]: pods that the same policies isolate, and what these allow them.
//! * [`table`]: what the kernel is told: who is isolated, and which connections pass all the same.
//! * [`fold`]: the table of a cluster that changes.
//!
//! Pods about which the same facts are true have one *identity*; pods that the same policies isolate
//! in a direction have one *class*. A rule is a few elements for each class and identity that it
//! joins, however many pods have them, so a pod that comes is its own address in three maps.

mod blocks;
mod classes;
mod facts;
mod fold;
mod numbered;
mod policy;
mod ports;
mod table;

pub use facts::PolicyPod;
pub use fold::PolicyFold;
pub use table::{Allowed, AllowedBlock, PolicyTable};

#[cfg(test)]
mod tests;
