//! ControllerRevisions: what of a set is recorded, and under which name.
//!
//! Bytes and hashes are upstream's, so that a set brought over from another cluster keeps its
//! revisions.

use serde_json::{Value, json};

use super::semantic;
use crate::{names, presence};

/// The definition of what is recorded.
const TEMPLATE: &str = "io.k8s.api.core.v1.PodTemplateSpec";
/// Names are cut so that the hash and its dash still fit a name.
const NAME_MAX: usize = 223;

/// What is recorded of a StatefulSet or DaemonSet: a strategic merge patch that replaces the pod
/// template.
pub fn data(set: &Value) -> Value {
    let mut template = set.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_string(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// Whether two revisions record the same: also those of earlier versions, and of other clusters,
/// which wrote other fields that have no value.
pub fn same(a: &Value, b: &Value) -> bool {
    let template = |data: &Value| data.pointer("/spec/template").cloned().unwrap_or_default();
    a == b || same_template(&template(a), &template(b))
}

/// Whether two pod templates say the same, in whichever form they are written.
pub fn same_template(a: &Value, b: &Value) -> bool {
    let spelled = |template: &Value| {
        let mut template = template.clone();
        presence::spell_as(TEMPLATE, &mut template);
        template
    };
    a == b || semantic::equal(&spelled(a), &spelled(b))
}

/// The set with its template as `data` recorded it.
pub fn restore(set: &Value, data: &Value) -> Value {
    let mut restored = set.clone();
    let mut template = data.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut template {
        fields.remove("$patch");
    }
    if let Some(Value::Object(spec)) = restored.get_mut("spec") {
        spec.insert("template".to_string(), template);
    }
    restored
}

/// The bytes that are hashed and compared: JSON with sorted keys, as Go writes it.
pub fn bytes(data: &Value) -> Vec<u8> {
    let mut text = data.to_string();
    for (plain, escaped) in [
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u{2028}", "\\u2028"),
        ("\u{2029}", "\\u2029"),
    ] {
        if text.contains(plain) {
            text = text.replace(plain, escaped);
        }
    }
    text.into_bytes()
}

/// The label `controller.kubernetes.io/hash` of a revision with this data, at the set's
/// `status.collisionCount`.
pub fn hash(data: &Value, collision_count: i32) -> String {
    named(data, &collision_count.to_string())
}

/// The label `pod-template-hash` of a pod template, at its Deployment's `status.collisionCount`.
/// Upstream hashes what Go prints of the typed template, which nobody can check; this hashes the
/// template's JSON, and spells it alike.
pub fn template_hash(template: &Value, collision_count: Option<i32>) -> String {
    named(template, &collision_count.map_or(String::new(), |count| count.to_string()))
}

/// FNV-1 of 32 bits, in letters.
fn named(data: &Value, more: &str) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in bytes(data).into_iter().chain(more.bytes()) {
        hash = hash.wrapping_mul(0x0100_0193) ^ u32::from(byte);
    }
    safe_encode(&hash.to_string())
}

/// The name of the revision with `hash` of the set `set`.
pub fn name(set: &str, hash: &str) -> String {
    let mut end = set.len().min(NAME_MAX);
    while !set.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &set[..end])
}

/// Letters and digits that spell no words.
fn safe_encode(text: &str) -> String {
    text.bytes().map(names::letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded by Kubernetes 1.33.
    fn recorded() -> Value {
        json!({"spec": {"template": {"$patch": "replace", "metadata": {
            "annotations": {"test": "value"}, "creationTimestamp": null, "labels": {"app": "foo"}},
            "spec": {"containers": [{"image": "test", "imagePullPolicy": "Always", "name": "test",
                "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"}], "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30}}}})
    }

    #[test]
    fn hashes_are_upstreams() {
        assert_eq!(hash(&recorded(), 0), "c77f6d978");
        assert_eq!(name("test", "c77f6d978"), "test-c77f6d978");
    }

    #[test]
    fn a_set_goes_back_to_what_was_recorded() {
        let set = json!({"spec": {"replicas": 3, "template": {"spec": {"a": 1}}}});
        let data = data(&set);
        let changed = json!({"spec": {"replicas": 5, "template": {"spec": {"b": 2}}}});
        let restored = restore(&changed, &data);
        assert_eq!(restored, json!({"spec": {"replicas": 5, "template": {"spec": {"a": 1}}}}));
        assert_eq!(super::data(&restored), data);
    }

    #[test]
    fn fields_without_a_value_make_no_other_revision() {
        let mut short = recorded();
        let template = short["spec"]["template"].as_object_mut().unwrap();
        template["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
        template["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
        assert!(same(&short, &recorded()) && same(&recorded(), &short));
        short["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        assert!(!same(&short, &recorded()));
    }

    #[test]
    fn bytes_are_as_go_writes_them() {
        let text = String::from_utf8(bytes(&json!({"b": "<&>", "a": 1}))).unwrap();
        assert_eq!(text, "{\"a\":1,\"b\":\"\\u003c\\u0026\\u003e\"}");
    }
}
