//! Changes of the objects that pods refer to.

use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::PODS;
use coracle_api::resources::{
    CLUSTER_TRUST_BUNDLES, CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, SECRETS, SERVICE_ACCOUNTS,
};
use coracle_store::{Event, Snapshot, Store, Watch};

/// What objects change a pod's variables and files.
pub const REFERRED: [&str; 5] =
    [CONFIG_MAPS, SECRETS, PERSISTENT_VOLUME_CLAIMS, SERVICE_ACCOUNTS, CLUSTER_TRUST_BUNDLES];

/// Follows the objects of one resource.
pub struct Referred {
    resource: Arc<str>,
    watch: Option<Watch>,
    /// Where a watch begins.
    from: u64,
    /// An event that was waited for.
    pending: Option<Arc<Event>>,
}

/// Pods that refer to this must look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In this namespace; `None` for all.
    pub namespace: Option<Arc<str>>,
    /// To this object; `None` for any of the resource.
    pub name: Option<Arc<str>>,
}

impl Change {
    /// The pods that refer to what of `resource` has changed.
    #[must_use]
    pub fn pods<'a>(&self, resource: &str, snapshot: &'a Snapshot) -> Vec<&'a Arc<Object>> {
        match (self.namespace.as_deref(), self.name.as_deref()) {
            (Some(namespace), Some(name)) => {
                snapshot.referring(resource, namespace, name).collect()
            }
            (namespace, _) => snapshot.list(PODS, namespace).collect(),
        }
    }
}

impl Referred {
    /// Follows what changes after `revision`.
    #[must_use]
    pub fn new(resource: &'static str, revision: u64) -> Self {
        Self { resource: resource.into(), watch: None, from: revision, pending: None }
    }

    /// Which resource.
    #[must_use]
    pub fn resource(&self) -> Arc<str> {
        Arc::clone(&self.resource)
    }

    /// Up to which revision everything was told.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.watch.as_ref().map_or(self.from, Watch::revision)
    }

    /// What has changed since the last call. Where the log of changes was cut off, anything may
    /// have.
    pub fn catch_up(&mut self, store: &Store) -> Vec<Change> {
        let mut changes: Vec<_> = self.pending.take().iter().map(|event| of(event)).collect();
        loop {
            if self.watch.is_none() {
                self.watch = store.watch_resource(&self.resource, self.from).ok();
            }
            match self.watch.as_mut().map(Watch::try_next) {
                Some(Ok(Some(event))) => changes.push(of(&event)),
                Some(Ok(None)) => return changes,
                Some(Err(_)) | None => {
                    self.watch = None;
                    self.from = store.snapshot().revision();
                    changes.push(Change { namespace: None, name: None });
                }
            }
        }
    }

    /// Waits for a change, or for the end of the watch.
    pub async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        match watch.next().await {
            Ok(event) => self.pending = Some(event),
            // Everything that was told is older than whatever the log still has.
            Err(_) => (self.watch, self.from) = (None, 0),
        }
    }
}

fn of(event: &Event) -> Change {
    // Pods name their signer, not them; they change seldom.
    if &*event.key.resource == CLUSTER_TRUST_BUNDLES {
        return Change { namespace: None, name: None };
    }
    let (namespace, name) = (Arc::clone(&event.key.namespace), Arc::clone(&event.key.name));
    Change { namespace: Some(namespace), name: Some(name) }
}

#[cfg(test)]
mod tests {
    use coracle_api::Object;
    use coracle_store::{Expect, FaultyDisk, Snapshot, Store, Transaction, Write};
    use serde_json::json;

    use super::{Change, Referred};

    #[test]
    fn a_change_is_as_cheap_among_many_pods_as_among_few() {
        let pod = |number: usize| {
            let map = json!({"name": "v", "configMap": {"name": format!("m{number}")}});
            let metadata = json!({"name": format!("p{number}"), "namespace": "ns"});
            let pod = json!({"metadata": metadata, "spec": {"volumes": [map]}});
            Object::with_resource("pods", pod).unwrap()
        };
        let [few, many] = [10, 1000].map(|pods| {
            let snapshot = Snapshot::of((0..pods).map(pod)).unwrap();
            let (counted, visits) = snapshot.counted();
            let change = Change { namespace: Some("ns".into()), name: Some("m7".into()) };
            let told = change.pods("configmaps", &counted);
            assert_eq!(told.iter().map(|pod| &*pod.key().name).collect::<Vec<_>>(), ["p7"]);
            visits.load(std::sync::atomic::Ordering::Relaxed)
        });
        assert_eq!(few, many);
    }

    async fn put(store: &Store, name: &str, value: u64) {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value.to_string()},
            "metadata": {"name": name, "namespace": "ns", "uid": name},
        });
        let object = Object::with_resource("configmaps", map).unwrap();
        let write = Write::put(object, Expect::Any);
        store.commit(Transaction { writes: vec![write], ..Transaction::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn where_the_log_was_cut_off_anything_may_have_changed() {
        let store = Store::open_on(FaultyDisk::new(1)).unwrap();
        put(&store, "a", 1).await;
        let mut referred = Referred::new("configmaps", store.snapshot().revision());
        assert_eq!(referred.catch_up(&store), []);
        put(&store, "a", 2).await;
        let named = Change { namespace: Some("ns".into()), name: Some("a".into()) };
        assert_eq!(referred.catch_up(&store), std::slice::from_ref(&named));
        put(&store, "a", 3).await;
        store.compact(store.snapshot().revision());
        assert_eq!(referred.catch_up(&store), [Change { namespace: None, name: None }]);
        put(&store, "a", 4).await;
        assert_eq!(referred.catch_up(&store), [named]);
    }
}
