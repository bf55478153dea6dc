//! What the decisions about one pod cost: the objects that they look at are counted, and must be as
//! many among ten thousand pods as among a hundred.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::resources::PODS;
use coracle_api::{Key, Object};
use coracle_store::{Event, Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::table::ANY;
use crate::world::{config, resource};
use crate::{CONTROLLERS, Context};

/// Pods of a set.
const REPLICAS: usize = 10;

fn object(value: Value) -> Object {
    Object::with_resource(resource(&value), value).unwrap()
}

fn pod(set: usize, number: usize, node: Option<&str>, ready: &str) -> Value {
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": format!("s{set}"),
        "uid": format!("uid-s{set}"), "controller": true,
    });
    let rule = json!({
        "labelSelector": {"matchLabels": {"app": "nobody"}}, "topologyKey": "kubernetes.io/hostname",
    });
    let volume = json!({
        "name": "data", "persistentVolumeClaim": {"claimName": format!("data-s{set}-{number}")},
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("s{set}-{number}"), "namespace": "default",
            "uid": format!("uid-s{set}-{number}"), "ownerReferences": [owner],
            "labels": {"app": format!("s{set}"), "tier": "db"},
        },
        "spec": {
            "nodeName": node, "volumes": [volume],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1m"}}}],
            "affinity": {"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [rule]}},
        },
        "status": {
            "phase": if node.is_some() { "Running" } else { "Pending" }, "podIP": "10.244.0.9",
            "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

/// A set with its Service, budget and pods.
fn set(set: usize) -> Vec<Object> {
    let name = format!("s{set}");
    let labels = json!({"app": name});
    let metadata = |uid: &str| json!({"name": name, "namespace": "default", "uid": uid});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
    let mut all = vec![
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": metadata(&format!("uid-{name}")),
            "spec": {"replicas": REPLICAS, "serviceName": name, "template": template,
                     "selector": {"matchLabels": labels}},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata(&format!("uid-v-{name}")),
            "spec": {"selector": labels, "clusterIP": "None", "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": metadata(&format!("uid-b-{name}")),
            "spec": {"selector": {"matchLabels": labels}, "minAvailable": 1},
        }),
    ];
    for number in 0..REPLICAS {
        let claim = format!("data-{name}-{number}");
        all.push(pod(set, number, Some("node-1"), "True"));
        all.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": "default", "uid": format!("uid-{claim}"),
                         "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": format!("v-{claim}")},
        }));
        all.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("v-{claim}")},
            "spec": {"claimRef": {"namespace": "default", "name": claim}},
        }));
    }
    all.into_iter().map(object).collect()
}

fn cluster(pods: usize) -> Snapshot {
    let node = |name: &str| {
        object(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
            "status": {"allocatable": {"cpu": "99", "pods": "20000"},
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }))
    };
    let mut all = vec![
        node("node-1"),
        node("node-2"),
        object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})),
        object(json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "20000"}},
        })),
    ];
    all.extend((0..pods / REPLICAS).flat_map(set));
    Snapshot::of(all).unwrap()
}

/// By controller, how many objects are looked at because of a write that puts `new` for `old`.
fn visits(before: &Snapshot, new: Option<Value>) -> BTreeMap<&'static str, usize> {
    let key = Key::new(PODS, "default", "s3-4");
    let write = match new {
        Some(new) => Write::put(object(new), Expect::Any),
        None => Write::delete(key.clone(), Expect::Present),
    };
    let after = before.with(&[write]).unwrap();
    let (old, new) = (before.get(&key).cloned(), after.get(&key).cloned());
    let last = new.clone().or(old.clone()).unwrap();
    let event = Event { revision: after.revision(), key, old, new, last: Arc::clone(&last) };
    let config = config();
    let context = Context::new("2026-01-01T00:00:00Z".parse().unwrap(), &config);
    let mut counts = BTreeMap::new();
    for row in CONTROLLERS {
        let (snapshot, visits) = after.counted();
        let concerned = row.watches.iter().filter(|(of, _)| *of == ANY || *of == PODS);
        let mut keys: Vec<_> =
            concerned.flat_map(|(_, concerns)| concerns(&event, &snapshot)).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            (row.decide)(&snapshot, &key, &context);
        }
        counts.insert(row.name, visits.load(std::sync::atomic::Ordering::Relaxed));
    }
    counts
}

#[test]
fn a_pod_costs_as_much_among_ten_thousand_as_among_a_hundred() {
    let (few, many) = (cluster(100), cluster(10_000));
    let mut fussy = pod(3, 4, None, "False");
    let near = json!({"labelSelector": {"matchLabels": {"app": "s3"}},
                      "topologyKey": "kubernetes.io/hostname"});
    fussy["spec"]["affinity"] = json!({"podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": near}]}});
    // It finds no place, and nobody who would go for it.
    let mut huge = pod(3, 4, None, "False");
    huge["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("98950m");
    huge["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-1"});
    let events = [
        Some(pod(3, 4, Some("node-1"), "False")),
        Some(pod(3, 4, None, "False")),
        Some(fussy),
        Some(huge),
        None,
    ];
    for event in events {
        assert_eq!(visits(&few, event.clone()), visits(&many, event));
    }
}
