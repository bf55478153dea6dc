//! Which policies are run on a write, and with what: by the names of policies, then of bindings, then
//! of params.

use std::sync::Arc;

use coracle_api::kinds::split_api_version;
use coracle_api::resources::NAMESPACES;
use coracle_api::{Kind, Status};
use coracle_store::Snapshot;
use serde_json::Value;

use super::bound::{Binding, ParamKind, Policy, bindings};
use super::params;
use crate::pipeline::admission::subject::Subject;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

/// Where policies and bindings are.
pub(super) struct Resources {
    pub(super) policies: &'static str,
    pub(super) bindings: &'static str,
}

/// A policy that is about a write, by a binding.
pub(super) struct Invocation<'a, T> {
    pub(super) policy: &'a str,
    /// Empty when it is the policy itself that something is wrong with.
    pub(super) binding: &'a str,
    /// What it is run with; or why it cannot be.
    pub(super) run: Result<Run<'a, T>, String>,
}

/// What a policy is run with.
pub(super) struct Run<'a, T> {
    pub(super) policy: Arc<Policy<T>>,
    pub(super) binding: Arc<Binding>,
    /// In whose form it sees the object.
    pub(super) row: &'a Kind,
    /// Null when it takes none.
    pub(super) param: Value,
}

impl Resources {
    /// Whether there can be no invocations at all.
    pub(super) fn are_absent(&self, snapshot: &Snapshot) -> bool {
        let none = |resource: &str| snapshot.list(resource, None).next().is_none();
        none(self.bindings) || none(self.policies)
    }
}

/// All that are about `subject`. What goes wrong in a policy that forgives it is left out.
///
/// # Errors
/// That the namespace is not there; or what is to be asked first.
pub(super) fn of<'a, T: Send + Sync + 'static>(
    resources: &Resources,
    subject: &Subject<'a>,
    object: &Value,
    env: &WriteEnv<'_>,
    read: fn(&Value) -> T,
) -> Result<Vec<Invocation<'a, T>>, Stop> {
    let mut all = Vec::new();
    for found in subject.snapshot.list(resources.policies, None) {
        let name = found.key().name.as_ref();
        let mut bound = bindings(subject.snapshot, resources.bindings, name).peekable();
        if bound.peek().is_none() {
            continue;
        }
        let policy = Policy::of(found, read);
        let row = match row(&policy, subject, object, env) {
            Ok(Some(row)) => row,
            Ok(None) => continue,
            Err(why) => {
                let run = Err(format!("failed to configure policy: {why}"));
                let policy =
                    (!policy.fails_open).then_some(Invocation { policy: name, binding: "", run });
                all.extend(policy);
                continue;
            }
        };
        for (binding_name, binding) in bound {
            let invocation = |run| Invocation { policy: name, binding: binding_name, run };
            match runs(&policy, &binding, row, subject, object, env)? {
                Ok(runs) => all.extend(runs.into_iter().map(|run| invocation(Ok(run)))),
                Err(_) if policy.fails_open => {}
                Err(why) => {
                    all.push(invocation(Err(format!("failed to configure binding: {why}"))));
                }
            }
        }
    }
    Ok(all)
}

/// The row in whose form `policy` sees the write, if it is about it.
fn row<'a, T>(
    policy: &Policy<T>,
    subject: &Subject<'a>,
    object: &Value,
    env: &WriteEnv<'_>,
) -> Result<Option<&'a Kind>, String> {
    let row = policy.criteria.row(subject, object).map_err(|status| status.message)?;
    if let (Some(ParamKind { api_version, kind }), Some(_)) = (&policy.param_kind, row) {
        let (group, version) = split_api_version(api_version);
        if !env.kinds.kind(group, version, kind).is_some_and(|row| row.is_stored()) {
            let why = "failed to find resource referenced by paramKind";
            return Err(format!("{why}: '{group}/{version}, Kind={kind}'"));
        }
    }
    Ok(row)
}

fn runs<'a, T>(
    policy: &Arc<Policy<T>>,
    binding: &Arc<Binding>,
    row: &'a Kind,
    subject: &Subject<'a>,
    object: &Value,
    env: &WriteEnv<'_>,
) -> Result<Result<Vec<Run<'a, T>>, String>, Stop> {
    if let Some(criteria) = &binding.criteria {
        match criteria.row(subject, object) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Ok(Vec::new())),
            Err(status) => return Ok(Err(status.message)),
        }
    }
    let params = match params::of(policy.param_kind.as_ref(), binding, subject, env)? {
        Ok(params) => params,
        Err(why) => return Ok(Err(why)),
    };
    require_namespace(subject)?;
    let run = |param| Run { policy: Arc::clone(policy), binding: Arc::clone(binding), row, param };
    Ok(Ok(params.into_iter().map(run).collect()))
}

/// Policies see the namespace.
fn require_namespace(subject: &Subject<'_>) -> Result<(), Status> {
    let name = &subject.namespace;
    let is_there = name.is_empty()
        || subject.request.kind.is(NAMESPACES)
        || subject.snapshot.find(NAMESPACES, "", name).is_some();
    match (is_there, subject.kinds.stored(NAMESPACES)) {
        (true, _) => Ok(()),
        (false, Some(kind)) => Err(Status::not_found(kind, name)),
        (false, None) => Err(Status::no_such_path()),
    }
}
