//! What a pod's volumes and variables are made from.

use coracle_api::resources::{CLUSTER_TRUST_BUNDLES, PERSISTENT_VOLUME_CLAIMS};
use coracle_api::{Object, index};
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

/// Whether the pod is made from the object `name` of `resource`, or from any of them.
pub(crate) fn refers_to(pod: &Object, resource: &str, name: Option<&str>) -> bool {
    let is_meant = |found: &str| name.is_none_or(|name| name == found);
    pod.peek(|value| match resource {
        CLUSTER_TRUST_BUNDLES => {
            let volumes = value["spec"]["volumes"].as_array().into_iter().flatten();
            let sources = volumes.filter_map(|volume| volume["projected"]["sources"].as_array());
            sources.flatten().any(|source| source["clusterTrustBundle"].is_object())
        }
        PERSISTENT_VOLUME_CLAIMS => {
            let volumes = value["spec"]["volumes"].as_array().into_iter().flatten();
            let mut claims = volumes.filter_map(|it| index::claim_name(&pod.metadata().name, it));
            claims.any(|claim| is_meant(&claim))
        }
        _ => index::references(value).iter().any(|(of, it)| *of == resource && is_meant(it)),
    })
}
