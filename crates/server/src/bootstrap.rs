//! What every cluster has from its first second: namespaces, roles, priority classes, and the
//! Service under which pods find the API.

use std::net::SocketAddrV4;
use std::sync::Arc;

use coracle_api::addresses::next_service_ip;
use coracle_api::{Status, Verb};
use serde_json::{Value, json};

use crate::auth::roles;
use crate::{Api, Body, Options, Request, User};

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes what is missing, in one transaction. `advertised` is where pods reach the API.
///
/// # Errors
/// What the pipeline says of one of the objects.
pub async fn bootstrap(api: &Api, advertised: SocketAddrV4) -> Result<(), Status> {
    let snapshot = api.snapshot();
    let kinds = api.kinds();
    let mut requests = Vec::new();
    for object in objects(api, advertised) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let kind = kinds
            .of_object(text("/apiVersion"), text("/kind"))
            .ok_or_else(|| Status::internal(format!("there is no kind {}", text("/kind"))))?;
        if snapshot.find(&kind.storage_resource(), namespace, name).is_some() {
            continue;
        }
        requests.push(Request {
            user: User::system("system:apiserver"),
            verb: Verb::Create,
            kind: Arc::clone(kind),
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: String::new(),
            options: Options { field_manager: "kube-apiserver".into(), ..Options::default() },
            body: Body::Object(object),
        });
    }
    api.transact(requests, Vec::new()).await?;
    Ok(())
}

/// In an order in which each finds what it needs.
fn objects(api: &Api, advertised: SocketAddrV4) -> Vec<Value> {
    let namespaces = NAMESPACES
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let classes = [
        priority_class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        priority_class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ];
    namespaces.chain(classes).chain(roles::all()).chain(service(api, advertised)).collect()
}

fn priority_class(name: &str, value: i64, description: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
    })
}

/// The Service `kubernetes` with its endpoints: it has no pods that a controller could find.
fn service(api: &Api, advertised: SocketAddrV4) -> [Value; 3] {
    // The lowest address of the range.
    let range = api.cluster().services;
    let first = range.hosts().next().or_else(|| next_service_ip(|_| false, range, 0));
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let address = advertised.ip().to_string();
    let port = json!({"name": "https", "port": advertised.port(), "protocol": "TCP"});
    let metadata =
        |labels: &Value| json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(&labels),
            "spec": {
                "clusterIP": first.map(|ip| ip.to_string()),
                "type": "ClusterIP",
                "ports": [{
                    "name": "https",
                    "port": 443,
                    "protocol": "TCP",
                    "targetPort": advertised.port(),
                }],
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": metadata(&json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
            "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata(&json!({"kubernetes.io/service-name": "kubernetes"})),
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [port],
        }),
    ]
}
