//! The keys of other issuers: found by OpenID Connect Discovery 1.0, fetched before anybody needs them
//! and now and then again, never more often than a client could want to make us.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::auth::jwt::configuration::Issuer;
use crate::auth::jwt::keys::{self, Key};
use crate::auth::jwt::mapping;
use crate::auth::jwt::token::{Doubt, Token};
use crate::pipeline::request::User;
use crate::reach::get::Getter;
use crate::reach::tls::Trust;

/// How long after a failure keys are fetched again: upstream's pause.
const AGAIN: Duration = Duration::from_secs(10);
/// How old keys may become that verify what there is.
const OLD: Duration = Duration::from_hours(1);
/// The least time between two fetches, however many tokens show keys that nobody knows.
const APART: Duration = Duration::from_secs(10);

/// An issuer, and its keys as far as they are known.
pub struct Provider {
    issuer: Issuer,
    getter: Getter,
    keys: ArcSwapOption<Vec<Key>>,
    /// When they were fetched last, with or without success.
    fetched: Arc<Mutex<Option<Instant>>>,
}

impl Provider {
    /// One whose keys are fetched from now on, for as long as anybody has it. Until they are there,
    /// those count that one of the `former` has from the same place.
    pub(super) fn new(issuer: Issuer, former: &[Arc<Self>]) -> Arc<Self> {
        let authority = STANDARD.encode(&issuer.authority);
        let getter = Getter::new(Trust::Bundle(authority));
        let is_same = |it: &&Arc<Self>| it.issuer.has_keys_of(&issuer);
        let known = former.iter().find(is_same).and_then(|it| it.keys.load_full());
        let (keys, fetched) = (ArcSwapOption::new(known), Arc::default());
        let provider = Arc::new(Self { issuer, getter, keys, fetched });
        tokio::spawn(keep(Arc::downgrade(&provider)));
        provider
    }

    pub(super) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Who bears `token`. For a key that is not known yet keys are fetched, but not again and again.
    pub(super) async fn user(
        self: &Arc<Self>,
        token: &Token<'_>,
        now: Timestamp,
    ) -> Result<User, String> {
        let began = Instant::now();
        let known = self.keys.load_full().ok_or("oidc: authenticator not initialized")?;
        let claims = match token.claims(&self.issuer, &known, now) {
            Err(Doubt::Unsigned(why)) => {
                self.fetch_unless_since(began.checked_sub(APART).unwrap_or(began)).await;
                let newer = self.keys.load_full().filter(|newer| !Arc::ptr_eq(newer, &known));
                match newer {
                    Some(newer) => token.claims(&self.issuer, &newer, now),
                    None => Err(Doubt::Unsigned(why)),
                }
            }
            judged => judged,
        };
        let claims = claims.map_err(|(Doubt::Unsigned(why) | Doubt::Refused(why))| {
            format!("oidc: verify token: {why}")
        })?;
        mapping::user(&self.issuer, &claims)
    }

    /// Fetches the keys, unless that was done since `then`. Whoever comes meanwhile waits for it.
    async fn fetch_unless_since(self: &Arc<Self>, then: Instant) {
        let mut fetched = Arc::clone(&self.fetched).lock_owned().await;
        if fetched.is_some_and(|at| at > then) {
            return;
        }
        let provider = Arc::clone(self);
        // Whoever asked may go away meanwhile, and come back: it is fetched to the end all the same.
        let renewed = tokio::spawn(async move {
            provider.renew().await;
            *fetched = Some(Instant::now());
        });
        if let Err(error) = renewed.await {
            tracing::error!(%error, "keys of an issuer were not fetched");
        }
    }

    async fn renew(&self) {
        match self.fetch().await {
            Ok(keys) => self.keys.store(Some(Arc::new(keys))),
            Err(why) => {
                let url = &self.issuer.url;
                tracing::warn!("the keys of the issuer {url} cannot be had: {why}");
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let Issuer { url, discovery_url, .. } = &self.issuer;
        let below = format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        let at = if discovery_url.is_empty() { &below } else { discovery_url };
        let configuration = self.getter.get(at).await?;
        let configuration: Value = serde_json::from_slice(&configuration).map_err(|error| {
            format!("{at}: failed to decode provider discovery object: {error}")
        })?;
        // Else whoever serves one issuer could speak for another.
        let said = configuration["issuer"].as_str().unwrap_or_default();
        if said != url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {url:?} got \
                 {said:?}"
            ));
        }
        let keys_url = configuration["jwks_uri"].as_str().unwrap_or_default();
        let keys = self.getter.get(keys_url).await?;
        keys::read(&keys).map_err(|why| format!("{keys_url}: {why}"))
    }
}

/// Keeps the keys new until nobody has the provider any more.
async fn keep(provider: Weak<Provider>) {
    loop {
        let pause = match provider.upgrade() {
            None => return,
            Some(provider) => {
                provider.fetch_unless_since(Instant::now()).await;
                if provider.keys.load().is_some() { OLD } else { AGAIN }
            }
        };
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::jwt::configuration::Configuration;

    fn issuer(url: &str, audience: &str) -> Issuer {
        let whole = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {"url": url, "audiences": [audience]},
                "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
            }],
        });
        Configuration::parse(&whole.to_string(), "own").unwrap().issuers.remove(0)
    }

    /// Nothing is fetched here: nobody waits, so that nobody else comes to run.
    #[tokio::test]
    async fn what_changes_about_an_issuer_does_not_make_its_keys_unknown() {
        let former = Provider::new(issuer("https://a.example.com", "x"), &[]);
        assert!(former.keys.load().is_none());
        former.keys.store(Some(Arc::default()));
        let former = [former];
        let knows = |url: &str| Provider::new(issuer(url, "y"), &former).keys.load().is_some();
        assert!(knows("https://a.example.com") && !knows("https://b.example.com"));
    }
}
