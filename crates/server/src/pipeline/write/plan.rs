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

/// What there is to be done for requests.
pub(crate) enum Planning {
    /// This transaction.
    Ready(Planned),
    /// To answer these, and to plan again.
    Needs(Unmet),
}

/// What one request asks of the outside. One that was not heard of before has no [`Answers`] yet.
pub(crate) struct Unmet {
    /// Which, counted from 0; what comes with the requests is behind them.
    pub(crate) request: usize,
    /// What it asks.
    pub(crate) calls: Vec<Call>,
}

/// What carries `requests` out on the state that `snapshot` shows, if `requires` holds; `answers` is
/// what the outside has told each of them.
///
/// # Errors
/// The Status of the first request that fails.
pub(crate) fn plan(
    snapshot: &Snapshot,
    requests: &[Request],
    requires: &[(Key, Expect)],
    answers: &[Answers],
    facts: Facts<'_>,
) -> Result<Planning, Status> {
    let transaction = Transaction { writes: Vec::new(), requires: requires.to_vec() };
    let mut planned = Planned { prepared: Vec::new(), transaction, written: BTreeSet::new() };
    let mut provisional = snapshot.clone();
    let mut companions = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let prepared = match next(&provisional, request, answers.get(index), facts)? {
            Next::Ready(prepared) => *prepared,
            Next::Needs(calls) => return Ok(Planning::Needs(Unmet { request: index, calls })),
        };
        if request.options.dry_run {
            planned.prepared.push(prepared);
            continue;
        }
        let companion = account_of_new_namespace(facts.kinds, &provisional, &prepared);
        if requests.len() > 1 || companion.is_some() {
            provisional = after(facts.kinds, &provisional, &prepared)?;
        }
        companions.extend(companion);
        planned.add(prepared);
    }
    for (index, request) in (requests.len()..).zip(&companions) {
        match next(&provisional, request, answers.get(index), facts) {
            Ok(Next::Ready(prepared)) => planned.add(*prepared),
            Ok(Next::Needs(calls)) => return Ok(Planning::Needs(Unmet { request: index, calls })),
            // The namespace is what was asked for: its controller goes on about the account.
            Err(status) => tracing::debug!(%status, "a namespace comes without its account"),
        }
    }
    Ok(Planning::Ready(planned))
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
