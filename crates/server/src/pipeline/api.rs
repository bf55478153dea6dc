//! The one way to the objects: every client's and every controller's requests end here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use coracle_api::resources::{BINDINGS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SERVICE_ACCOUNTS};
use coracle_api::{FieldError, Index, Key, Object, Status, Subresource, Timestamp, Verb};
use coracle_store::{CommitError, Committed, Expect, Snapshot, Store, Transaction, Write};
use serde_json::json;

use crate::Kinds;
use crate::auth::reviews;
use crate::auth::tokens::Tokens;
use crate::pipeline::cluster::Cluster;
use crate::pipeline::content;
use crate::pipeline::defined::Defined;
use crate::pipeline::pages::Pages;
use crate::pipeline::prepare::prepare;
use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::{Body, Options, Request, User};
use crate::pipeline::source::{Entropy, Source};
use crate::pipeline::verbs;
use crate::pipeline::verbs::definitions;
use crate::pipeline::verbs::watch::WatchStream;
use crate::pipeline::write::{Prepared, WriteEnv};

/// How often a write is prepared anew because others were faster.
const ATTEMPTS: usize = 64;

/// A handle on the API; cloning it is cheap.
///
/// Callers in the process are trusted: authorization happens for HTTP callers before [`Api::call`].
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    kinds: Defined,
    cluster: Cluster,
    source: Arc<dyn Source>,
    pages: Pages,
    tokens: OnceLock<Arc<Tokens>>,
}

impl Api {
    /// The API over `store`.
    pub fn new(store: Store, kinds: Kinds, cluster: Cluster, source: Arc<dyn Source>) -> Self {
        let (pages, tokens) = Default::default();
        let kinds = Defined::new(kinds);
        let inner = Inner { store, kinds, cluster, source, pages, tokens };
        Self { inner: Arc::new(inner) }
    }

