//! The objects that are written and read.

use hyper::Method;
use serde_json::{Value, json};

use crate::Failure;
use crate::client::Client;
use crate::writers::noise;

/// Where all of it is.
pub const NAMESPACE: &str = "/api/v1/namespaces/bench";

/// Creates a config map.
pub async fn config_map(client: &mut Client, name: &str) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": name}, "data": {"noise": noise(1, 600)}});
    client.call(Method::POST, &format!("{NAMESPACE}/configmaps"), body.to_string()).await?;
    Ok(())
}

/// The pod of a number.
pub fn pod(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("pod-{number:05}"), "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main", "image": "example.test/main:1",
                "env": [{"name": "NUMBER", "value": number.to_string()}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
            }],
        },
    })
}
