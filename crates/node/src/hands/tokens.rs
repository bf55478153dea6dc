//! Service account tokens.

use std::time::Duration;

use coracle_api::Timestamp;

use super::Hands;
use crate::client::Token;
use crate::worker::token_files;

/// The pause after a token was not renewed.
const AGAIN: Duration = Duration::from_secs(60);

impl Hands {
    /// Asks for the tokens that are missing or old. One that cannot be had leaves the volume
    /// waiting, or the old token in place. When the next one must be renewed.
    pub(super) async fn ask_for_tokens(&self) -> Result<Option<Timestamp>, String> {
        let now = self.context.client.now();
        let account = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        for (volume, file) in token_files(&self.pod) {
            let key = (volume.clone(), file.path.clone());
            let known = self.held().tokens.get(&key).cloned();
            if known.as_ref().is_some_and(|token| token.refresh_at > now) {
                continue;
            }
            let token = match self.context.client.token(&self.id, &account, &file).await {
                Ok(token) => token,
                Err(error) => {
                    let Some(known) = known else {
                        let why = format!("failed to fetch token: {error}");
                        return Err(format!(
                            "MountVolume.SetUp failed for volume \"{volume}\" : {why}"
                        ));
                    };
                    tracing::warn!(pod = %self.id.name, %error, "a token is not renewed");
                    let refresh_at = now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
                    Token { refresh_at, ..known }
                }
            };
            self.held().tokens.insert(key, token);
        }
        Ok(self.held().tokens.values().map(|token| token.refresh_at).min())
    }
}
