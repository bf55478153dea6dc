//! Objects for tests, written as people write them.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::NetworkConfig;

pub fn config() -> NetworkConfig {
    NetworkConfig::new("test", "node-1", "/nowhere".into())
}

pub fn service(name: &str, spec: Value) -> Service {
    let metadata = json!({"namespace": "default", "name": name});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A slice of Service `service`, with the ports and endpoints given.
pub fn slice(service: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "default",
            "name": format!("{service}-x"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }))
    .unwrap()
}

pub fn endpoint(ip: &str, ready: bool) -> Value {
    json!({"addresses": [ip], "conditions": {"ready": ready}, "nodeName": "node-1"})
}

pub fn pod(name: &str, ip: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": name},
        "status": {"podIP": ip, "phase": phase},
    }))
    .unwrap()
}
