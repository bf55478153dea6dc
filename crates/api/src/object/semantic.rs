//! Whether two states say the same. Both are in the form in which Go writes objects
//! ([`spell`](crate::presence::spell)): what remains is a list that is empty or `null`.

use serde_json::Value;

/// Whether two values say the same.
pub fn equal(a: &Value, b: &Value) -> bool {
    equal_but(&[], a, b)
}

/// Whether two values say the same, but for their fields of these names.
pub fn equal_but(fields: &[&str], a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let counts = |(name, _): &(&String, &Value)| !fields.contains(&name.as_str());
            let same = |(name, value)| b.get(name).is_some_and(|other| equal(value, other));
            a.iter().filter(counts).count() == b.iter().filter(counts).count()
                && a.iter().filter(counts).all(same)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Array(items), Value::Null) | (Value::Null, Value::Array(items)) => items.is_empty(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::spell_as;
    use serde_json::json;

    fn same(definition: &str, a: Value, b: Value) -> bool {
        let spelled = |mut value: Value| {
            spell_as(&format!("io.k8s.api.{definition}"), &mut value);
            value
        };
        let (a, b) = (spelled(a), spelled(b));
        assert_eq!(equal(&a, &b), equal(&b, &a));
        equal(&a, &b)
    }

    #[test]
    fn what_typed_clients_spell_out_is_the_same() {
        let short = json!({"containers": [{"name": "a", "livenessProbe": {"periodSeconds": 10}}]});
        let long = json!({"hostNetwork": false, "nodeName": "", "volumes": [], "containers": [
            {"name": "a", "tty": false, "args": null, "resources": {},
             "livenessProbe": {"periodSeconds": 10, "initialDelaySeconds": 0}}]});
        assert!(same("core.v1.PodSpec", short, long));
    }

    #[test]
    fn an_empty_struct_is_no_more_than_none() {
        let bare = json!({"volumeClaimTemplate": {"spec": {"storageClassName": "a"}}});
        let typed = json!({"volumeClaimTemplate": {"metadata": {"creationTimestamp": null},
            "spec": {"storageClassName": "a", "resources": {}}}});
        assert!(same("core.v1.EphemeralVolumeSource", bare.clone(), typed));
        let named = json!({"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}},
            "spec": {"storageClassName": "a"}}});
        assert!(!same("core.v1.EphemeralVolumeSource", bare, named));
        assert!(same("events.v1.Event", json!({"deprecatedSource": {}}), json!({})));
        assert!(same("rbac.v1.Role", json!({"rules": []}), json!({})));
        assert!(!same(
            "core.v1.Volume",
            json!({"name": "a", "emptyDir": {}}),
            json!({"name": "a"})
        ));
    }

    #[test]
    fn some_zeros_say_something() {
        for (definition, a, b) in [
            ("apps.v1.StatefulSetSpec", json!({"replicas": 0}), json!({})),
            ("core.v1.SecurityContext", json!({}), json!({"runAsUser": 0})),
            ("core.v1.PersistentVolumeClaimSpec", json!({"storageClassName": ""}), json!({})),
            ("core.v1.Container", json!({"args": ["x"]}), json!({"args": ["y"]})),
            ("core.v1.ContainerPort", json!({"hostPort": 1}), json!({"hostPort": 0})),
        ] {
            assert!(!same(definition, a.clone(), b.clone()), "{a} {b}");
        }
    }
}
