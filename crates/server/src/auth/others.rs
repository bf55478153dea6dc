//! Whom the API knows beside the bearers of its own certificates and tokens: those of a file of tokens,
//! and those whom other issuers vouch for; and whether it answers those that it does not know.

use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::Timestamp;

use crate::auth::issuers::Provider;
use crate::auth::jwt::configuration::{Anonymous, Configuration};
use crate::auth::jwt::token::Token;
use crate::auth::token_file::TokenFile;
use crate::pipeline::request::User;

/// Whom it knows.
#[derive(Default)]
pub struct Others {
    tokens: ArcSwap<TokenFile>,
    configured: ArcSwap<Configured>,
}

/// What can change while the engine runs.
#[derive(Default)]
struct Configured {
    providers: Vec<Arc<Provider>>,
    anonymous: Option<Anonymous>,
}

impl Others {
    /// Knows those of a file from now on.
    pub fn list(&self, tokens: TokenFile) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Knows from now on whom `configuration` says, and begins to fetch the keys of its issuers. Within
    /// a runtime of tokio.
    pub fn configure(&self, configuration: Configuration) {
        let Configuration { issuers, anonymous } = configuration;
        let former = self.configured.load();
        let issuers = issuers.into_iter();
        let providers = issuers.map(|it| Provider::new(it, &former.providers)).collect();
        self.configured.store(Arc::new(Configured { providers, anonymous }));
    }

    /// Whether a request without credentials is answered on `path`.
    #[must_use]
    pub fn answers_anonymous(&self, path: &str) -> bool {
        let configured = self.configured.load();
        configured.anonymous.as_ref().is_none_or(|anonymous| anonymous.allows(path))
    }

    /// Whose `token` is in the file.
    #[must_use]
    pub fn listed(&self, token: &str) -> Option<User> {
        self.tokens.load().user(token).cloned()
    }

    /// Whose `token` is, if another issuer is configured that says so.
    ///
    /// # Errors
    /// Why it is not believed, if it is of one of them.
    pub async fn vouched(&self, token: &str, now: Timestamp) -> Option<Result<User, String>> {
        let configured = self.configured.load_full();
        if configured.providers.is_empty() {
            return None;
        }
        let token = Token::read(token)?;
        let provider = configured.providers.iter().find(|it| it.issuer().url == token.issuer())?;
        Some(provider.user(&token, now).await)
    }
}
