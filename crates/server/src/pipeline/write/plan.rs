//! Several requests as one transaction: each is prepared on the state that those before it leave.
//! Pure.

use std::collections::BTreeSet;

use coracle_api::resources::{NAMESPACES, SERVICE_ACCOUNTS};
use coracle_api::{FieldError, Index, Key, Status, Verb};
use coracle_store::{CommitError, Expect, Snapshot, Transaction, Write};
use serde_json::json;

use crate::Kinds;
use crate::pipeline::request::{Body, Options, Request, User};
use crate::pipeline::write::calls::{Answers, Call};
use crate::pipeline::write::prepare::{Next, prepare};
use crate::pipeline::write::{Facts, Prepared};

/// What one request asks of the outside. One that was not heard of before has no [`Answers`] yet.
pub(crate) struct Unmet {
    /// Which, counted from 0; what comes with the requests is behind them.
    pub(crate) request: usize,
    /// What it asks.
    pub(crate) calls: Vec<Call>,
}

/// What carries `requests` out on the state that a snapshot shows, as far as it is known.
pub(crate) struct Planning<'a> {
    requests: &'a [Request],
    facts: Facts<'a>,
    /// The state that those leave which are prepared.
    provisional: Snapshot,
    planned: Planned,
    /// What comes with the requests.
    companions: Vec<Request>,
    /// The next to be prepared.
    next: usize,
}

impl<'a> Planning<'a> {
    /// Nothing is prepared yet; the transaction demands `requires`.
    pub(crate) fn new(
        snapshot: &Snapshot,
        requests: &'a [Request],
        requires: &[(Key, Expect)],
        facts: Facts<'a>,
    ) -> Self {
        let transaction = Transaction { writes: Vec::new(), requires: requires.to_vec() };
        let planned = Planned { prepared: Vec::new(), transaction, written: BTreeSet::new() };
        let (provisional, companions) = (snapshot.clone(), Vec::new());
        Self { requests, facts, provisional, planned, companions, next: 0 }
    }

    /// Prepares until a request asks what `answers` do not tell; `None` once all are prepared. What
    /// is prepared stays.
    ///
    /// # Errors
    /// The Status of the first request that fails.
    pub(crate) fn go_on(&mut self, answers: &[Answers]) -> Result<Option<Unmet>, Status> {
        while let Some(request) = self.requests.get(self.next) {
            match next(&self.provisional, request, answers.get(self.next), self.facts)? {
                Next::Ready(prepared) => self.add(request, *prepared)?,
                Next::Needs(calls) => return Ok(Some(Unmet { request: self.next, calls })),
            }
            self.next = self.next.saturating_add(1);
        }
        while let Some(request) = self.companions.get(self.next.saturating_sub(self.requests.len()))
        {
            match next(&self.provisional, request, answers.get(self.next), self.facts) {
                Ok(Next::Ready(prepared)) => self.planned.add(*prepared),
                Ok(Next::Needs(calls)) => return Ok(Some(Unmet { request: self.next, calls })),
                // The namespace is what was asked for: its controller goes on about the account.
                Err(status) => tracing::debug!(%status, "a namespace comes without its account"),
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(None)
    }

    fn add(&mut self, request: &Request, prepared: Prepared) -> Result<(), Status> {
        if request.options.dry_run {
            self.planned.prepared.push(prepared);
            return Ok(());
        }
        let kinds = self.facts.kinds;
        let companion = account_of_new_namespace(kinds, &self.provisional, &prepared);
        if self.requests.len() > 1 || companion.is_some() {
            self.provisional = after(kinds, &self.provisional, &prepared)?;
        }
        self.companions.extend(companion);
        self.planned.add(prepared);
        Ok(())
    }

    /// The transaction.
    pub(crate) fn finish(self) -> Planned {
        self.planned
    }
}

fn next(
    snapshot: &Snapshot,
    request: &Request,
    answers: Option<&Answers>,
    facts: Facts<'_>,
) -> Result<Next, Status> {
    match answers {
        Some(answers) => prepare(snapshot, request, answers, facts),
        None => Ok(Next::Needs(Vec::new())),
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
pub(crate) struct Planned {
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) transaction: Transaction,
    pub(crate) written: BTreeSet<Key>,
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

/// What a write is told that asks for what another object has.
pub(crate) fn taken(kinds: &Kinds, key: &Key, index: Index, term: &str) -> Status {
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
