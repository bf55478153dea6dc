//! What is accepted and not acted on: one table, which the `Warning` of a write and `coracle why`
//! read. An entry goes when something acts on it.

use serde_json::Value;

use crate::Kind;

/// Kinds that are stored and served, and that nothing acts on: group, kind, what does not happen.
const KINDS: &[(&str, &str, &str)] = &[
    ("networking.k8s.io", "Ingress", "no requests are routed; use a Service"),
    ("resource.k8s.io", "ResourceClaim", "no device is allocated"),
    ("resource.k8s.io", "ResourceClaimTemplate", "no claim is made"),
    ("resource.k8s.io", "ResourceSlice", "no device is allocated"),
    ("storage.k8s.io", "VolumeAttachment", "no volume is attached"),
    ("storage.k8s.io", "VolumeAttributesClass", "volumes are not modified"),
    ("storagemigration.k8s.io", "StorageVersionMigration", "nothing is migrated"),
];

/// Fields of a pod's specification, the value that is meant when not any, and what does not happen.
const POD_FIELDS: &[(&str, Option<bool>, &str)] = &[
    ("hostUsers", Some(false), "the pod's users are the machine's"),
    ("resourceClaims", None, "no device is allocated"),
];

/// What does not happen for an object of the kind: `no pods are made`.
#[must_use]
pub fn of_kind(kind: &Kind) -> Option<&'static str> {
    let found = KINDS.iter().find(|(group, name, _)| kind.group == *group && kind.kind == *name);
    found.map(|(_, _, why)| *why)
}

/// Each field of a pod's specification that nothing acts on: its path below `path`, and what does
/// not happen.
#[must_use]
pub fn of_pod(spec: &Value, path: &str) -> Vec<(String, &'static str)> {
    let is_meant = |name: &str, wanted: Option<bool>| {
        let value = &spec[name];
        !value.is_null() && wanted.is_none_or(|wanted| *value == wanted)
    };
    let found = POD_FIELDS.iter().filter(|(name, wanted, _)| is_meant(name, *wanted));
    let dot = if path.is_empty() { "" } else { "." };
    found.map(|(name, _, why)| (format!("{path}{dot}{name}"), *why)).collect()
}

/// What does not happen for an object: of its kind, or else of each field of its pods.
#[must_use]
pub fn sentences(kind: &Kind, object: &Value) -> Vec<String> {
    if let Some(why) = of_kind(kind) {
        return vec![format!("coracle does not act on objects of kind {} yet: {why}", kind.kind)];
    }
    let Some((pointer, path)) = pod_spec(kind) else { return Vec::new() };
    let fields = object.pointer(pointer).map(|spec| of_pod(spec, path)).unwrap_or_default();
    let sentence = |(at, why)| format!("{at}: coracle does not act on this yet: {why}");
    fields.into_iter().map(sentence).collect()
}

/// Where a kind has a pod's specification: pointer and path.
pub(super) fn pod_spec(kind: &Kind) -> Option<(&'static str, &'static str)> {
    Some(match (&*kind.group, &*kind.kind) {
        ("", "Pod") => ("/spec", "spec"),
        ("", "PodTemplate") => ("/template/spec", "template.spec"),
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => ("/spec/template/spec", "spec.template.spec"),
        ("batch", "CronJob") => {
            ("/spec/jobTemplate/spec/template/spec", "spec.jobTemplate.spec.template.spec")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_in_the_table_is_served() {
        let kinds = crate::Kinds::builtin();
        for (group, name, _) in KINDS {
            let served = kinds.iter().any(|kind| kind.group == *group && kind.kind == *name);
            assert!(served, "{group} {name}");
        }
    }

    #[test]
    fn fields_are_found_where_they_stand() {
        let paths = |spec: &Value, path: &str| {
            of_pod(spec, path).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        let spec = json!({"hostUsers": false, "resourceClaims": []});
        assert_eq!(paths(&spec, "spec"), ["spec.hostUsers", "spec.resourceClaims"]);
        assert_eq!(paths(&spec, ""), ["hostUsers", "resourceClaims"]);
        assert_eq!(paths(&json!({"hostUsers": true}), "spec"), [""; 0]);
    }
}
