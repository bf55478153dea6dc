//! What the engine answers to the command line.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Key, Kind, Timestamp, print};
use coracle_driver::Reasons;
use coracle_node::Node;
use coracle_node::images::{Credentials, Image, ImageError, Loaded};
use coracle_server::Api;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::control::{Ask, Pods};
use crate::control_server::Answering;
use crate::engine::Stop;
use coracle_node::Ending;

/// The parts of the engine that know the answers.
pub struct Questions {
    api: Api,
    reasons: Reasons,
    node: Arc<Node>,
    stopping: watch::Sender<Option<Stop>>,
    since: Timestamp,
}

impl Questions {
    /// Answers from these parts.
    pub fn new(
        api: Api,
        reasons: Reasons,
        node: Arc<Node>,
        stopping: watch::Sender<Option<Stop>>,
    ) -> Self {
        Self { api, reasons, node, stopping, since: Timestamp::now() }
    }

    fn status(&self) -> Value {
        let snapshot = self.api.snapshot();
        let count = |resource: &str| snapshot.list(resource, None).count();
        let pods: Vec<_> = snapshot.list("pods", None).collect();
        let running =
            pods.iter().filter(|pod| pod.str_at("/status/phase") == Some("Running")).count();
        json!({
            "state": "up",
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "startTime": format!("{:.0}", self.since),
            "uptimeSeconds": Timestamp::now().duration_since(self.since).as_secs(),
            "pods": {"total": pods.len(), "running": running},
            "statefulSets": count("statefulsets.apps"),
            "services": count("services"),
            "persistentVolumes": count("persistentvolumes"),
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
        let chain = self.reasons.why(&snapshot, &key);
        if chain.is_empty() {
            let object = format!("{} {name}", kind.singular);
            return Ok(json!([{"object": object, "because": "it waits for nothing"}]));
        }
        Ok(chain
            .iter()
            .map(|reason| {
                let singular = kinds.stored(&reason.key.resource).map_or_else(
                    || reason.key.resource.to_string(),
                    |kind| kind.singular.to_string(),
                );
                json!({
                    "object": format!("{singular} {}", reason.key.name),
                    "because": reason.sentence,
                    "since": reason.since.map(since),
                })
            })
            .collect())
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
            Ask::Stop { pods } => {
                self.stopping.send_replace(Some(match pods {
                    Pods::Stop => Stop::All(Ending::Gracefully),
                    Pods::Kill => Stop::All(Ending::Killed),
                    Pods::Keep => Stop::KeepPods,
                }));
                // The end of the process is the answer: `down` then looks whether the socket is gone.
                std::future::pending().await
            }
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
