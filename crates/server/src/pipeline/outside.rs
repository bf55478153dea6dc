//! Who answers what a write asks of the outside: the engine with its keys, a simulation from its seed.

use async_trait::async_trait;
use coracle_api::Status;

use crate::pipeline::write::calls::{Call, Given};

/// Answers calls.
#[async_trait]
pub trait Outside: Send + Sync {
    /// The answer to `call`.
    ///
    /// # Errors
    /// What the client gets whose request asked.
    async fn answer(&self, call: &Call) -> Result<Given, Status>;
}
