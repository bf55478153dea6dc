//! The one way to the objects: every client's and every controller's requests end here.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use coracle_api::computed;
use coracle_api::resources::{BINDINGS, TOKEN_REVIEWS};
use coracle_api::{Key, Kind, Object, Objects, Status, Subresource, Timestamp, Usage, Verb};
use coracle_store::{CommitError, Committed, Expect, Snapshot, Store, Transaction, Write};
use futures_util::future::join_all;

use crate::Kinds;
use crate::auth::others::Others;
use crate::auth::reviews;
use crate::auth::tokens::{ISSUER, Tokens};
use crate::pipeline::cluster::Cluster;
use crate::pipeline::content;
use crate::pipeline::conversion::{self, Kept, Task};
use crate::pipeline::defined::Defined;
use crate::pipeline::outside::Outside;
use crate::pipeline::pages::Pages;
use crate::pipeline::reply::{Answer, Reply};
use crate::pipeline::request::{Request, User};
use crate::pipeline::source::{Entropy, Source};
use crate::pipeline::sweep;
use crate::pipeline::verbs;
use crate::pipeline::watch::{Frame, WatchStream};
use crate::pipeline::write::calls::{Answers, Call, Given, Moment};
use crate::pipeline::write::plan::{Planned, Planning, Unmet, taken};
use crate::pipeline::write::{Facts, Prepared};

/// How often a write is prepared anew because others were faster.
const ATTEMPTS: usize = 64;
/// How often one request may ask the outside, each time because of what it was told before: as often
/// as there are mutating webhooks, twice.
const ROUNDS: usize = 1024;
/// For how long one request may go on asking webhooks, in seconds: upstream's limit.
const ASKING_SECONDS: i64 = 34;

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
    others: Others,
    outside: OnceLock<Arc<dyn Outside>>,
    facts: ArcSwap<computed::Facts>,
    converted: Kept,
}

