//! An API over a store in memory, and requests to it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use coracle_api::{Kind, Status, Timestamp, Verb};
use coracle_server::{
    Answer, Api, Body, Cluster, Content, Kinds, Options, Outside, Request, Source, User,
};
use coracle_store::Store;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

use crate::choices::Choices;

/// A clock that stands still, and seeds that count.
#[derive(Default)]
struct Still(AtomicU64);

impl Source for Still {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        seed
    }
}

pub struct Harness {
    pub api: Api,
}

impl Harness {
    pub fn new(outside: Option<Arc<dyn Outside>>) -> Self {
        let store = Store::open_on(InMemoryBackend::new()).unwrap();
        let source = Arc::new(Still::default());
        let api = Api::new(store, Kinds::builtin(), Cluster::default(), source);
        outside.into_iter().for_each(|outside| api.set_outside(outside));
        let harness = Self { api };
        let made = harness.send(
            "",
            "v1",
            "namespaces",
            Verb::Create,
            "",
            Body::Object(json!({"metadata": {"name": "default"}})),
            Options::default(),
        );
        made.unwrap();
        harness
    }

    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.api.kinds().resource(group, version, plural).map(Arc::clone)
    }

    /// The answer to a request; nothing when there is no such kind.
    #[allow(clippy::too_many_arguments, reason = "all that a request is")]
    pub fn send(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        verb: Verb,
        name: &str,
        body: Body,
        options: Options,
    ) -> Result<Value, Status> {
        let missing = || Status::failure(404, "NotFound", "no such kind");
        let kind = self.kind(group, version, plural).ok_or_else(missing)?;
        let namespace = if kind.is_namespaced() { "default" } else { "" };
        let request = Request {
            user: User { name: "fuzzer".into(), ..User::default() },
            verb,
            namespace: namespace.into(),
            kind,
            name: name.into(),
            subresource: None,
            options,
            body,
        };
        self.call(request)
    }

    pub fn call(&self, request: Request) -> Result<Value, Status> {
        let reply = now(self.api.call(request))?;
        Ok(match reply.answer {
            Answer::Object(object) => object.value().clone(),
            Answer::Value(value) => value,
            Answer::Success(deleted) => deleted.to_value(),
            Answer::List(list) => list.items.iter().map(|item| item.value().clone()).collect(),
        })
    }
}

/// The store is inline: whatever is awaited is ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store did not answer at once"),
    }
}

/// `value` as a client sends it: as JSON, or as YAML, which every JSON is.
pub fn encoded(choices: &mut Choices, value: &Value) -> Body {
    let content = if choices.chance(80) { Content::Json } else { Content::Yaml };
    Body::Encoded(content, value.to_string().into())
}

/// A refusal says what is wrong with the request, and never that something went wrong here. Upstream
/// takes some mistakes for the server's; those have no reason.
#[track_caller]
pub fn is_the_clients(refused: &Status) {
    let is_upstreams = refused.code == 500 && refused.reason.is_empty();
    assert!(is_upstreams || (400..500).contains(&refused.code), "{refused:?}");
    assert!(!refused.message.is_empty(), "{refused:?}");
}