    /// All objects now.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.store.snapshot()
    }

    /// The store below, for watches and for the engine's own values.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The kinds served now, custom resources included.
    pub fn kinds(&self) -> Arc<Kinds> {
        self.inner.kinds.kinds(&self.inner.store)
    }

    /// Where the API's time and randomness come from.
    pub fn source(&self) -> &dyn Source {
        &*self.inner.source
    }

    /// What the pipeline knows of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Carries one request out; a watch is opened with [`Api::watch`] instead.
    ///
    /// # Errors
    /// The Status that the client gets.
    pub async fn call(&self, request: Request) -> Result<Reply, Status> {
        let now = self.inner.source.now();
        match request.verb {
            Verb::Create if !request.kind.is_stored() && !request.kind.is(BINDINGS) => {
                self.review(&request, now)
            }
            Verb::Create if request.subresource == Some(Subresource::Token) => {
                self.token(&request, now)
            }
            Verb::Get => verbs::get::get(&self.snapshot(), &request),
            Verb::List => verbs::list::list(&self.snapshot(), &self.inner.pages, &request, now),
            Verb::Watch => Err(Status::bad_request("a watch is a stream")),
            _ => {
                let mut replies = self.transact(vec![request], Vec::new()).await?;
                replies.pop().ok_or_else(|| Status::internal("a request without an answer"))
            }
        }
    }

    fn review(&self, request: &Request, now: Timestamp) -> Result<Reply, Status> {
        let snapshot = self.snapshot();
        let mut body = content::object(request)?.value;
        verbs::create::settle_namespace(request, &mut body)?;
        let tokens = self.inner.tokens.get().map(AsRef::as_ref);
        let facts = reviews::Facts { snapshot: &snapshot, tokens, now };
        Ok(Reply::created(Answer::Value(reviews::answer(&facts, request, body)?)))
    }

    fn token(&self, request: &Request, now: Timestamp) -> Result<Reply, Status> {
        let snapshot = self.snapshot();
        let kinds = self.kinds();
        let mut env = self.env(&kinds);
        let body = content::other(request, "io.k8s.api.authentication.v1.TokenRequest")?;
        let tokens =
            self.inner.tokens.get().ok_or_else(|| Status::internal("there are no tokens here"))?;
        let answer = tokens.request(&snapshot, request, body, now, &mut env.entropy)?;
        Ok(Reply::created(Answer::Value(answer)))
    }

    /// Sets what signs service account tokens; done once, before the first client comes.
    pub fn set_tokens(&self, tokens: Arc<Tokens>) {
        if self.inner.tokens.set(tokens).is_err() {
            tracing::warn!("the key of the service accounts was set before and stays");
        }
    }

    /// Carries several writes out together or not at all, each on the state that those before it
    /// leave, if `requires` holds.
    ///
    /// # Errors
    /// The Status of the first request that fails; 409 when `requires` does not hold.
    pub async fn transact(
        &self,
        requests: Vec<Request>,
        requires: Vec<(Key, Expect)>,
    ) -> Result<Vec<Reply>, Status> {
        self.transact_seen(requests, requires).await.map(|(replies, _)| replies)
    }

    /// As [`Api::transact`]; also how what was written was left: what a caller expects that goes on
    /// from there.
    ///
    /// # Errors
    /// As [`Api::transact`].
    pub async fn transact_seen(
        &self,
        requests: Vec<Request>,
        requires: Vec<(Key, Expect)>,
    ) -> Result<(Vec<Reply>, BTreeMap<Key, Expect>), Status> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            check(&snapshot, &requires)?;
            let plan = self.plan(&snapshot, &requests, &requires)?;
            if requests.iter().all(|request| request.options.dry_run) {
                let replies = plan.prepared.into_iter().map(Prepared::unstored);
                return Ok((replies.collect::<Result<_, _>>()?, BTreeMap::new()));
            }
            let writes = plan.transaction.writes.clone();
            match self.commit(plan.transaction).await {
                Ok(committed) => {
                    let left = left(&writes, &committed);
                    let resources = plan.written.iter().map(|key| &key.resource);
                    self.follow_up(resources.collect()).await;
                    let mut replies = self.replies(plan.prepared, &committed)?;
                    // What came with them was not asked for.
                    replies.truncate(requests.len());
                    return Ok((replies, left));
                }
                Err(CommitError::Precondition { key, .. }) => last = Some(key),
                // Others took of the quota meanwhile: admission says what is left.
                Err(CommitError::Exceeded { key, .. }) => last = Some(key),
                // Chosen on a snapshot that did not show the holder yet: another is chosen now.
                Err(CommitError::Taken { key, index, term, .. })
                    if !snapshot.is_taken(index, &term, &key) =>
                {
                    last = Some(key);
                }
                Err(CommitError::Taken { key, index, term, .. }) => {
                    return Err(taken(&self.kinds(), &key, index, &term));
                }
                Err(error) => return Err(Status::internal(error)),
            }
        }
        Err(contended(&requests, last))
    }

    /// Opens a watch; in-process callers may as well watch the store.
    ///
    /// # Errors
    /// 400 or 422 for a query that is none, 504 for a revision that is still to come.
    pub fn watch(&self, request: &Request) -> Result<WatchStream, Status> {
        WatchStream::open(&self.inner.store, request)
    }

    /// What the writes of `resources` mean for definitions that wait for the last of their objects.
    async fn follow_up(&self, resources: BTreeSet<&Arc<str>>) {
        let snapshot = self.snapshot();
        for resource in resources {
            if definitions::is_due(&snapshot, resource)
                && let Some(kind) = self.kinds().stored(CUSTOM_RESOURCE_DEFINITIONS).cloned()
            {
                let request = Request {
                    user: User::system("system:apiserver"),
                    verb: Verb::Delete,
                    kind,
                    namespace: String::new(),
                    name: resource.to_string(),
                    subresource: None,
                    options: Options::default(),
                    body: Body::Empty,
                };
                if let Err(error) = Box::pin(self.transact(vec![request], Vec::new())).await {
                    tracing::warn!(%error, "the definition {resource} stays");
                }
            }
        }
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        if transaction.writes.is_empty() && transaction.requires.is_empty() {
            return Ok(Committed { revision: self.snapshot().revision(), objects: Vec::new() });
        }
        self.inner.store.commit(transaction).await
    }

    fn plan(
        &self,
        snapshot: &Snapshot,
        requests: &[Request],
        requires: &[(Key, Expect)],
    ) -> Result<Planned, Status> {
        let kinds = self.kinds();
        let transaction = Transaction { writes: Vec::new(), requires: requires.to_vec() };
        let mut planned = Planned { prepared: Vec::new(), transaction, written: BTreeSet::new() };
        let mut provisional = snapshot.clone();
        let mut companions = Vec::new();
        for request in requests {
            let prepared = prepare(&provisional, request, &mut self.env(&kinds))?;
            if request.options.dry_run {
                planned.prepared.push(prepared);
                continue;
            }
            let companion = account_of_new_namespace(&kinds, &provisional, &prepared);
            if requests.len() > 1 || companion.is_some() {
                provisional = after(&kinds, &provisional, &prepared)?;
            }
            companions.extend(companion);
            planned.add(prepared);
        }
        for request in &companions {
            planned.add(prepare(&provisional, request, &mut self.env(&kinds))?);
        }
        Ok(planned)
    }

    fn env<'a>(&'a self, kinds: &'a Kinds) -> WriteEnv<'a> {
        let source = &self.inner.source;
        WriteEnv {
            now: source.now(),
            entropy: Entropy::new(source.seed()),
            kinds,
            cluster: &self.inner.cluster,
        }
    }

    fn replies(
        &self,
        prepared: Vec<Prepared>,
        committed: &Committed,
    ) -> Result<Vec<Reply>, Status> {
        let mut stored: &[Option<Arc<Object>>] = &committed.objects;
        let mut replies = Vec::with_capacity(prepared.len());
        for one in prepared {
            let (own, rest) = stored.split_at(one.writes.len().min(stored.len()));
            replies.push(one.reply(own)?);
            stored = rest;
        }
        Ok(replies)
    }
}

