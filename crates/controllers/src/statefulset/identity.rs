//! Who a pod of a set is: its name, its labels, its claims.

use std::sync::Arc;

use coracle_api::Object;
use serde_json::{Value, json};

use super::set::Set;
use crate::json;
use crate::workload::template;

/// Label with the pod's own name.
pub(super) const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// Label with the pod's ordinal.
pub(super) const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";
/// Label with the name of the ControllerRevision that the pod was made from.
pub(super) const REVISION_LABEL: &str = "controller-revision-hash";

/// Set and ordinal that a pod's name says, as `(.*)-([0-9]+)$` reads it. A number over an `i32` is
/// no ordinal.
pub(super) fn parent_and_ordinal(pod: &str) -> Option<(&str, i32)> {
    let (parent, digits) = pod.rsplit_once('-')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(|ordinal| (parent, ordinal))
}

/// The name of the claim of `template` for a pod.
pub(super) fn claim_name(template: &str, pod: &str) -> String {
    format!("{template}-{pod}")
}

/// The pod of `set` with this ordinal, made from `template` (a pod template as JSON), which
/// `revision` names.
pub(super) fn new_pod(set: &Set, ordinal: i32, template: &Value, revision: &str) -> Value {
    let name = set.pod_name(ordinal);
    let mut pod = template::pod(&set.owner, template, &format!("{}-", set.name), &name);
    json::set(&mut pod, &["metadata", "labels", REVISION_LABEL], json!(revision));
    set_identity_labels(&mut pod, &name, ordinal);
    json::set(&mut pod, &["spec", "hostname"], json!(name));
    let subdomain = Some(&set.service_name).filter(|service| !service.is_empty());
    json::set(&mut pod, &["spec", "subdomain"], json!(subdomain));
    set_volumes(&mut pod, set, &name);
    pod
}

fn set_identity_labels(pod: &mut Value, name: &str, ordinal: i32) {
    json::set(pod, &["metadata", "labels", POD_NAME_LABEL], json!(name));
    json::set(pod, &["metadata", "labels", INDEX_LABEL], json!(ordinal.to_string()));
}

/// A volume for each claim template, before the template's own of other names.
fn set_volumes(pod: &mut Value, set: &Set, name: &str) {
    let own = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let claimed = set.claim_templates.iter().map(|template| {
        let claim = claim_name(template, name);
        json!({"name": template, "persistentVolumeClaim": {"claimName": claim}})
    });
    let is_free = |volume: &Value| !set.claim_templates.iter().any(|t| volume["name"] == **t);
    let volumes: Vec<_> = claimed.chain(own.into_iter().filter(is_free)).collect();
    json::set(pod, &["spec", "volumes"], Value::Array(volumes));
}

/// Whether the pod carries the labels of its ordinal.
pub(super) fn identity_matches(pod: &Object, ordinal: i32) -> bool {
    let labels = &pod.metadata().labels;
    labels.get(POD_NAME_LABEL) == Some(&pod.metadata().name)
        && labels.get(INDEX_LABEL) == Some(&ordinal.to_string())
}

/// Whether the pod mounts each claim of its ordinal.
pub(super) fn storage_matches(set: &Set, pod: &Object) -> bool {
    let volumes = pod.value()["spec"]["volumes"].as_array();
    set.claim_templates.iter().all(|template| {
        let claim = claim_name(template, &pod.metadata().name);
        volumes.into_iter().flatten().any(|volume| {
            volume["name"] == **template && volume["persistentVolumeClaim"]["claimName"] == *claim
        })
    })
}

/// The pod with the labels of its ordinal.
pub(super) fn with_identity(pod: &Arc<Object>, ordinal: i32) -> Value {
    let mut value = pod.value().clone();
    set_identity_labels(&mut value, &pod.metadata().name, ordinal);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_name_tells_its_set_and_ordinal() {
        assert_eq!(parent_and_ordinal("web-0"), Some(("web", 0)));
        assert_eq!(parent_and_ordinal("my-web-12"), Some(("my-web", 12)));
        assert_eq!(parent_and_ordinal("web-01"), Some(("web", 1)));
        for stranger in ["web", "web-", "web-x", "web-1x", "web-4294967296", "web-+1"] {
            assert_eq!(parent_and_ordinal(stranger), None, "{stranger}");
        }
    }
}
