//! The pods that answer for a Service, each with the ports that it answers on.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::pods::{self, AnyPod};
use coracle_api::resources::{NODES, PODS};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::selector;

/// A port as Endpoints and EndpointSlices show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub name: String,
    pub port: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

impl Port {
    /// The JSON of the port; in EndpointSlices the name is there even when it is empty.
    pub fn to_json(&self, always_named: bool) -> Value {
        let mut map = Map::new();
        if always_named || !self.name.is_empty() {
            map.insert("name".into(), json!(self.name));
        }
        map.insert("port".into(), json!(self.port));
        map.insert("protocol".into(), json!(self.protocol));
        if let Some(app_protocol) = &self.app_protocol {
            map.insert("appProtocol".into(), json!(app_protocol));
        }
        Value::Object(map)
    }
}

/// A pod behind a Service.
pub(super) struct Backend {
    pub address: String,
    pub ports: Vec<Port>,
    /// Its stable name below the Service's.
    pub hostname: Option<String>,
    pub node: Option<String>,
    /// Whether there is such a node.
    pub is_on_node: bool,
    /// The zone of its node.
    pub zone: Option<String>,
    pub target: Value,
    /// The pod's own condition.
    pub is_ready: bool,
    pub is_terminating: bool,
}

/// `spec.trafficDistribution`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefers {
    /// Everybody's.
    Nothing,
    /// That of its zone: `PreferSameZone`, once called `PreferClose`.
    Zone,
    /// That of its node, else that of its zone: `PreferSameNode`.
    Node,
}

impl Prefers {
    fn of(service: &Object) -> Self {
        match service.str_at("/spec/trafficDistribution") {
            Some("PreferSameZone" | "PreferClose") => Self::Zone,
            Some("PreferSameNode") => Self::Node,
            _ => Self::Nothing,
        }
    }
}

/// The label of nodes that says where they are.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// A Service, and its pods that have an address and have not ended.
pub(super) struct Backends {
    pub service: Arc<Object>,
    pub is_headless: bool,
    /// Pods are told of whether they are ready or not.
    pub publishes_not_ready: bool,
    /// Whose traffic a pod is rather to get.
    pub prefers: Prefers,
    pub all: Vec<Backend>,
}

impl Backends {
    /// `None` when the Service selects no pods itself.
    pub fn of(snapshot: &Snapshot, object: &Arc<Object>) -> Option<Self> {
        let selector = selector(object)?;
        let service = object.view::<Service>().ok()?;
        let spec = service.spec.as_ref()?;
        let selected = snapshot.selected(PODS, Some(&object.metadata().namespace), &selector);
        let ports = spec.ports.as_deref().unwrap_or_default();
        let all = selected
            .into_iter()
            .filter_map(|pod| backend(pod, &object.metadata().name, ports, snapshot))
            .collect();
        Some(Self {
            service: Arc::clone(object),
            is_headless: spec.cluster_ip.as_deref() == Some("None"),
            publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
            prefers: Prefers::of(object),
            all,
        })
    }

    /// The Service's own labels, with those that both kinds of endpoints get.
    pub fn labels(&self) -> Map<String, Value> {
        let labels = self.service.metadata().labels.iter();
        let mut labels: Map<_, _> = labels.map(|(k, v)| (k.clone(), json!(v))).collect();
        if self.is_headless {
            labels.insert("service.kubernetes.io/headless".into(), json!(""));
        }
        labels
    }
}

/// The zone that the node is in, if it says so.
fn zone(node: &Object) -> Option<String> {
    node.metadata().labels.get(ZONE).cloned()
}

fn backend(
    object: &Arc<Object>,
    service: &str,
    ports: &[ServicePort],
    snapshot: &Snapshot,
) -> Option<Backend> {
    let pod = object.view::<Pod>().ok()?;
    let address = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    if pod.has_ended() {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let is_ours = spec.subdomain.as_deref() == Some(service);
    let metadata = object.metadata();
    let node = pod.node_name().and_then(|node| snapshot.find(NODES, "", node));
    Some(Backend {
        address,
        ports: ports.iter().filter_map(|port| resolve(port, &pod)).collect(),
        hostname: spec.hostname.clone().filter(|name| is_ours && !name.is_empty()),
        node: pod.node_name().map(str::to_owned),
        is_on_node: node.is_some(),
        zone: node.and_then(|node| zone(node)),
        target: json!({
            "kind": "Pod",
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        }),
        is_ready: pod.is_ready(),
        is_terminating: pods::is_terminating(&pod),
    })
}

/// The number behind a Service's port on this pod; `None` when the pod has no port of that name.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) if name.is_empty() => port.port,
        Some(IntOrString::String(name)) => named(pod, name, protocol)?,
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        port: number,
        protocol: protocol.to_owned(),
        app_protocol: port.app_protocol.clone(),
    })
}

fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|it| pods::is_sidecar(it));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let is_it = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.into_iter().find(is_it).map(|port| port.container_port)
}
