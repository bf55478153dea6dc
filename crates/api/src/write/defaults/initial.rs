//! The status that objects start with, and what else the server itself puts into new ones.

use serde_json::{Map, Value, json};

use super::{ensure, label_keys};
use crate::Quantity;
use crate::validation::JOB_LABELS;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn set_status(object: &mut Value, status: Value) {
    if let Value::Object(map) = object {
        map.insert("status".to_string(), status);
    }
}

/// A Pod waits, and its resources decide how it is treated when memory is short.
pub fn pod(pod: &mut Value) {
    label_keys::apply(pod);
    let class = quality_of_service(pod);
    let gates = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    let gated = gates.is_some_and(|gates| !gates.is_empty());
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if gated {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    set_status(pod, status);
}

/// Sets count their replicas from zero.
pub fn stateful_set(object: &mut Value) {
    set_status(object, json!({"replicas": 0, "availableReplicas": 0}));
}

/// A ReplicaSet or ReplicationController.
pub fn replicas(object: &mut Value) {
    set_status(object, json!({"replicas": 0}));
}

/// A DaemonSet: it counts its templates in an annotation, as it did in a field that is gone.
pub fn daemon_set(object: &mut Value) {
    set_template_generation(object, 1);
    set_status(
        object,
        json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0,
            "numberReady": 0}),
    );
}

/// `(new, old)`: another template is another generation of it.
pub fn daemon_set_update(object: &mut Value, old: &Value) {
    let pointer = format!("/metadata/annotations/{}", TEMPLATE_GENERATION.replace('/', "~1"));
    let before = old.pointer(&pointer).and_then(Value::as_str).and_then(|text| text.parse().ok());
    let before: i64 = before.unwrap_or(1);
    let is_other = object.pointer("/spec/template") != old.pointer("/spec/template");
    let now = if is_other { before.saturating_add(1) } else { before };
    set_template_generation(object, now);
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = ensure(object, "metadata").and_then(|it| ensure(it, "annotations"));
    if let Some(Value::Object(annotations)) = annotations {
        annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
    }
}

/// A Job: unless its selector is written by hand, its pods are told by labels of its own.
pub fn job(object: &mut Value) {
    empty(object);
    let manual = object.pointer("/spec/manualSelector") == Some(&Value::Bool(true));
    let metadata = |name: &str| object.pointer(&format!("/metadata/{name}")).cloned();
    let (uid, name) = (metadata("uid"), metadata("name"));
    let Some(spec) = object.get_mut("spec").filter(|_| !manual) else { return };
    let labels = ensure(spec, "template")
        .and_then(|template| ensure(template, "metadata"))
        .and_then(|metadata| ensure(metadata, "labels"));
    let values = [uid.clone(), name];
    if let Some(Value::Object(labels)) = labels {
        for ((label, old), value) in JOB_LABELS.into_iter().zip(values) {
            for label in [label, old] {
                let value = value.clone().unwrap_or_default();
                labels.entry(label).or_insert(value);
            }
        }
    }
    let selected = ensure(spec, "selector").and_then(|selector| ensure(selector, "matchLabels"));
    if let (Some(Value::Object(selected)), Some(uid)) = (selected, uid) {
        let [(label, _), _] = JOB_LABELS;
        selected.entry(label).or_insert(uid);
    }
}

/// A LimitRange without a name is given one.
pub fn limit_range(object: &mut Value) {
    let uid = object.pointer("/metadata/uid").cloned().unwrap_or_default();
    if let Some(metadata) = object.get_mut("metadata") {
        super::set_zero(metadata, "name", uid);
    }
}

/// A PodDisruptionBudget.
pub fn disruption_budget(object: &mut Value) {
    set_status(
        object,
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0,
            "expectedPods": 0}),
    );
}

/// A Service has no load balancer yet.
pub fn service(object: &mut Value) {
    set_status(object, json!({"loadBalancer": {}}));
}

/// It waits for somebody.
pub fn pending(object: &mut Value) {
    set_status(object, json!({"phase": "Pending"}));
}

