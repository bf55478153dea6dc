//! `autoscaling/v1.Scale`: what `/scale` shows of anything that has a number of replicas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Object, ScalePaths, Selector};

/// The Scale of `object`, which a row with these paths shows.
pub fn of(paths: &ScalePaths, object: &Object) -> Value {
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
        "status": {"replicas": value.pointer(&paths.observed).and_then(Value::as_i64).unwrap_or(0)},
    });
    // Go leaves zero out.
    let replicas = value.pointer(&paths.replicas).and_then(Value::as_i64);
    if let Some(replicas) = replicas.filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = paths.selector.as_ref().and_then(|pointer| value.pointer(pointer));
    let selector = selector.map(selector_text).unwrap_or_default();
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A selector as one string: a ReplicationController's is a plain map, a custom resource's the text.
fn selector_text(selector: &Value) -> String {
    if let Value::String(text) = selector {
        return text.clone();
    }
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
        let scale = of(&ScalePaths::DEFAULT, &object);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web,b=2,c in (x,y)"}));
    }
}