impl Api {
    /// The API over `store`.
    pub fn new(store: Store, kinds: Kinds, cluster: Cluster, source: Arc<dyn Source>) -> Self {
        let (pages, tokens, others, outside, facts, converted) = Default::default();
        let kinds = Defined::new(kinds);
        let inner = Inner {
            store,
            kinds,
            cluster,
            source,
            pages,
            tokens,
            others,
            outside,
            facts,
            converted,
        };
        let api = Self { inner: Arc::new(inner) };
        api.tell(computed::STORE, Ok(()));
        api
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

    /// What is known now that is no object.
    pub fn facts(&self) -> Arc<computed::Facts> {
        self.inner.facts.load_full()
    }

    /// Replaces what is known that is no object by what `change` makes of it; it may be called more
    /// than once.
    pub fn know(&self, mut change: impl FnMut(&mut computed::Facts)) {
        self.inner.facts.rcu(|now| {
            let mut next = computed::Facts::clone(now);
            change(&mut next);
            next
        });
    }

    /// How a part of the control plane is: one of [`computed::Facts::components`].
    pub fn tell(&self, component: &'static str, state: Result<(), String>) {
        if self.inner.facts.load().components.get(component) != Some(&state) {
            self.know(|facts| drop(facts.components.insert(component, state.clone())));
        }
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
        if request.kind.conversion.is_none() {
            return self.answered(request).await;
        }
        let (kind, is_kept) = (Arc::clone(&request.kind), !request.options.dry_run);
        let mut reply = self.answered(request).await?;
        reply.answer = match reply.answer {
            Answer::Object(object) => {
                let mut shown = self.converted(&kind, vec![object], is_kept).await?;
                Answer::Object(shown.pop().ok_or_else(|| Status::internal("an object is lost"))?)
            }
            Answer::List(mut list) => {
                list.items = self.converted(&kind, list.items, is_kept).await?;
                Answer::List(list)
            }
            other => other,
        };
        Ok(reply)
    }

    /// `objects` as `kind` shows them, where a webhook must be asked for that: all at once. What it
    /// says of a state that is stored is kept.
    async fn converted(
        &self,
        kind: &Kind,
        mut objects: Vec<Arc<Object>>,
        is_kept: bool,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let mut missing = Vec::new();
        for (at, object) in objects.iter_mut().enumerate() {
            if conversion::is_needed(kind, object) {
                match self.inner.converted.find(kind, object).filter(|_| is_kept) {
                    Some(found) => *object = found,
                    None => missing.push(at),
                }
            }
        }
        let values = missing.iter().filter_map(|at| objects.get(*at));
        let values: Vec<_> = values.map(|object| object.value().clone()).collect();
        let mut entropy = Entropy::new(self.inner.source.seed());
        let task = Task::new(kind, kind.api_version(), values, |_| entropy.uid());
        let Some(task) = task.filter(|_| !missing.is_empty()) else { return Ok(objects) };
        let given = self.ask(&task.call()).await?;
        for (at, value) in missing.into_iter().zip(task.done(kind, &given)?) {
            let Some(object) = objects.get_mut(at) else { continue };
            let made = conversion::object(object, value)?;
            if is_kept {
                self.inner.converted.keep(kind, object, &made);
            }
            *object = made;
        }
        Ok(objects)
    }

    /// An event of a watch as `kind` shows it; when that fails, the watch is over.
    pub(crate) async fn shown(&self, kind: &Kind, frame: Frame) -> Frame {
        let (made, object): (fn(Arc<Object>) -> Frame, _) = match frame {
            Frame::Added(object) => (Frame::Added, object),
            Frame::Modified(object) => (Frame::Modified, object),
            Frame::Deleted(object) => (Frame::Deleted, object),
            other => return other,
        };
        if !conversion::is_needed(kind, &object) {
            return made(object);
        }
        match self.converted(kind, vec![object], true).await {
            Ok(mut objects) => match objects.pop() {
                Some(object) => made(object),
                None => Frame::Error(Status::internal("an object is lost")),
            },
            Err(status) => Frame::Error(status),
        }
    }

    async fn answered(&self, request: Request) -> Result<Reply, Status> {
        let now = self.inner.source.now();
        if let Objects::Computed(row) = request.kind.objects {
            let usage = if row.is_measured { self.usage().await? } else { Arc::default() };
            let (snapshot, facts) = (self.snapshot(), self.facts());
            return verbs::computed::read(&snapshot, &facts, &usage, &request, row);
        }
        match request.verb {
            Verb::Create if !request.kind.is_stored() && !request.kind.is(BINDINGS) => {
                self.review(&request, now).await
            }
            _ if request.subresource.is_some_and(Subresource::connects) => {
                self.alone(request).await
            }
            Verb::Get => verbs::get::get(&self.snapshot(), &request),
            Verb::List => verbs::list::list(&self.snapshot(), &self.inner.pages, &request, now),
            Verb::Watch => Err(Status::bad_request("a watch is a stream")),
            _ => self.alone(request).await,
        }
    }

    async fn alone(&self, request: Request) -> Result<Reply, Status> {
        let mut replies = self.transact(vec![request], Vec::new()).await?;
        replies.pop().ok_or_else(|| Status::internal("a request without an answer"))
    }

    async fn review(&self, request: &Request, now: Timestamp) -> Result<Reply, Status> {
        let mut body = content::object(request)?.value;
        verbs::create::settle_namespace(request, &mut body)?;
        let other = match request.kind.is(TOKEN_REVIEWS) {
            true => self.known(verbs::text(&body, "/spec/token"), now).await,
            false => None,
        };
        let (snapshot, tokens) = (self.snapshot(), self.inner.tokens.get().map(AsRef::as_ref));
        let facts = reviews::Facts { snapshot: &snapshot, tokens, other: other.as_ref(), now };
        Ok(Reply::created(Answer::Value(reviews::answer(&facts, request, body)?)))
    }

    /// Whom the API knows beside bearers of its own certificates and tokens.
    pub fn others(&self) -> &Others {
        &self.inner.others
    }

    /// Whose `token` is, if it is none of our own: of a file, or of another issuer.
    async fn known(&self, token: &str, now: Timestamp) -> Option<Result<User, String>> {
        match self.inner.others.listed(token) {
            Some(user) => Some(Ok(user)),
            None => self.inner.others.vouched(token, now).await,
        }
    }

    /// Who bears `token`.
    ///
    /// # Errors
    /// 401 for a token that nobody bears.
    pub(crate) async fn bearer(&self, token: &str) -> Result<User, Status> {
        let (now, audiences) = (self.inner.source.now(), [ISSUER.to_owned()]);
        let why = match self.known(token, now).await {
            Some(Ok(user)) => return Ok(user),
            Some(Err(why)) => why,
            None => {
                let tokens = self.inner.tokens.get();
                let tokens = tokens.ok_or_else(|| Status::internal("there are no tokens here"))?;
                match tokens.verify(&self.snapshot(), token, &audiences, now) {
                    Ok((user, _)) => return Ok(user),
                    Err(error) => error.to_string(),
                }
            }
        };
        tracing::debug!(why, "a token was refused");
        Err(Status::unauthorized())
    }

    /// Sets what signs service account tokens; done once, before the first client comes. It answers
    /// for the outside, too, where nobody else was set who does.
    pub fn set_tokens(&self, tokens: Arc<Tokens>) {
        if self.inner.tokens.set(Arc::clone(&tokens)).is_err() {
            tracing::warn!("the key of the service accounts was set before and stays");
        }
        self.inner.outside.get_or_init(|| tokens as Arc<dyn Outside>);
    }

    /// Sets who answers what writes ask of the outside; done once, before the first client comes.
    pub fn set_outside(&self, outside: Arc<dyn Outside>) {
        if self.inner.outside.set(outside).is_err() {
            tracing::warn!("who answers for the outside was set before and stays");
        }
    }

    /// What the outside says to `call`.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ask(&self, call: &Call) -> Result<Given, Status> {
        if let Call::Review { questions } = call {
            let snapshot = self.snapshot();
            let allowed = questions.iter().map(|question| reviews::allows(&snapshot, question));
            return allowed.collect::<Result<_, _>>().map(Given::Allowed);
        }
        if let Call::All(calls) = call {
            let answers = join_all(calls.iter().map(|call| Box::pin(self.ask(call)))).await;
            let answers = answers.into_iter().map(|answer| answer.map_err(|it| it.message));
            return Ok(Given::All(answers.collect()));
        }
        match self.inner.outside.get() {
            Some(outside) => match call {
                Call::Sweep { namespace } => {
                    let (snapshot, facts) = (self.snapshot(), self.facts());
                    let swept = sweep::sweep(&**outside, &snapshot, &facts.remotes, namespace);
                    Ok(Given::Swept(swept.await))
                }
                call => outside.answer(call).await,
            },
            None => Err(Status::internal("nobody here answers for the outside")),
        }
    }

