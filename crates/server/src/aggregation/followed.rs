//! What other API servers say of themselves is asked for again and again, by one task a server: one
//! that does not answer holds up no other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::kinds::offered::{REGISTRATION, Remote};
use coracle_api::resources::API_SERVICES;
use coracle_api::{Fetch, Fetched, Object, OtherServer, conditions};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::client::Aggregator;
use super::said;
use crate::Api;

/// Between two looks at a server that answers, and the most between two at one that does not.
const PERIOD: Duration = Duration::from_secs(60);
/// Before the second look at one that does not answer; it doubles.
const AGAIN: Duration = Duration::from_millis(500);
const ACCEPTED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                        application/json";
/// For how long a document is waited for, in seconds: there may be much of it.
const DOCUMENT_TIMEOUT: u16 = 15;

/// A task that ends with whoever has this.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks every server that an APIService stands for, for as long as it does, and lets `api` know.
pub async fn follow_others(aggregator: Arc<Aggregator>, api: Api) -> Infallible {
    let mut followers: BTreeMap<String, (Arc<Object>, Follower)> = BTreeMap::new();
    loop {
        let snapshot = api.snapshot();
        let mut wanted: BTreeMap<String, Arc<Object>> = BTreeMap::new();
        for service in snapshot.list(API_SERVICES, None) {
            let is_other = OtherServer::of(service.value()).is_some();
            if is_other && service.value()["spec"]["group"] != REGISTRATION {
                wanted.insert(service.metadata().name.clone(), Arc::clone(service));
            }
        }
        followers.retain(|name, (known, _)| {
            wanted.get(name).is_some_and(|now| says_the_same(known, now))
        });
        if api.facts().remotes.keys().any(|name| !wanted.contains_key(name)) {
            api.know(|facts| facts.remotes.retain(|name, _| wanted.contains_key(name)));
        }
        for (name, service) in wanted {
            followers.entry(name).or_insert_with(|| {
                let work = follow(Arc::clone(&aggregator), api.clone(), Arc::clone(&service));
                (service, Follower(tokio::spawn(work)))
            });
        }
        // What was written meanwhile comes first; a log that is cut off means to look again.
        let revision = snapshot.revision();
        // Nothing of it is kept while nothing happens.
        drop(snapshot);
        let Ok(mut watch) = api.store().watch_resource(API_SERVICES, revision) else { continue };
        watch.next().await.map(drop).unwrap_or_default();
    }
}

/// Whether nothing has changed that matters here.
fn says_the_same(a: &Object, b: &Object) -> bool {
    let available = |object: &Object| conditions::is_true(object.value(), "Available");
    a.metadata().uid == b.metadata().uid
        && a.value()["spec"] == b.value()["spec"]
        && available(a) == available(b)
}

/// ETags of what is known.
#[derive(Default)]
struct Tags {
    discovery: String,
    index: String,
    swagger: String,
}

/// One version of a server.
struct Followed<'a> {
    aggregator: &'a Aggregator,
    api: &'a Api,
    server: OtherServer,
    group: &'a str,
    version: &'a str,
    tags: Tags,
    known: Remote,
}

async fn follow(aggregator: Arc<Aggregator>, api: Api, service: Arc<Object>) {
    let Some(server) = OtherServer::of(service.value()) else { return };
    let text = |pointer: &str| service.str_at(pointer).unwrap_or_default();
    let (group, version) = (text("/spec/group"), text("/spec/version"));
    let (tags, known) = Default::default();
    let name = server.name.clone();
    let aggregator = &*aggregator;
    let mut followed = Followed { aggregator, api: &api, server, group, version, tags, known };
    let tell = |remote: Remote| {
        if api.facts().remotes.get(&name).is_none_or(|known| **known != remote) {
            let remote = Arc::new(remote);
            api.know(|facts| drop(facts.remotes.insert(name.clone(), Arc::clone(&remote))));
        }
    };
    if !conditions::is_true(service.value(), "Available") {
        return tell(Remote::default());
    }
    let mut wait = AGAIN;
    loop {
        match followed.look().await {
            Ok(()) => {
                tell(followed.known.clone());
                wait = AGAIN;
                sleep(PERIOD).await;
            }
            Err(why) => {
                tracing::debug!(why, "{} does not say what it has", followed.server.name);
                // Nothing that may not hold any more is said, as upstream.
                followed.tags = Tags::default();
                followed.known = Remote::default();
                tell(Remote::default());
                sleep(wait).await;
                wait = wait.saturating_mul(2).min(PERIOD);
            }
        }
    }
}

impl Followed<'_> {
    /// Asks for all that is said; documents are not needed to be there.
    async fn look(&mut self) -> Result<(), String> {
        self.kinds().await?;
        self.known.is_current = true;
        let index = self.document("/openapi/v3", self.tags.index.clone()).await;
        match success(&index) {
            Some(Some(text)) => {
                self.known.documents = said::documents(text, self.group, self.version);
            }
            Some(None) => {}
            None => self.known.documents.clear(),
        }
        self.tags.index = index.tag;
        let swagger = self.document("/openapi/v2", self.tags.swagger.clone()).await;
        match success(&swagger) {
            Some(Some(text)) => {
                let read = said::swagger(text, self.group, self.version);
                self.known.swagger = read.map(Arc::new);
            }
            Some(None) => {}
            None => self.known.swagger = None,
        }
        self.tags.swagger = swagger.tag;
        Ok(())
    }

    /// By aggregated discovery, or by that of the one version, as older servers have only that.
    async fn kinds(&mut self) -> Result<(), String> {
        let tag = std::mem::take(&mut self.tags.discovery);
        let fetch = Fetch { accept: ACCEPTED, tag, ..self.get("/apis") };
        let all = self.ask(&fetch).await;
        match &all.answer {
            Ok((304, _)) => {
                self.tags.discovery = fetch.tag;
                return Ok(());
            }
            Ok((200, text)) => {
                if let Some(resources) = said::aggregated(text, self.group, self.version) {
                    self.known.resources = resources;
                    self.tags.discovery = all.tag;
                    return Ok(());
                }
            }
            Ok((503, _)) | Err(_) => return all.success().map(drop),
            Ok(_) => {}
        }
        let path = format!("/{}", said::document(self.group, self.version));
        let one = self.ask(&self.get(&path)).await;
        self.known.resources = said::legacy(one.success()?, self.group, self.version)?;
        Ok(())
    }

    async fn document(&self, path: &str, tag: String) -> Fetched {
        let fetch = Fetch { tag, timeout: DOCUMENT_TIMEOUT, ..self.get(path) };
        let mut fetched = self.ask(&fetch).await;
        if matches!(fetched.answer, Ok((304, _))) {
            fetched.tag = fetch.tag;
        }
        fetched
    }

    fn get(&self, path: &str) -> Fetch {
        Fetch::get(self.server.clone(), path)
    }

    async fn ask(&self, fetch: &Fetch) -> Fetched {
        self.aggregator.fetch(&self.api.snapshot(), fetch).await
    }
}

/// The text of a document, or nothing where what is known still holds; `None` when there is none.
fn success(fetched: &Fetched) -> Option<Option<&str>> {
    match &fetched.answer {
        Ok((304, _)) => Some(None),
        Ok((200, text)) => Some(Some(text)),
        _ => None,
    }
}
