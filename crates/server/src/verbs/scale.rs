//! `autoscaling/v1.Scale`: the number of replicas of anything that has one.

use std::collections::BTreeMap;

use coracle_api::{Object, Selector};
use serde_json::{Value, json};

/// What the body of `/scale` is.
pub(crate) const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Where a kind keeps what its Scale shows; a custom resource says it in its definition.
const REPLICAS: &str = "/spec/replicas";

/// The Scale of `object`.
pub fn of(object: &Object) -> Value {
    let (metadata, value) = (object.metadata(), object.value());
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "creationTimestamp": value["metadata"]["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": value["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    if let Some(replicas) = value.pointer(REPLICAS).and_then(Value::as_i64) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = selector_text(&value["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A selector as one string: a ReplicationController's is a plain map.
fn selector_text(selector: &Value) -> String {
    let structured = ["matchLabels", "matchExpressions"].iter().any(|f| selector.get(*f).is_some());
    if structured {
        return Selector::from_json(Some(selector)).map(|s| s.to_string()).unwrap_or_default();
    }
    let labels: BTreeMap<String, String> =
        serde_json::from_value(selector.clone()).unwrap_or_default();
    Selector::from_labels(&labels).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_replicas_and_the_selector_as_text() {
        let object = Object::with_resource(
            "statefulsets.apps",
            json!({
                "metadata": {"name": "web", "namespace": "default", "uid": "u"},
                "spec": {"replicas": 3, "selector": {
                    "matchLabels": {"b": "2", "app": "web"},
                    "matchExpressions": [{"key": "c", "operator": "In", "values": ["y", "x"]}],
                }},
                "status": {"replicas": 2},
            }),
        )
        .unwrap();
        let scale = of(&object);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web,b=2,c in (x,y)"}));
    }
}
