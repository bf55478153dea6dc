//! The networking loop: Services and names follow the objects.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_network::dns::Zone;
use coracle_network::{
    Backend, Frontend, NetworkConfig, Protocol, ServiceMap, Target, service_map,
};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{ContainerPort, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::tasks::blocking;

const RESOURCES: [&str; 3] = ["services", "endpointslices.discovery.k8s.io", "pods"];
/// Changes within this time are applied together.
const GATHER: Duration = Duration::from_millis(5);
/// The pause after the kernel refused.
const AGAIN: Duration = Duration::from_secs(1);

fn views<T: DeserializeOwned + Send + Sync + 'static>(
    snapshot: &Snapshot,
    resource: &str,
) -> Vec<Arc<T>> {
    snapshot.list(resource, None).filter_map(|object| object.view::<T>().ok()).collect()
}

/// Where every Service leads, and every name of the cluster.
fn derive(snapshot: &Snapshot, config: &NetworkConfig) -> (ServiceMap, Zone) {
    let [services, slices, pods] = RESOURCES;
    let services: Vec<Arc<Service>> = views(snapshot, services);
    let slices: Vec<Arc<EndpointSlice>> = views(snapshot, slices);
    let pods: Vec<Arc<Pod>> = views(snapshot, pods);
    let mut map =
        service_map(services.iter().map(|it| &**it), slices.iter().map(|it| &**it), config);
    for (frontend, target) in pods.iter().flat_map(|pod| host_ports(pod, config)) {
        map.targets.entry(frontend).or_insert(target);
    }
    // A serial may wrap around.
    #[allow(clippy::cast_possible_truncation, reason = "serial numbers are compared modulo 2^32")]
    let serial = snapshot.revision() as u32;
    let zone = Zone::new(
        services.iter().map(|it| &**it),
        slices.iter().map(|it| &**it),
        pods.iter().map(|it| &**it),
        config,
        serial,
    );
    (map, zone)
}

/// The node's ports that lead to a running pod (`hostPort`).
fn host_ports(pod: &Pod, config: &NetworkConfig) -> Vec<(Frontend, Target)> {
    // Borrowed, not cloned: this is asked about every pod whenever one of them changes.
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return Vec::new() };
    let ip = status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
    let runs = !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let ours = spec.node_name.as_deref() == Some(config.node_name.as_str());
    let (Some(ip), true) = (ip, runs && ours && spec.host_network != Some(true)) else {
        return Vec::new();
    };
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
    let lead = |port: &ContainerPort| {
        let host = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
        // An address that is not the node's is another's.
        let node = config.node_ip();
        if host.is_some_and(|ip: Ipv4Addr| !ip.is_unspecified() && ip != node) {
            return None;
        }
        let frontend = Frontend {
            ip: node,
            port: number(port.host_port?)?,
            protocol: Protocol::parse(port.protocol.as_deref())?,
        };
        let backends = vec![Backend { ip, port: number(port.container_port)? }];
        Some((frontend, Target { backends, affinity_seconds: None, sources: Vec::new() }))
    };
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(lead).collect()
}

/// Applies every change of Services, endpoints and pods, for ever.
pub(crate) async fn run(
    context: Arc<Context>,
    config: NetworkConfig,
    zone: Arc<ArcSwap<Zone>>,
    ready: tokio::sync::watch::Sender<bool>,
) {
    let store = context.client.api.store().clone();
    let mut applied: Option<ServiceMap> = None;
    loop {
        let snapshot = context.client.api.snapshot();
        let (map, names) = derive(&snapshot, &config);
        zone.store(Arc::new(names));
        if applied.as_ref() != Some(&map) {
            let (kernel, next) = (Arc::clone(&context.kernel), map.clone());
            if let Err(error) = blocking(move || kernel.apply_services(&next)).await {
                tracing::error!(%error, "the Services cannot be applied");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            applied = Some(map);
        }
        ready.send_replace(true);
        changed(&store, snapshot.revision()).await;
        tokio::time::sleep(GATHER).await;
    }
}

/// Waits for the first change after `revision` that matters here.
async fn changed(store: &coracle_store::Store, revision: u64) {
    let waits = RESOURCES.map(|resource| {
        let watch = store.watch_resource(resource, revision);
        Box::pin(async move {
            // A watch that is too old means that something has changed.
            if let Ok(mut watch) = watch {
                watch.next().await.map(drop).unwrap_or_default();
            }
        })
    });
    futures_util::future::select_all(waits).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn host_ports_lead_to_running_pods_of_the_node() {
        let config = NetworkConfig::new("c", "node-1", "/nowhere".into());
        let pod = |node: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}]},
                "status": {"podIP": "10.244.0.9", "phase": phase},
            }))
            .unwrap()
        };
        let found = host_ports(&pod("node-1", "Running"), &config);
        let [(frontend, target)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((frontend.ip, frontend.port), (config.node_ip(), 8080));
        assert_eq!(target.backends, [Backend { ip: [10, 244, 0, 9].into(), port: 80 }]);
        assert!(host_ports(&pod("node-2", "Running"), &config).is_empty());
        for (ip, is_ours) in [("10.96.0.1", false), ("0.0.0.0", true), ("10.244.255.253", true)] {
            let mut pod = pod("node-1", "Running");
            let containers = &mut pod.spec.as_mut().unwrap().containers;
            containers[0].ports.as_mut().unwrap()[0].host_ip = Some(ip.to_owned());
            assert_eq!(!host_ports(&pod, &config).is_empty(), is_ours, "{ip}");
        }
        assert!(host_ports(&pod("node-1", "Failed"), &config).is_empty());
    }
}