/// The state that `prepared` leaves, if nothing comes in between.
fn after(kinds: &Kinds, snapshot: &Snapshot, prepared: &Prepared) -> Result<Snapshot, Status> {
    match snapshot.with(&prepared.writes) {
        Err(CommitError::Taken { key, index, term, .. }) => Err(taken(kinds, &key, index, &term)),
        provisional => provisional.map_err(Status::internal),
    }
}

/// The service account `default` of a namespace that is made: it comes in the same transaction, so
/// that a pod may follow its namespace at once.
fn account_of_new_namespace(
    kinds: &Kinds,
    snapshot: &Snapshot,
    prepared: &Prepared,
) -> Option<Request> {
    let is_new = |write: &&Write| {
        *write.key.resource == *NAMESPACES
            && write.object.is_some()
            && snapshot.get(&write.key).is_none()
    };
    let namespace = prepared.writes.iter().find(is_new)?.key.name.to_string();
    let missing = snapshot.find(SERVICE_ACCOUNTS, &namespace, "default").is_none();
    let kind = kinds.stored(SERVICE_ACCOUNTS).filter(|_| missing).cloned()?;
    let manager = "kube-controller-manager".to_owned();
    Some(Request {
        user: User::system("system:controller:service-account-controller"),
        verb: Verb::Create,
        kind,
        body: Body::Object(json!({"metadata": {"name": "default", "namespace": namespace}})),
        namespace,
        name: String::new(),
        subresource: None,
        options: Options { field_manager: manager, ..Options::default() },
    })
}

/// Requests prepared, and the one transaction that they are.
struct Planned {
    prepared: Vec<Prepared>,
    transaction: Transaction,
    written: BTreeSet<Key>,
}

impl Planned {
    fn add(&mut self, prepared: Prepared) {
        let fresh = prepared.requires.iter().filter(|(key, _)| !self.written.contains(key));
        self.transaction.requires.extend(fresh.cloned());
        for write in &prepared.writes {
            // What an earlier write of this plan leaves has a revision only once committed.
            let again = !self.written.insert(write.key.clone());
            let expect = if again { Expect::Any } else { write.expect };
            self.transaction.writes.push(Write { expect, ..write.clone() });
        }
        self.prepared.push(prepared);
    }
}

fn check(snapshot: &Snapshot, requires: &[(Key, Expect)]) -> Result<(), Status> {
    for (key, expect) in requires {
        if !expect.holds(snapshot.get(key).map(|object| object.revision())) {
            let message = format!("Operation cannot be fulfilled: {key} has been modified");
            return Err(Status::failure(409, "Conflict", message));
        }
    }
    Ok(())
}

/// What a write is told that asks for what another object has.
fn taken(kinds: &Kinds, key: &Key, index: Index, term: &str) -> Status {
    let (Some(kind), Some(unique)) = (kinds.stored(&key.resource), index.unique()) else {
        return Status::internal(format!("{key}: {index:?} {term:?} is taken"));
    };
    if unique.is_asked_for {
        let error = FieldError::invalid(unique.field, &json!(term), unique.message);
        return Status::invalid(kind, &key.name, &[error]);
    }
    let message = format!("Operation cannot be fulfilled: {key}: {term}: {}", unique.message);
    Status::failure(409, "Conflict", message)
}

/// How the objects written are now.
fn left(writes: &[Write], committed: &Committed) -> BTreeMap<Key, Expect> {
    let of_one = |(write, stored): (&Write, &Option<Arc<Object>>)| {
        let revision = stored.as_ref().filter(|_| write.object.is_some());
        let expect = revision.map_or(Expect::Absent, |it| Expect::Revision(it.revision()));
        (write.key.clone(), expect)
    };
    writes.iter().zip(&committed.objects).map(of_one).collect()
}

fn contended(requests: &[Request], key: Option<Key>) -> Status {
    match requests {
        [request] => Status::modified(&request.kind, &request.name),
        _ => {
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            let message = format!("Operation cannot be fulfilled: {key} has been modified");
            Status::failure(409, "Conflict", message)
        }
    }
}
