//! The networking loop: Services and names follow the objects.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::resources::{ENDPOINT_SLICES, PODS, SERVICES};
use coracle_api::{Index, Key, index};
use coracle_network::dns::Zone;
use coracle_network::services::SERVICE_NAME_LABEL;
use coracle_network::{Fold, NetworkConfig, ServiceMap};
use coracle_store::{Event, Snapshot, Store, Watch};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::context::Context;
use crate::tasks::blocking;

const RESOURCES: [&str; 3] = [SERVICES, ENDPOINT_SLICES, PODS];
/// Changes within this time are applied together.
const GATHER: Duration = Duration::from_millis(5);
/// The pause after the kernel refused.
const AGAIN: Duration = Duration::from_secs(1);

/// What follows from the objects as they were when [`Follower::catch_up`] was last called.
struct Follower {
    fold: Fold,
    watches: [Watch; 3],
}

impl Follower {
    /// Everything there is; `None` when the log has been cut off meanwhile.
    fn new(store: &Store, config: &NetworkConfig) -> Option<Self> {
        let snapshot = store.snapshot();
        let watch = |resource| store.watch_resource(resource, snapshot.revision()).ok();
        let [services, slices, pods] = RESOURCES.map(watch);
        let watches = [services?, slices?, pods?];
        Some(Self { fold: everything(&snapshot, config), watches })
    }

    /// Follows what has been written since, and says up to which revision; `None` when the log no
    /// longer has it all.
    fn catch_up(&mut self, store: &Store) -> Option<u64> {
        let mut events = Vec::new();
        for watch in &mut self.watches {
            while let Some(event) = watch.try_next().ok()? {
                events.push(event);
            }
        }
        // Taken after them, so that it shows what each of them left.
        let snapshot = store.snapshot();
        for event in events {
            follow(&mut self.fold, &snapshot, &event);
        }
        Some(snapshot.revision())
    }

    /// Waits for the first change that matters here; [`Follower::catch_up`] gets it too.
    async fn changed(&mut self, store: &Store) {
        let waits = self.watches.iter().zip(RESOURCES).map(|(watch, resource)| {
            let watch = store.watch_resource(resource, watch.revision());
            Box::pin(async move {
                // A watch that is too old means that something has changed.
                if let Ok(mut watch) = watch {
                    watch.next().await.map(drop).unwrap_or_default();
                }
            })
        });
        futures_util::future::select_all(waits).await;
    }
}

fn everything(snapshot: &Snapshot, config: &NetworkConfig) -> Fold {
    let mut fold = Fold::new(config.clone());
    for service in snapshot.list(SERVICES, None) {
        set_service(&mut fold, snapshot, service.key());
    }
    for pod in snapshot.list(PODS, None) {
        set_pod(&mut fold, snapshot, pod.key());
    }
    fold
}

/// Looks anew at what the event is about.
fn follow(fold: &mut Fold, snapshot: &Snapshot, event: &Event) {
    match &*event.key.resource {
        PODS => set_pod(fold, snapshot, &event.key),
        SERVICES => set_service(fold, snapshot, &event.key),
        _ => {
            for slice in event.old.iter().chain([&event.last]) {
                if let Some(service) = slice.metadata().labels.get(SERVICE_NAME_LABEL) {
                    let namespace = Arc::clone(&event.key.namespace);
                    set_service(fold, snapshot, &Key::new(SERVICES, namespace, service.as_str()));
                }
            }
        }
    }
}

fn set_service(fold: &mut Fold, snapshot: &Snapshot, key: &Key) {
    let service = snapshot.get(key).and_then(|object| object.view::<Service>().ok());
    let label = index::label(SERVICE_NAME_LABEL, &key.name);
    let slices = snapshot.indexed(Index::Label, &label, ENDPOINT_SLICES, Some(&key.namespace));
    let slices: Vec<_> = slices.filter_map(|slice| slice.view::<EndpointSlice>().ok()).collect();
    let slices = slices.iter().map(|slice| &**slice);
    fold.set_service((&key.namespace, &key.name), service.as_deref(), slices);
}

