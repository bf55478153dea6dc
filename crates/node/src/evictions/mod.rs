//! Which pods must go for what they have written, or because the node is short of something: pure.
//!
//! [`own_limits`] judges a pod by what it says itself, [`pressure`] the node by its thresholds,
//! [`choice`] says who goes first, and [`images`] which images do before any pod does. Whoever
//! measures and carries it out is [`crate::relief`].

pub(crate) mod choice;
pub(crate) mod images;
pub(crate) mod own_limits;
pub(crate) mod pressure;
