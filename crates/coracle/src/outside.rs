//! The engine's outside: its keys, and the node.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use coracle_api::Status;
use coracle_network::Kernel;
use coracle_node::{Node, from_node};
use coracle_server::auth::tokens::Tokens;
use coracle_server::pki::Refused;
use coracle_server::{Aggregator, Call, Given, Outside, Pki, Webhooks};
use coracle_store::Store;

/// Answers what pure functions ask.
pub(crate) struct Machine {
    tokens: Arc<Tokens>,
    pki: Arc<Pki>,
    node: OnceLock<Arc<Node>>,
    store: Store,
    webhooks: Webhooks,
    aggregator: Arc<Aggregator>,
}

impl Machine {
    /// Who has the keys, and no node yet.
    pub fn new(
        tokens: Arc<Tokens>,
        pki: Arc<Pki>,
        store: Store,
        kernel: &Arc<dyn Kernel>,
        aggregator: Arc<Aggregator>,
    ) -> Self {
        let webhooks = Webhooks::new(from_node(kernel));
        Self { tokens, pki, node: OnceLock::new(), store, webhooks, aggregator }
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
            Call::Sign { .. } | Call::Review { .. } => self.tokens.answer(call).await,
            Call::Certify { request, usages, not_before, not_after } => {
                let signed = self.pki.certify(request, usages, *not_before, *not_after);
                signed.map(Given::Certificate).map_err(|error| match error {
                    Refused::Request(why) => Status::bad_request(why),
                    Refused::Failed(error) => Status::internal(error),
                })
            }
            Call::Post(post) => {
                Ok(Given::Posted(self.webhooks.post(&self.store.snapshot(), post).await))
            }
            Call::Fetch(fetch) => {
                let fetched = self.aggregator.fetch(&self.store.snapshot(), fetch).await;
                Ok(Given::Fetched(fetched))
            }
            Call::All(_) | Call::Sweep { .. } => {
                Err(Status::internal("questions are asked one by one"))
            }
            Call::Measure => match self.node.get() {
                Some(node) => Ok(Given::Usage(node.usage().await)),
                // Nothing runs yet.
                None => Ok(Given::Usage(Arc::default())),
            },
        }
    }
}
