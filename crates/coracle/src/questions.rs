//! What the engine answers to the command line.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::Timestamp;
use coracle_api::resources::{PERSISTENT_VOLUMES, PODS, SERVICES, STATEFUL_SETS};
use coracle_driver::Reasons;
use coracle_node::Node;
use coracle_node::images::{Credentials, Image, ImageError, Loaded};
use coracle_server::Api;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::control::{Ask, Pods};
use crate::control_server::Answering;
use crate::explain::Explainer;
use crate::releases;
use coracle_node::Ending;

/// How the engine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// End the pods and take the network down.
    All(Ending),
    /// Leave pods and network as they are: the next engine finds them.
    KeepPods,
}

/// The parts of the engine that know the answers.
pub struct Questions {
    api: Api,
    explainer: Arc<Explainer>,
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
        let explainer = Arc::new(Explainer::new(api.clone(), reasons, Arc::clone(&node)));
        Self { api, explainer, node, asked, since: Timestamp::now() }
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
            Ask::ImageTag { image, name } => {
                Ok(format!("tagged {}", images.tag(&image, &name)?).into())
            }
            Ask::ImagePrune { all } => {
                let gone = images.prune(all, |id| node.user_of_image(id))?;
                Ok(gone.iter().map(|name| Value::from(format!("removed {name}"))).collect())
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
            Ask::Why { resource, namespace, name } => {
                self.explainer.why(&resource, &namespace, &name)
            }
            Ask::History { resource, namespace, name } => {
                self.explainer.history(&resource, &namespace, &name)
            }
            Ask::WhyAll { resource, namespace } => {
                self.explainer.why_all(resource.as_deref(), namespace.as_deref())
            }
            Ask::WhyRelease { namespace, name } => {
                let explainer = Arc::clone(&self.explainer);
                // Releases are large, and packed.
                let looked = tokio::task::spawn_blocking(move || match name {
                    Some(name) => {
                        let namespace = namespace.as_deref().unwrap_or("default");
                        releases::why(&explainer, namespace, &name)
                    }
                    None => Ok(releases::why_all(&explainer, namespace.as_deref())),
                });
                looked.await.map_err(|error| error.to_string())?
            }
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
