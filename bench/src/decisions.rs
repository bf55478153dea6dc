//! What one pod's change costs the controllers that look at a thousand, in process: a ReplicaSet's
//! decision and that of its Service's EndpointSlices.

use std::time::{Duration, Instant};

use coracle_api::resources::{PODS, REPLICA_SETS, SERVICES};
use coracle_api::{Key, Object};
use coracle_controllers::{CONTROLLERS, Config, Context, Controller};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::{Value, json};

use crate::Failure;
use crate::objects;
use crate::report::{figure, milliseconds};

const PODS_OF_IT: usize = 1_000;
const RUNS: usize = 30;

/// The decisions that are measured: whose, about which resource, and what it is called.
const DECISIONS: [(&str, &str, &str); 2] = [
    ("replicaset-controller", REPLICA_SETS, "replica set"),
    ("endpoint-slice-controller", SERVICES, "endpoint slices"),
];

/// Measures them all. The first decision on a snapshot reads every pod; one that follows a change
/// soon reads the pod that changed.
pub fn run() -> Result<(), Failure> {
    let config = config()?;
    let context = Context::new("2026-01-01T00:10:00Z".parse()?, &config);
    for (name, resource, title) in DECISIONS {
        let row = CONTROLLERS.iter().find(|row| row.name == name);
        let row = row.ok_or_else(|| format!("there is no {name}"))?;
        let key = Key::new(resource, "bench", "all");
        let (mut first, mut next) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let snapshot = cluster()?;
            first.push(decision(row, &snapshot, &key, &context));
            let changed = object(PODS, pod(run, "False"))?;
            let snapshot = snapshot.with(&[Write::put(changed, Expect::Present)])?;
            next.push(decision(row, &snapshot, &key, &context));
        }
        figure(&format!("decision: {title} of 1,000 pods, all read anew"), "ms", &all(&first));
        figure(&format!("decision: {title} of 1,000 pods, one changed"), "ms", &all(&next));
    }
    Ok(())
}

fn all(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| milliseconds(*time)).collect()
}

fn decision(row: &Controller, snapshot: &Snapshot, key: &Key, context: &Context<'_>) -> Duration {
    let start = Instant::now();
    let plan = (row.decide)(snapshot, key, context);
    let took = start.elapsed();
    drop(plan);
    took
}

fn config() -> Result<Config, Failure> {
    Ok(Config {
        ca_bundle: String::new(),
        front_proxy_ca: String::new(),
        api_address: [10, 244, 255, 253].into(),
        api_port: 6443,
        dns_address: [10, 244, 255, 253].into(),
        services: "10.96.0.0/12".parse()?,
        load_balancers: "10.112.0.0/24".parse()?,
        largest_volume: 16 << 40,
        gates: Default::default(),
    })
}

/// A ReplicaSet with its pods, all ready, and a Service in front of them.
fn cluster() -> Result<Snapshot, Failure> {
    let metadata = json!({"name": "all", "namespace": "bench", "uid": "uid-all", "generation": 1});
    let template =
        json!({"metadata": {"labels": {"app": "bench"}}, "spec": objects::pod(0)["spec"]});
    let mut written = vec![
        object(
            REPLICA_SETS,
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata,
                "spec": {"replicas": PODS_OF_IT, "selector": {"matchLabels": {"app": "bench"}},
                         "template": template},
            }),
        )?,
        object(
            SERVICES,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {"selector": {"app": "bench"}, "clusterIP": "10.96.0.20", "ipFamilies": ["IPv4"],
                         "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]},
            }),
        )?,
    ];
    for number in 0..PODS_OF_IT {
        written.push(object(PODS, pod(number, "True"))?);
    }
    Ok(Snapshot::of(written)?)
}

fn pod(number: usize, ready: &str) -> Value {
    let mut pod = objects::pod(number);
    let address = format!("10.244.{}.{}", number / 250, number % 250 + 1);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = json!("bench");
    pod["metadata"]["uid"] = json!(format!("uid-{number}"));
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "all", "uid": "uid-all",
        "controller": true,
    }]);
    pod["spec"]["nodeName"] = json!("node-1");
    pod["status"] = json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    pod
}

fn object(resource: &str, value: Value) -> Result<Object, Failure> {
    Ok(Object::with_resource(resource, value)?)
}
