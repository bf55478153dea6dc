//! What the engine answers to the command line.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::resources::{PERSISTENT_VOLUMES, PODS, SERVICES, STATEFUL_SETS};
use coracle_api::{Key, Kind, Object, Timestamp, print, unserved};
use coracle_driver::{Reason, Reasons};
use coracle_node::Node;
use coracle_node::images::{Credentials, Image, ImageError, Loaded};
use coracle_server::Api;
use coracle_store::Snapshot;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::control::{Ask, Pods};
use crate::control_server::Answering;
use coracle_node::Ending;

/// How the engine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// End the pods and take the network down.
    All(Ending),
    /// Leave pods and network as they are: the next engine finds them.
    KeepPods,
}

/// As many chains of reasons as one answer has.
const CHAINS_MAX: usize = 1000;

/// The parts of the engine that know the answers.
pub struct Questions {
    api: Api,
    reasons: Reasons,
    node: Arc<Node>,
    asked: watch::Sender<Option<Stop>>,
    since: Timestamp,
}

impl Questions {
    /// Answers from these parts.
    pub fn new(
        api: Api,
        reasons: Reasons,
        node: Arc<Node>,
        asked: watch::Sender<Option<Stop>>,
    ) -> Self {
        Self { api, reasons, node, asked, since: Timestamp::now() }
    }

    fn status(&self) -> Value {
        let snapshot = self.api.snapshot();
        let count = |resource: &str| snapshot.list(resource, None).count();
        let pods: Vec<_> = snapshot.list(PODS, None).collect();
        let running =
            pods.iter().filter(|pod| pod.str_at("/status/phase") == Some("Running")).count();
        json!({
            "state": "up",
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "startTime": format!("{:.0}", self.since),
            "uptimeSeconds": Timestamp::now().duration_since(self.since).as_secs(),
            "pods": {"total": pods.len(), "running": running},
            "statefulSets": count(STATEFUL_SETS),
            "services": count(SERVICES),
            "persistentVolumes": count(PERSISTENT_VOLUMES),
            "revision": snapshot.revision(),
        })
    }

