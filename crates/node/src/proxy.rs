//! The networking loop: Services, policies and names follow the objects.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::pods::AnyPod;
use coracle_api::resources::{ENDPOINT_SLICES, NAMESPACES, NETWORK_POLICIES, PODS, SERVICES};
use coracle_api::{Index, Key, index};
use coracle_network::dns::Zone;
use coracle_network::services::SERVICE_NAME_LABEL;
use coracle_network::{Fold, NetworkConfig, PolicyFold, PolicyPod, PolicyTable, ServiceMap};
use coracle_store::{Event, Snapshot, Store, Watch};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::{mpsc, oneshot};

use crate::addresses::Addresses;
use crate::context::Context;
use crate::moves::Move;
use crate::pods::PodId;
use crate::tasks::blocking;

const RESOURCES: [&str; 5] = [SERVICES, ENDPOINT_SLICES, PODS, NAMESPACES, NETWORK_POLICIES];
/// Changes within this time are applied together.
const GATHER: Duration = Duration::from_millis(5);
/// The pause after the kernel refused.
const AGAIN: Duration = Duration::from_secs(1);

/// What follows from the objects as they were when [`Follower::catch_up`] was last called.
struct Follower {
    folds: Folds,
    watches: [Watch; 5],
}

/// Services and names, and policies.
struct Folds {
    services: Fold,
    policies: PolicyFold,
    node_name: String,
}

impl Follower {
    /// Everything there is; `None` when the log has been cut off meanwhile.
    fn new(store: &Store, config: &NetworkConfig, addresses: &Addresses) -> Option<Self> {
        let snapshot = store.snapshot();
        let watch = |resource| store.watch_resource(resource, snapshot.revision()).ok();
        let [services, slices, pods, namespaces, policies] = RESOURCES.map(watch);
        let watches = [services?, slices?, pods?, namespaces?, policies?];
        Some(Self { folds: Folds::new(&snapshot, config, addresses), watches })
    }

