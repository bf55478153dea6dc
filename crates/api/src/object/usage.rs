//! What containers and nodes use: measured for whoever asks, and never stored.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// What is used now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By the pods' UIDs, what their running containers use, by name. A pod of which nothing is known
    /// yet is not among them.
    pub pods: BTreeMap<String, Measured<BTreeMap<String, Amount>>>,
    /// By the nodes' names, what their pods use together.
    pub nodes: BTreeMap<String, Measured<Amount>>,
}

/// What was measured once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured<T> {
    /// When.
    pub at: Timestamp,
    /// Over how long before that the processor's time was counted.
    pub window: SignedDuration,
    /// The amounts.
    pub used: T,
}

/// How much of the machine something uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Billionths of a processor, on average over the window.
    pub nanocores: u64,
    /// Memory that cannot be taken back from it: its working set.
    pub bytes: u64,
}
