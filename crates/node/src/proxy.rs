//! The networking loop: Services and names follow the objects.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_network::dns::Zone;
use coracle_network::{NetworkConfig, ServiceMap, service_map};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;

use crate::node::{Context, blocking};

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
    let map = service_map(services.iter().map(|it| &**it), slices.iter().map(|it| &**it), config);
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
