//! What is accepted and not acted on: one table, which the `Warning` of a write and `coracle why`
//! read. An entry goes when something acts on it.

use serde_json::Value;

use crate::Kind;

/// Kinds that are stored and served, and that nothing acts on: group, kind, what does not happen.
const KINDS: &[(&str, &str, &str)] = &[
    ("networking.k8s.io", "Ingress", "no requests are routed; use a Service"),
    ("networking.k8s.io", "NetworkPolicy", "all traffic is allowed"),
    ("apiregistration.k8s.io", "APIService", "no requests are passed on"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", "requests are not queued by it"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "requests are not queued by it"),
    ("resource.k8s.io", "ResourceClaim", "no device is allocated"),
    ("resource.k8s.io", "ResourceClaimTemplate", "no claim is made"),
    ("resource.k8s.io", "ResourceSlice", "no device is allocated"),
    ("storage.k8s.io", "VolumeAttachment", "no volume is attached"),
    ("storage.k8s.io", "VolumeAttributesClass", "volumes are not modified"),
    ("storagemigration.k8s.io", "StorageVersionMigration", "nothing is migrated"),
];

/// Fields of a pod's specification: pointer with `*` for every item of a list, the value that is
/// meant when not any, and what does not happen.
const POD_FIELDS: &[(&str, Option<&str>, &str)] = &[
    (
        "/containers/*/restartPolicyRules/*/action",
        Some("RestartAllContainers"),
        "the container alone is restarted",
    ),
    (
        "/initContainers/*/restartPolicyRules/*/action",
        Some("RestartAllContainers"),
        "the container alone is restarted",
    ),
    ("/resourceClaims", None, "no device is allocated"),
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
    let mut found = Vec::new();
    for (pointer, wanted, why) in POD_FIELDS {
        let parts: Vec<&str> = pointer.split('/').skip(1).collect();
        collect(spec, &parts, path.to_string(), &mut |value, at| {
            if wanted.is_none_or(|wanted| value == wanted) {
                found.push((at, *why));
            }
        });
    }
    found
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

/// Calls `act` with every value that a pointer leads to, and its path.
fn collect(value: &Value, parts: &[&str], path: String, act: &mut dyn FnMut(&Value, String)) {
    match parts {
        [] => match value {
            Value::Null => {}
            _ => act(value, path),
        },
        ["*", rest @ ..] => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                collect(item, rest, format!("{path}[{index}]"), act);
            }
        }
        [name, rest @ ..] => {
            if let Some(member) = value.get(*name) {
                let dot = if path.is_empty() { "" } else { "." };
                collect(member, rest, format!("{path}{dot}{name}"), act);
            }
        }
    }
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
        let spec = json!({
            "initContainers": [{}, {"restartPolicyRules": [{"action": "RestartAllContainers"}]}],
            "containers": [
                {"restartPolicyRules": [{"action": "Restart"}, {"action": "RestartAllContainers"}]},
                {"lifecycle": {"preStop": {}}, "livenessProbe": {"httpGet": {}}},
            ],
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "image": {}}],
            "resourceClaims": [],
        });
        let paths: Vec<String> = of_pod(&spec, "spec").into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "spec.containers[0].restartPolicyRules[1].action",
                "spec.initContainers[1].restartPolicyRules[0].action",
                "spec.resourceClaims",
            ]
        );
    }
}