    fn why(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, String> {
        let kinds = self.api.kinds();
        let kind = kinds.iter().find(|kind| is_called(kind, resource)).ok_or_else(|| {
            format!("there is no kind called {resource:?}: see `kubectl api-resources`")
        })?;
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        let key = Key::new(kind.storage_resource(), namespace, name);
        let snapshot = self.api.snapshot();
        if snapshot.get(&key).is_none() {
            let place =
                if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
            return Err(format!("there is no {} {name:?}{place}", kind.singular));
        }
        let chain = self.with_last_words(&snapshot, self.reasons.why(&snapshot, &key));
        let said = snapshot.get(&key).map(|stored| unserved::sentences(kind, stored.value()));
        let idle = said.unwrap_or_default().join("; ");
        let object = format!("{} {name}", kind.singular);
        let mut links = match self.shown(&chain) {
            Value::Array(links) => links,
            _ => Vec::new(),
        };
        // What nothing acts on may be why, whatever else it waits for.
        if !idle.is_empty() {
            links.insert(links.len().min(1), json!({"object": object, "because": idle}));
        }
        if links.is_empty() {
            links.push(json!({"object": object, "because": "it waits for nothing"}));
        }
        Ok(Value::Array(links))
    }

    /// Adds to what the status of a pod says the last lines of its containers that failed.
    fn with_last_words(&self, snapshot: &Snapshot, mut chain: Vec<Reason>) -> Vec<Reason> {
        for reason in chain.iter_mut().filter(|reason| *reason.key.resource == *PODS) {
            let Some(pod) = snapshot.get(&reason.key) else { continue };
            for (container, line) in self.node.last_words(pod) {
                if reason.sentence.starts_with(&format!("container {container}")) {
                    reason.sentence.push_str(&format!("; its last line was {line:?}"));
                }
            }
        }
        chain
    }

    /// The chains of everything that waits, each at its beginning only.
    fn history(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, String> {
        let kinds = self.api.kinds();
        let kind = kinds.iter().find(|kind| is_called(kind, resource)).ok_or_else(|| {
            format!("there is no kind called {resource:?}: see `kubectl api-resources`")
        })?;
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        let key = Key::new(kind.storage_resource(), namespace, name);
        let entries = self.reasons.history(&key).map_err(|error| error.to_string())?;
        let shown = entries.iter().map(|entry| {
            json!({
                "time": entry.time.to_string(),
                "controller": entry.controller,
                "did": entry.did,
                "because": entry.because,
            })
        });
        Ok(shown.collect())
    }

    fn why_all(&self, namespace: Option<&str>) -> Value {
        let snapshot = self.api.snapshot();
        let is_meant = |object: &&Arc<Object>| {
            namespace.is_none_or(|namespace| *object.key().namespace == *namespace)
        };
        let objects = snapshot.objects().filter(is_meant);
        let chains = objects.map(|object| self.reasons.why(&snapshot, object.key()));
        let chains: Vec<_> = chains.filter(|chain| !chain.is_empty()).take(CHAINS_MAX).collect();
        let links =
            chains.iter().flat_map(|chain| chain.iter().filter(|link| link.key != chain[0].key));
        let links: BTreeSet<&Key> = links.map(|link| &link.key).collect();
        let roots = chains.iter().filter(|chain| !links.contains(&chain[0].key));
        roots.map(|chain| self.shown(chain)).collect()
    }

    fn shown(&self, chain: &[Reason]) -> Value {
        let kinds = self.api.kinds();
        let singular = |key: &Key| match kinds.stored(&key.resource) {
            Some(kind) => kind.singular.to_string(),
            None => key.resource.to_string(),
        };
        let link = |reason: &Reason| {
            json!({
                "object": format!("{} {}", singular(&reason.key), reason.key.name),
                "namespace": &*reason.key.namespace,
                "because": reason.sentence,
                "since": reason.since.map(since),
            })
        };
        chain.iter().map(link).collect()
    }

    async fn images(&self, question: Ask, progress: mpsc::Sender<String>) -> Result<Value, String> {
        let (images, node) = (self.node.images(), Arc::clone(&self.node));
        if let Ask::ImagePull { reference } = question {
            // Progress that nobody reads in time is not worth waiting for.
            let say = |text: &str| drop(progress.try_send(text.to_string()));
            let pulled = images.pull(&reference, &Credentials::default(), &say).await;
            return pulled.map(|_| format!("pulled {reference}").into()).map_err(|e| e.to_string());
        }
        let done = tokio::task::spawn_blocking(move || match question {
            Ask::ImageLoad { file } => {
                let mut say = |text: &str| drop(progress.try_send(text.to_string()));
                let loaded = images.load(&file, &mut say)?;
                Ok(loaded.iter().flat_map(loaded_lines).map(Value::from).collect())
            }
            Ask::ImageRemove { reference } => {
                images.remove(&reference, |id| node.user_of_image(id))?;
                Ok(format!("removed {reference}").into())
            }
            _ => images.list().map(|list| list.iter().flat_map(rows).collect()),
        });
        let done: Result<Value, ImageError> = done.await.map_err(|error| error.to_string())?;
        done.map_err(|error| error.to_string())
    }
}

/// What an archive gave: its names for the image, or the ID of one that it has no name for.
fn loaded_lines(loaded: &Loaded) -> Vec<String> {
    match loaded.names.as_slice() {
        [] => vec![format!(
            "loaded {} (the archive has no name for it: pods can name it by this ID)",
            loaded.image.id
        )],
        names => names.iter().map(|name| format!("loaded {name}")).collect(),
    }
}

/// An image as `image ls` shows it: a row for each of its names.
fn rows(image: &Image) -> Vec<Value> {
    let row = |name: &str| json!({"reference": name, "id": image.id, "size": image.size});
    match image.names.as_slice() {
        [] => vec![row("<none>")],
        names => names.iter().map(|name| row(name)).collect(),
    }
}

#[async_trait]
impl Answering for Questions {
    async fn answer(&self, question: Ask, progress: mpsc::Sender<String>) -> Result<Value, String> {
        match question {
            Ask::Status => Ok(self.status()),
            Ask::Why { resource, namespace, name } => self.why(&resource, &namespace, &name),
            Ask::History { resource, namespace, name } => {
                self.history(&resource, &namespace, &name)
            }
            Ask::WhyAll { namespace } => Ok(self.why_all(namespace.as_deref())),
            Ask::Stop { pods } => {
                self.asked.send_replace(Some(match pods {
                    Pods::Stop => Stop::All(Ending::Gracefully),
                    Pods::Kill => Stop::All(Ending::Killed),
                    Pods::Keep => Stop::KeepPods,
                }));
                // The end of the process is the answer: `down` then looks whether the socket is gone.
                std::future::pending().await
            }
            Ask::SecretsRotate => match self.api.store().rotate_key().await {
                Ok(()) => {
                    Ok("all Secrets are encrypted with a new key; the old one is gone".into())
                }
                Err(error) => Err(error.to_string()),
            },
            image => self.images(image, progress).await,
        }
    }
}

/// Whether kubectl would take `name` for this kind: `sts`, `statefulset`, `statefulsets.apps`…
fn is_called(kind: &Kind, name: &str) -> bool {
    let name = name.to_lowercase();
    kind.plural == name
        || kind.singular == name
        || kind.group_resource() == name
        || kind.short_names.iter().any(|short| *short == name)
}

/// `12s`, `3m20s`: how long ago that was.
fn since(then: Timestamp) -> String {
    print::human(Timestamp::now().duration_since(then).as_secs())
}
