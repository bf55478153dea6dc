//! What controllers of workloads have in common: whose a pod is, what one made from a template looks
//! like, which go first when there are too many, conditions, and when to look again.

pub(crate) mod conditions;
pub(crate) mod owner;
pub(crate) mod ownership;
pub(crate) mod ranking;
pub(crate) mod replica;
pub(crate) mod revisions;
pub(crate) mod status;
pub(crate) mod steps;
pub(crate) mod template;
pub(crate) mod wake;
