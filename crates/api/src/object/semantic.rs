//! Whether two states say the same, as Go's typed objects would: a typed client writes `false`,
//! `""` and `0` where another writes nothing.

use serde_json::{Map, Value};

/// Fields of which nothing and zero are two things (pointers, upstream).
const DISTINCT: [&str; 40] = [
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "apiGroup",
    "automountServiceAccountToken",
    "averageUtilization",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "hostUsers",
    "immutable",
    "maxSurge",
    "maxUnavailable",
    "minAvailable",
    "mode",
    "optional",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "readOnlyRootFilesystem",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "shareProcessNamespace",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "volumeAttributesClassName",
];

/// Fields that hold a struct itself, not a pointer to one, wherever a struct of that name stands:
/// an empty one says no more than none, and a typed client always writes it.
const STRUCTS: [&str; 24] = [
    "backend",
    "deprecatedSource",
    "describedObject",
    "devices",
    "involvedObject",
    "jobTemplate",
    "lastState",
    "limitResponse",
    "loadBalancer",
    "metadata",
    "metric",
    "names",
    "podAffinityTerm",
    "pool",
    "preference",
    "regarding",
    "resources",
    "source",
    "spec",
    "state",
    "status",
    "strategy",
    "template",
    "updateStrategy",
];

/// As [`equal`], of the values of a field: nothing and zero are the same where its name allows.
pub fn field_equal(name: &str, a: &Value, b: &Value) -> bool {
    equal(a, b) || (is_nothing(name, a) && is_nothing(name, b))
}

/// Whether two values say the same.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => maps_equal(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        _ => a == b,
    }
}

fn maps_equal(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let same = |name: &String, one: &Value, other: &Map<String, Value>| match other.get(name) {
        Some(other) => equal(one, other) || (is_nothing(name, one) && is_nothing(name, other)),
        None => is_nothing(name, one),
    };
    a.iter().all(|(name, value)| same(name, value, b))
        && b.iter().all(|(name, value)| a.contains_key(name) || is_nothing(name, value))
}

/// Whether a field with this value is as good as absent.
fn is_nothing(name: &str, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return true,
        Value::Array(items) => return items.is_empty(),
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        // `emptyDir: {}` is something, `metadata: {}` is not.
        Value::Object(members) => {
            return STRUCTS.contains(&name)
                && members.iter().all(|(name, value)| is_nothing(name, value));
        }
    };
    zero && !DISTINCT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_typed_clients_spell_out_is_the_same() {
        let short = json!({"containers": [{"name": "a", "livenessProbe": {"periodSeconds": 10}}]});
        let long = json!({"hostNetwork": false, "nodeName": "", "volumes": [], "containers": [
            {"name": "a", "tty": false, "args": null,
             "livenessProbe": {"periodSeconds": 10, "initialDelaySeconds": 0}}]});
        assert!(equal(&short, &long) && equal(&long, &short));
    }

    #[test]
    fn an_empty_struct_is_no_more_than_none() {
        let bare = json!({"volumeClaimTemplate": {"spec": {"storageClassName": "a"}}});
        let typed = json!({"volumeClaimTemplate": {"metadata": {"creationTimestamp": null},
            "spec": {"storageClassName": "a", "resources": {}}, "status": {}}});
        assert!(equal(&bare, &typed) && equal(&typed, &bare));
        let named = json!({"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}},
            "spec": {"storageClassName": "a"}}});
        assert!(!equal(&bare, &named));
        assert!(field_equal("deprecatedSource", &json!({}), &Value::Null));
        assert!(!field_equal("emptyDir", &json!({}), &Value::Null));
    }

    #[test]
    fn some_zeros_say_something() {
        for (a, b) in [
            (json!({"replicas": 0}), json!({})),
            (json!({}), json!({"runAsUser": 0})),
            (json!({"storageClassName": ""}), json!({})),
            (json!({"emptyDir": {}}), json!({})),
            (json!({"a": ["x"]}), json!({"a": ["y"]})),
            (json!({"a": 1}), json!({"a": 0})),
        ] {
            assert!(!equal(&a, &b), "{a} {b}");
        }
    }
}