/// A volume waits to be bound since it was made.
pub fn persistent_volume(object: &mut Value) {
    let since = object.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    set_status(object, json!({"phase": "Pending", "lastPhaseTransitionTime": since}));
}

/// A status in which nothing stands yet.
pub fn empty(object: &mut Value) {
    set_status(object, Value::Object(Map::new()));
}

/// A Namespace is held by its content until that is gone.
pub fn namespace(object: &mut Value) {
    set_status(object, json!({"phase": "Active"}));
    let Some(Value::Object(spec)) = ensure(object, "spec") else { return };
    let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
    if let Value::Array(list) = finalizers
        && !list.iter().any(|finalizer| finalizer == "kubernetes")
    {
        list.push(json!("kubernetes"));
    }
}

/// What an update of a Namespace keeps: its finalizers, which only `/finalize` takes away, so that
/// its content goes before it does.
pub fn namespace_update(object: &mut Value, old: &Value) {
    let kept = &old["spec"]["finalizers"];
    let Some(Value::Object(spec)) = ensure(object, "spec") else { return };
    match kept {
        Value::Null => spec.remove("finalizers"),
        kept => spec.insert("finalizers".into(), kept.clone()),
    };
}

/// `Guaranteed`, `Burstable` or `BestEffort`: by requests and limits of CPU and memory.
pub fn quality_of_service(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"].map(|list| pod.pointer(&format!("/spec/{list}")));
    let whole = pod.pointer("/spec/resources").is_some_and(|resources| {
        ["requests", "limits"]
            .iter()
            .any(|list| resources.get(*list).is_some_and(|l| l != &json!({})))
    });
    // What a pod is told as a whole stands for what its containers are.
    let own = pod.pointer("/spec").filter(|_| whole);
    let containers = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
    let containers = own.into_iter().chain(containers.filter(|_| !whole));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let amount = |list: &str| amount(container, list, resource);
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            // An absent request is the limit, as defaulting makes it.
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn amount(container: &Value, list: &str, resource: &str) -> Option<Quantity> {
    let value = container.pointer(&format!("/resources/{list}/{resource}"))?;
    Quantity::from_json(value).ok().filter(|quantity| quantity.signum() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gated_pod_says_why_it_is_not_scheduled() {
        let mut gated = json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}});
        let mut free = json!({"spec": {"schedulingGates": []}});
        pod(&mut gated);
        pod(&mut free);
        let condition = &gated["status"]["conditions"][0];
        assert_eq!(condition["type"], "PodScheduled");
        assert_eq!(condition["reason"], "SchedulingGated");
        assert_eq!(free["status"].get("conditions"), None);
    }

    #[test]
    fn a_daemon_set_counts_its_templates() {
        let count = |set: &Value| set["metadata"]["annotations"][TEMPLATE_GENERATION].clone();
        let mut old = json!({"metadata": {}, "spec": {"template": {"spec": {}}}});
        daemon_set(&mut old);
        assert_eq!(count(&old), "1");
        let mut same = json!({"metadata": {}, "spec": {"template": {"spec": {}}, "x": 1}});
        daemon_set_update(&mut same, &old);
        assert_eq!(count(&same), "1");
        let mut other = json!({"metadata": {}, "spec": {"template": {"spec": {"a": 1}}}});
        daemon_set_update(&mut other, &old);
        assert_eq!(count(&other), "2");
    }

    #[test]
    fn a_volume_is_pending_since_it_was_made() {
        let mut volume = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
        persistent_volume(&mut volume);
        assert_eq!(volume["status"]["lastPhaseTransitionTime"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn the_quality_of_service_follows_the_resources() {
        let class = |resources: Value| {
            quality_of_service(&json!({"spec": {"containers": [{"resources": resources}]}}))
        };
        let all = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"limits": all, "requests": all})), "Guaranteed");
        assert_eq!(class(json!({"requests": all})), "Burstable");
        let same = json!({"limits": {"cpu": "1", "memory": "1024Mi"},
            "requests": {"cpu": "1000m", "memory": "1Gi"}});
        assert_eq!(class(same), "Guaranteed");
        let whole = json!({"spec": {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
            "containers": [{}]}});
        assert_eq!(quality_of_service(&whole), "Burstable");
    }
}
