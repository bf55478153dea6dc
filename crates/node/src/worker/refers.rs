//! What a pod's volumes and variables are made from.

use coracle_api::resources::{CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, SECRETS, SERVICE_ACCOUNTS};
use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::volumes::payload::{self, TokenFile};

/// Token files of the pod, with their volumes.
pub(crate) fn token_files(pod: &Pod) -> Vec<(String, TokenFile)> {
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

/// Whether the pod's volumes or variables come from the object `name` of `resource`, or from any
/// of them.
pub(crate) fn refers_to(pod: &Pod, resource: &str, name: Option<&str>) -> bool {
    match resource {
        CONFIG_MAPS => volumes(pod).any(|it| map_of(it, name)) || in_env(pod, name, true),
        SECRETS => volumes(pod).any(|it| secret_of(it, name)) || in_env(pod, name, false),
        PERSISTENT_VOLUME_CLAIMS => volumes(pod).any(|volume| {
            let claim = volume.persistent_volume_claim.as_ref();
            claim.is_some_and(|claim| is(&claim.claim_name, name)) || volume.ephemeral.is_some()
        }),
        SERVICE_ACCOUNTS => {
            let own = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
            is(own.unwrap_or("default"), name)
        }
        _ => false,
    }
}

fn map_of(volume: &Volume, name: Option<&str>) -> bool {
    let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    volume.config_map.as_ref().is_some_and(|source| is(&source.name, name))
        || sources.filter_map(|source| source.config_map.as_ref()).any(|map| is(&map.name, name))
}

fn secret_of(volume: &Volume, name: Option<&str>) -> bool {
    let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
    volume
        .secret
        .as_ref()
        .is_some_and(|source| source.secret_name.as_deref().is_some_and(|it| is(it, name)))
        || sources.filter_map(|source| source.secret.as_ref()).any(|it| is(&it.name, name))
}

fn in_env(pod: &Pod, name: Option<&str>, config_map: bool) -> bool {
    crate::pods::containers(pod).into_iter().any(|container| {
        let from = container.env_from.iter().flatten().any(|source| match config_map {
            true => source.config_map_ref.as_ref().is_some_and(|it| is(&it.name, name)),
            false => source.secret_ref.as_ref().is_some_and(|it| is(&it.name, name)),
        });
        let sources = container.env.iter().flatten().filter_map(|it| it.value_from.as_ref());
        let mut sources = sources;
        from || sources.any(|source| match config_map {
            true => source.config_map_key_ref.as_ref().is_some_and(|it| is(&it.name, name)),
            false => source.secret_key_ref.as_ref().is_some_and(|it| is(&it.name, name)),
        })
    })
}

fn is(found: &str, name: Option<&str>) -> bool {
    name.is_none_or(|name| name == found)
}
