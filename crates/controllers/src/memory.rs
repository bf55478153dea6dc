//! What a decision remembers of its object from one question to the next.

use coracle_api::Timestamp;

/// What is remembered: nothing that could not be lost, since it goes with the engine. The driver
/// keeps it while the object is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Until when there is nothing to decide, whatever is written.
    pub due: Timestamp,
    /// How many replicas were recommended lately, oldest first.
    pub recommendations: Vec<Stamped>,
    /// By how many replicas the target was made larger lately, oldest first.
    pub increases: Vec<Stamped>,
    /// By how many it was made smaller.
    pub decreases: Vec<Stamped>,
}

/// A number, and since when it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When.
    pub at: Timestamp,
    /// What.
    pub number: i64,
}

impl Memory {
    /// Nothing yet, and nothing to decide before `due`.
    pub fn begun(due: Timestamp) -> Self {
        let (recommendations, increases, decreases) = Default::default();
        Self { due, recommendations, increases, decreases }
    }
}
