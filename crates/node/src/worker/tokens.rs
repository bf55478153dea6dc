//! Service account tokens and other files that change while a pod runs.

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::Worker;
use crate::client::Token;
use crate::volumes::payload::{self, TokenFile};

/// Token files of the pod, with their volumes.
fn token_files(pod: &Pod) -> Vec<(String, TokenFile)> {
    let mut files = Vec::new();
    for volume in volumes(pod) {
        let mode = volume.projected.as_ref().and_then(|source| source.default_mode);
        let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for token in sources.filter_map(|source| source.service_account_token.as_ref()) {
            files.push((volume.name.clone(), payload::token_file(token, mode.unwrap_or(0o644))));
        }
    }
    files
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Whether the pod's volumes or variables come from the object `name` of `resource`.
pub(crate) fn refers_to(pod: &Pod, resource: &str, name: &str) -> bool {
    match resource {
        "configmaps" => volumes(pod).any(|it| map_of(it, name)) || in_env(pod, name, true),
        "secrets" => volumes(pod).any(|it| secret_of(it, name)) || in_env(pod, name, false),
        "persistentvolumeclaims" => volumes(pod).any(|volume| {
            let claim = volume.persistent_volume_claim.as_ref();
            claim.is_some_and(|claim| claim.claim_name == name) || volume.ephemeral.is_some()
        }),
        "serviceaccounts" => {
            let own = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
            own.unwrap_or("default") == name
        }
        _ => false,
    }
}

fn map_of(volume: &Volume, name: &str) -> bool {
    let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    volume.config_map.as_ref().is_some_and(|source| source.name == name)
        || sources.filter_map(|source| source.config_map.as_ref()).any(|map| map.name == name)
}

fn secret_of(volume: &Volume, name: &str) -> bool {
    let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    volume.secret.as_ref().is_some_and(|source| source.secret_name.as_deref() == Some(name))
        || sources.filter_map(|source| source.secret.as_ref()).any(|it| it.name == name)
}

fn in_env(pod: &Pod, name: &str, config_map: bool) -> bool {
    crate::pods::containers(pod).into_iter().any(|container| {
        let from = container.env_from.iter().flatten().any(|source| match config_map {
            true => source.config_map_ref.as_ref().is_some_and(|it| it.name == name),
            false => source.secret_ref.as_ref().is_some_and(|it| it.name == name),
        });
        let sources = container.env.iter().flatten().filter_map(|it| it.value_from.as_ref());
        let mut sources = sources;
        from || sources.any(|source| match config_map {
            true => source.config_map_key_ref.as_ref().is_some_and(|it| it.name == name),
            false => source.secret_key_ref.as_ref().is_some_and(|it| it.name == name),
        })
    })
}

impl Worker {
    /// Asks for the tokens that are missing or old. One that cannot be had leaves the volume
    /// waiting, or the old token in place.
    pub(super) async fn ask_for_tokens(&mut self) -> Result<(), String> {
        let now = self.context.client.now();
        let account = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        for (volume, file) in token_files(&self.pod) {
            let key = (volume.clone(), file.path.clone());
            let known = self.tokens.get(&key).cloned();
            if known.as_ref().is_some_and(|token| token.refresh_at > now) {
                continue;
            }
            match self.context.client.token(&self.id, &account, &file).await {
                Ok(token) => drop(self.tokens.insert(key, token)),
                Err(error) if known.is_none() => {
                    let why = format!("failed to fetch token: {error}");
                    return Err(format!(
                        "MountVolume.SetUp failed for volume \"{volume}\" : {why}"
                    ));
                }
                Err(error) => {
                    tracing::warn!(pod = %self.object.key(), %error, "a token is not renewed");
                    let again = self.later(std::time::Duration::from_secs(60));
                    let value = known.map(|token| token.value).unwrap_or_default();
                    self.tokens.insert(key, Token { value, refresh_at: again });
                }
            }
        }
        Ok(())
    }

    /// When the next token must be renewed.
    pub(super) fn token_refresh(&self) -> Option<jiff::Timestamp> {
        if !self.seen.volumes_ready || self.seen.sandbox.is_none() {
            return None;
        }
        self.tokens.values().map(|token| token.refresh_at).min()
    }

    /// Writes the files of volumes that are in place anew; containers see them change at once.
    pub(super) async fn refresh_files(&mut self) {
        if self.seen.volumes_ready && self.seen.sandbox.is_some() {
            self.write_files_anew().await;
        }
    }
}
