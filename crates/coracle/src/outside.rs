//! The engine's outside: its keys, and the node.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use coracle_api::Status;
use coracle_node::Node;
use coracle_server::auth::tokens::Tokens;
use coracle_server::{Call, Given, Outside};

/// Answers what pure functions ask.
pub(crate) struct Machine {
    tokens: Arc<Tokens>,
    node: OnceLock<Arc<Node>>,
}

impl Machine {
    /// Who has the keys, and no node yet.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens, node: OnceLock::new() }
    }

    /// Who runs the containers.
    pub fn set_node(&self, node: Arc<Node>) {
        self.node.get_or_init(|| node);
    }
}

#[async_trait]
impl Outside for Machine {
    async fn answer(&self, call: &Call) -> Result<Given, Status> {
        match call {
            Call::Sign { .. } => self.tokens.answer(call).await,
            Call::Measure => match self.node.get() {
                Some(node) => Ok(Given::Usage(node.usage().await)),
                // Nothing runs yet.
                None => Ok(Given::Usage(Arc::default())),
            },
        }
    }
}