fn set_pod(fold: &mut Fold, snapshot: &Snapshot, key: &Key) {
    let pod = snapshot.get(key).and_then(|object| object.view::<Pod>().ok());
    fold.set_pod((&key.namespace, &key.name), pod.as_deref());
}

/// What follows from what has been written by now: who follows it, the zone and the map. Blocks.
fn derive(
    mut former: Option<Follower>,
    store: &Store,
    config: &NetworkConfig,
) -> (Follower, Zone, ServiceMap) {
    loop {
        let Some(mut follower) = former.take().or_else(|| Follower::new(store, config)) else {
            continue;
        };
        if let Some(revision) = follower.catch_up(store) {
            // A serial may wrap around.
            #[allow(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
            let zone = follower.fold.zone(revision as u32);
            let map = follower.fold.map().clone();
            return (follower, zone, map);
        }
    }
}

/// Applies every change of Services, endpoints and pods, for ever. It is worked out beside the
/// threads that serve everybody: there may be many.
pub(crate) async fn run(
    context: Arc<Context>,
    config: NetworkConfig,
    zone: Arc<ArcSwap<Zone>>,
    ready: tokio::sync::watch::Sender<bool>,
) {
    let store = context.client.api.store().clone();
    let mut applied: Option<ServiceMap> = None;
    let mut former: Option<Follower> = None;
    loop {
        let (written, network) = (store.clone(), config.clone());
        let derived = blocking(move || derive(former, &written, &network)).await;
        let (mut follower, new_zone, map) = derived;
        zone.store(Arc::new(new_zone));
        if applied.as_ref() != Some(&map) {
            let (kernel, next) = (Arc::clone(&context.kernel), map.clone());
            if let Err(error) = blocking(move || kernel.apply_services(&next)).await {
                tracing::error!(%error, "the Services cannot be applied");
                tokio::time::sleep(AGAIN).await;
                former = Some(follower);
                continue;
            }
            applied = Some(map);
        }
        ready.send_replace(true);
        follower.changed(&store).await;
        former = Some(follower);
        tokio::time::sleep(GATHER).await;
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;
    use serde_json::json;

    use super::*;

    fn cluster(services: usize) -> Snapshot {
        let all = (0..services).flat_map(|number| {
            let name = format!("s{number}");
            let labels = json!({"kubernetes.io/service-name": name});
            let metadata = json!({"name": name, "namespace": "x", "labels": labels});
            let endpoints = json!([{"addresses": ["10.244.0.9"]}]);
            [
                (SERVICES, json!({"metadata": metadata, "spec": {"clusterIP": "None"}})),
                (
                    ENDPOINT_SLICES,
                    json!({"metadata": metadata, "addressType": "IPv4",
                                         "endpoints": endpoints}),
                ),
                (
                    PODS,
                    json!({"metadata": metadata, "spec": {"containers": []},
                              "status": {"podIP": "10.244.0.9"}}),
                ),
            ]
        });
        Snapshot::of(all.map(|(of, value)| Object::with_resource(of, value).unwrap())).unwrap()
    }

    #[test]
    fn a_change_costs_as_much_among_many_services_as_among_few() {
        let config = NetworkConfig::new("c", "node-1", "/nowhere".into());
        let [few, many] = [10, 1000].map(|services| {
            let snapshot = cluster(services);
            let mut fold = everything(&snapshot, &config);
            let (counted, visits) = snapshot.counted();
            for resource in RESOURCES {
                let object = counted.find(resource, "x", "s7").unwrap();
                let (key, last) = (object.key().clone(), Arc::clone(object));
                let event = Event { revision: 1, key, old: None, new: Some(last.clone()), last };
                follow(&mut fold, &counted, &event);
            }
            visits.load(std::sync::atomic::Ordering::Relaxed)
        });
        assert_eq!(few, many);
    }
}