    /// Follows what has been written since, and which pods have come and gone; says up to which revision.
    /// `None` when the log no longer has it all.
    fn catch_up(&mut self, store: &Store, addresses: &Addresses, moves: &[Move]) -> Option<u64> {
        let mut events = Vec::new();
        for watch in &mut self.watches {
            while let Some(event) = watch.try_next().ok()? {
                events.push(event);
            }
        }
        // Taken after them, so that it shows what each of them left.
        let snapshot = store.snapshot();
        for event in events {
            self.folds.follow(&snapshot, &event, addresses);
        }
        for one in moves {
            match one {
                Move::Comes { pod, uid, .. } => {
                    self.folds.set_policed(&snapshot, pod, uid, addresses);
                }
                Move::Goes(uid) => self.folds.policies.set_pod(uid, None),
            }
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

impl Folds {
    fn new(snapshot: &Snapshot, config: &NetworkConfig, addresses: &Addresses) -> Self {
        let mut folds = Self {
            services: Fold::new(config.clone()),
            policies: PolicyFold::new(config.dns_ip()),
            node_name: config.node_name.clone(),
        };
        for service in snapshot.list(SERVICES, None) {
            folds.set_service(snapshot, service.key());
        }
        for namespace in snapshot.list(NAMESPACES, None) {
            folds.set_namespace(snapshot, namespace.key());
        }
        for pod in snapshot.list(PODS, None) {
            folds.set_pod(snapshot, pod.key());
            folds.set_policed(snapshot, pod.key(), &pod.metadata().uid, addresses);
        }
        for policy in snapshot.list(NETWORK_POLICIES, None) {
            folds.set_policy(snapshot, policy.key());
        }
        folds
    }

    /// Looks anew at what the event is about.
    fn follow(&mut self, snapshot: &Snapshot, event: &Event, addresses: &Addresses) {
        match &*event.key.resource {
            PODS => {
                self.set_pod(snapshot, &event.key);
                let uid = &event.last.metadata().uid;
                self.set_policed(snapshot, &event.key, uid, addresses);
            }
            SERVICES => self.set_service(snapshot, &event.key),
            NAMESPACES => self.set_namespace(snapshot, &event.key),
            NETWORK_POLICIES => self.set_policy(snapshot, &event.key),
            _ => {
                for slice in event.old.iter().chain([&event.last]) {
                    if let Some(service) = slice.metadata().labels.get(SERVICE_NAME_LABEL) {
                        let namespace = Arc::clone(&event.key.namespace);
                        let service = Key::new(SERVICES, namespace, service.as_str());
                        self.set_service(snapshot, &service);
                    }
                }
            }
        }
    }

    fn set_service(&mut self, snapshot: &Snapshot, key: &Key) {
        let service = snapshot.get(key).and_then(|object| object.view::<Service>().ok());
        let label = index::label(SERVICE_NAME_LABEL, &key.name);
        let slices = snapshot.indexed(Index::Label, &label, ENDPOINT_SLICES, Some(&key.namespace));
        let slices: Vec<_> =
            slices.filter_map(|slice| slice.view::<EndpointSlice>().ok()).collect();
        let slices = slices.iter().map(|slice| &**slice);
        self.services.set_service((&key.namespace, &key.name), service.as_deref(), slices);
    }

    fn set_pod(&mut self, snapshot: &Snapshot, key: &Key) {
        let pod = snapshot.get(key).and_then(|object| object.view::<Pod>().ok());
        self.services.set_pod((&key.namespace, &key.name), pod.as_deref());
    }

    fn set_namespace(&mut self, snapshot: &Snapshot, key: &Key) {
        let labels = snapshot.get(key).map(|object| &object.metadata().labels);
        self.policies.set_namespace(&key.name, labels);
    }

    fn set_policy(&mut self, snapshot: &Snapshot, key: &Key) {
        let policy = snapshot.get(key).and_then(|object| object.view::<NetworkPolicy>().ok());
        self.policies.set_policy((&key.namespace, &key.name), policy.as_deref());
    }

    /// Looks anew at the pod with this UID, for policies.
    fn set_policed(&mut self, snapshot: &Snapshot, key: &Key, uid: &str, addresses: &Addresses) {
        let object = snapshot.get(key).filter(|object| object.metadata().uid == uid);
        let own = addresses.of(uid);
        if object.is_none() && own.is_some() {
            // Its processes may still run: what holds for them holds until its address is free.
            return;
        }
        let pod = object.and_then(|object| object.view::<Pod>().ok());
        let policed = pod.and_then(|pod| {
            // What the API shows of a pod of this node is late; its address counts as long as it has it.
            let is_ours = pod.node_name() == Some(self.node_name.as_str());
            PolicyPod::of(&pod, if is_ours { own } else { shown_ip(&pod) }?)
        });
        self.policies.set_pod(uid, policed);
    }
}

/// The address of another node's pod.
fn shown_ip(pod: &Pod) -> Option<Ipv4Addr> {
    if pod.has_ended() {
        return None;
    }
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// What the kernel is told.
#[derive(Clone, PartialEq)]
struct Wanted {
    services: ServiceMap,
    policies: PolicyTable,
}

/// What follows from what has been written by now: who follows it, the zone, and what the kernel is
/// told. Blocks.
fn derive(
    mut former: Option<Follower>,
    context: &Context,
    config: &NetworkConfig,
    moves: &[Move],
) -> (Follower, Zone, Wanted) {
    let (store, addresses) = (context.client.api.store(), &context.addresses);
    loop {
        let follower = former.take().or_else(|| Follower::new(store, config, addresses));
        let Some(mut follower) = follower else { continue };
        if let Some(revision) = follower.catch_up(store, addresses, moves) {
            // A serial may wrap around.
            #[allow(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
            let zone = follower.folds.services.zone(revision as u32);
            let services = follower.folds.services.map().clone();
            let policies = follower.folds.policies.table().clone();
            return (follower, zone, Wanted { services, policies });
        }
    }
}

impl Context {
    /// Waits until policies hold for a pod that has its address: nothing shall reach it or leave it
    /// before.
    ///
    /// # Errors
    /// When the kernel refuses them.
    pub async fn cover(&self, id: &PodId) -> Result<(), String> {
        let (covered, told) = oneshot::channel();
        let snapshot = self.client.api.snapshot();
        let waits = snapshot.list(NETWORK_POLICIES, None).next().is_some();
        let pod = Key::new(PODS, id.namespace.as_str(), id.name.as_str());
        let covered = waits.then_some(covered);
        let comes = Move::Comes { pod, uid: id.uid.clone(), covered };
        let ended = || "what applies network policies has ended".to_owned();
        self.moves.send(comes).map_err(|_| ended())?;
        if waits { told.await.unwrap_or_else(|_| Err(ended())) } else { Ok(()) }
    }
}

/// Tells those who wait that policies hold for their pods, or why not.
fn tell(moves: Vec<Move>, result: &Result<(), String>) {
    for one in moves {
        if let Move::Comes { covered: Some(covered), .. } = one {
            // Nobody waits any more when the pod has ended.
            drop(covered.send(result.clone()));
        }
    }
}

/// Applies every change of Services, endpoints, policies, namespaces and pods, for ever. It is worked
/// out beside the threads that serve everybody: there may be many.
pub(crate) async fn run(
    context: Arc<Context>,
    config: NetworkConfig,
    zone: Arc<ArcSwap<Zone>>,
    ready: tokio::sync::watch::Sender<bool>,
    mut moved: mpsc::UnboundedReceiver<Move>,
) {
    let store = context.client.api.store().clone();
    let mut applied: Option<Wanted> = None;
    let mut former: Option<Follower> = None;
    let mut moves: Vec<Move> = Vec::new();
    loop {
        moves.extend(std::iter::from_fn(|| moved.try_recv().ok()));
        let (shared, network) = (Arc::clone(&context), config.clone());
        let derived = blocking(move || {
            let derived = derive(former, &shared, &network, &moves);
            (derived, moves)
        });
        let ((mut follower, new_zone, wanted), heard) = derived.await;
        moves = Vec::new();
        zone.store(Arc::new(new_zone));
        if applied.as_ref() != Some(&wanted) {
            let (kernel, next) = (Arc::clone(&context.kernel), wanted.clone());
            let apply = move || kernel.apply(&next.services, &next.policies);
            if let Err(error) = blocking(apply).await {
                tracing::error!(%error, "Services and policies cannot be applied");
                tell(heard, &Err(error.to_string()));
                tokio::time::sleep(AGAIN).await;
                former = Some(follower);
                continue;
            }
            applied = Some(wanted);
        }
        tell(heard, &Ok(()));
        ready.send_replace(true);
        tokio::select! {
            () = follower.changed(&store) => {}
            Some(one) = moved.recv() => moves.push(one),
        }
        former = Some(follower);
        if !moves.iter().any(Move::is_urgent) {
            gather(&mut moved, &mut moves).await;
        }
    }
}

/// Waits for more changes, but not where a pod waits.
async fn gather(moved: &mut mpsc::UnboundedReceiver<Move>, moves: &mut Vec<Move>) {
    let end = tokio::time::sleep(GATHER);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            Some(one) = moved.recv() => {
                moves.push(one);
                if moves.iter().any(Move::is_urgent) {
                    return;
                }
            }
        }
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
                (NETWORK_POLICIES, json!({"metadata": metadata, "spec": {"podSelector": {}}})),
            ]
        });
        Snapshot::of(all.map(|(of, value)| Object::with_resource(of, value).unwrap())).unwrap()
    }

    #[test]
    fn a_change_costs_as_much_among_many_objects_as_among_few() {
        let config = NetworkConfig::new("c", "node-1", "/nowhere".into());
        let [few, many] = [10, 1000].map(|services| {
            let snapshot = cluster(services);
            let addresses = Addresses::default();
            let mut folds = Folds::new(&snapshot, &config, &addresses);
            let (counted, visits) = snapshot.counted();
            for resource in [SERVICES, ENDPOINT_SLICES, PODS, NETWORK_POLICIES] {
                let object = counted.find(resource, "x", "s7").unwrap();
                let (key, last) = (object.key().clone(), Arc::clone(object));
                let event = Event { revision: 1, key, old: None, new: Some(last.clone()), last };
                folds.follow(&counted, &event, &addresses);
            }
            visits.load(std::sync::atomic::Ordering::Relaxed)
        });
        assert_eq!(few, many);
    }
}