    /// What containers use now.
    async fn usage(&self) -> Result<Arc<Usage>, Status> {
        match self.ask(&Call::Measure).await? {
            Given::Usage(usage) => Ok(usage),
            _ => Err(Status::internal("an answer to another question")),
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
        let (mut last, mut answers) = (None, Vec::new());
        for _ in 0..ATTEMPTS {
            let (snapshot, plan) = self.planned(&requests, &requires, &mut answers).await?;
            if requests.iter().all(|request| request.options.dry_run) {
                let replies = plan.prepared.into_iter().map(Prepared::unstored);
                return Ok((replies.collect::<Result<_, _>>()?, BTreeMap::new()));
            }
            let writes = plan.transaction.writes.clone();
            match self.commit(plan.transaction).await {
                Ok(committed) => {
                    let left = left(&writes, &committed);
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

    async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        if transaction.writes.is_empty() && transaction.requires.is_empty() {
            return Ok(Committed { revision: self.snapshot().revision(), objects: Vec::new() });
        }
        let committed = self.inner.store.commit(transaction).await;
        match &committed {
            Err(error @ (CommitError::Disk(_) | CommitError::Closed)) => {
                self.tell(computed::STORE, Err(error.to_string()));
            }
            Ok(_) => self.tell(computed::STORE, Ok(())),
            Err(_) => {}
        }
        committed
    }

    /// The newest state, and what carries `requests` out on it. What they ask of the outside is
    /// asked; `answers` has what was, request by request.
    async fn planned(
        &self,
        requests: &[Request],
        requires: &[(Key, Expect)],
        answers: &mut Vec<Answers>,
    ) -> Result<(Snapshot, Planned), Status> {
        let mut rounds = requests.len().saturating_add(1).saturating_mul(ROUNDS);
        loop {
            let (snapshot, kinds) = (self.snapshot(), self.kinds());
            check(&snapshot, requires)?;
            let facts = Facts { kinds: &kinds, cluster: &self.inner.cluster };
            let mut planning = Planning::new(&snapshot, requests, requires, facts);
            let mut has_asked = false;
            while let Some(unmet) = planning.go_on(answers)? {
                rounds = rounds.checked_sub(1).ok_or_else(asks_without_end)?;
                has_asked |= !unmet.calls.is_empty();
                self.answer(answers, unmet).await;
            }
            // What took time is planned once more on what is true now, with the answers.
            if !has_asked || self.snapshot().revision() == snapshot.revision() {
                return Ok((snapshot, planning.finish()));
            }
        }
    }

    async fn answer(&self, answers: &mut Vec<Answers>, unmet: Unmet) {
        while answers.len() <= unmet.request {
            let source = &self.inner.source;
            answers.push(Answers::new(Moment { now: source.now(), seed: source.seed() }));
        }
        let Some(answers) = answers.get_mut(unmet.request) else { return };
        let spent = self.inner.source.now().duration_since(answers.moment().now);
        let is_late = spent.as_secs() >= ASKING_SECONDS;
        let answer = async |call: &Call| match call {
            Call::Post(_) if is_late => Err(out_of_time()),
            call => self.ask(call).await,
        };
        let given = join_all(unmet.calls.iter().map(answer)).await;
        unmet.calls.into_iter().zip(given).for_each(|(call, answer)| answers.give(call, answer));
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

fn asks_without_end() -> Status {
    Status::internal("a request asks the outside without end")
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

/// What a request is told that webhooks have kept for too long.
fn out_of_time() -> Status {
    let why =
        "Timeout: request did not complete within requested timeout - context deadline exceeded";
    Status::failure(504, "Timeout", why)
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
