//! CustomResourceDefinitions to test with.

use serde_json::{Value, json};

/// A namespaced kind that keeps what it is given; the first of `versions` is stored.
pub fn definition(group: &str, plural: &str, kind: &str, versions: &[&str]) -> Value {
    let version = |name: &&str| {
        json!({
            "name": name,
            "served": true,
            "storage": name == &versions[0],
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            }},
        })
    };
    json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}
