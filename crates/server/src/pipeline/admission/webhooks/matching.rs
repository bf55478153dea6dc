//! Which webhooks want to see a write: by namespace, labels and rules, in upstream's order.

use std::collections::BTreeMap;

use coracle_api::resources::{
    MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use coracle_api::{Kind, Kinds, Selector, Status, Verb};
use coracle_store::Snapshot;
use serde_json::Value;

use super::configured::{Hook, Rule};
use super::subject::Subject;
use crate::pipeline::admission::Operation;
use crate::pipeline::request::Request;

/// What decides on requests is not decided on by webhooks: else one that is down could not be mended.
const EXEMPT: &[&str] = &[
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
];
/// Parts of the engine that make what a cluster begins with: nothing that could answer runs by then.
const FIRST: &[&str] = &["system:apiserver", "system:controller:bootstrap"];
/// Who takes the objects of a definition away that goes: upstream does so below admission.
const SWEEPER: &str = "system:controller:crd-controller";

/// Whether webhooks are not asked about `request`, whatever they want.
pub(super) fn is_exempt(request: &Request) -> bool {
    let user = &request.user;
    let sweeps =
        user.name == SWEEPER && request.verb == Verb::Delete && request.kind.types.is_some();
    EXEMPT.iter().any(|resource| request.kind.is(resource))
        || user.is_engine && (FIRST.contains(&user.name.as_str()) || sweeps)
}

/// The row in whose form `hook` sees the write; `None` when it does not want to.
pub(super) fn row<'a>(
    hook: &Hook,
    subject: &Subject<'a>,
    object: &Value,
) -> Result<Option<&'a Kind>, Status> {
    let is_there = in_namespace(&hook.namespaces, subject, object);
    if matches!(is_there, Ok(false)) || !of_labels(&hook.objects, subject, object) {
        return Ok(None);
    }
    let Some(row) = by_rules(hook, subject) else { return Ok(None) };
    // A namespace that is missing matters only to a webhook that would be asked.
    is_there.map(|_| Some(row))
}

fn in_namespace(
    selector: &Selector,
    subject: &Subject<'_>,
    object: &Value,
) -> Result<bool, Status> {
    let request = subject.request;
    let is_namespace = request.kind.is(NAMESPACES);
    if selector.is_everything() || subject.namespace.is_empty() && !is_namespace {
        return Ok(true);
    }
    let puts = matches!(subject.operation, Operation::Create | Operation::Update);
    if is_namespace && request.subresource.is_none() && puts {
        return Ok(selector.matches(&labels(object)));
    }
    let snapshot = subject.snapshot;
    labels_of_namespace(snapshot, subject.kinds, &subject.namespace)
        .map(|labels| selector.matches(labels))
}

fn labels_of_namespace<'a>(
    snapshot: &'a Snapshot,
    kinds: &Kinds,
    name: &str,
) -> Result<&'a BTreeMap<String, String>, Status> {
    let found = snapshot.find(NAMESPACES, "", name).map(|found| &found.metadata().labels);
    found.ok_or_else(|| match kinds.stored(NAMESPACES) {
        Some(kind) => Status::not_found(kind, name),
        None => Status::no_such_path(),
    })
}

/// The object as it is to be or as it was.
fn of_labels(selector: &Selector, subject: &Subject<'_>, object: &Value) -> bool {
    if selector.is_everything() {
        return true;
    }
    let is_now = !object.is_null() && selector.matches(&labels(object));
    is_now || subject.old.is_some_and(|old| selector.matches(&old.metadata().labels))
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let all = object["metadata"]["labels"].as_object().into_iter().flatten();
    all.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// The request's own row before all others.
fn by_rules<'a>(hook: &Hook, subject: &Subject<'a>) -> Option<&'a Kind> {
    let own = &*subject.request.kind;
    if hook.rules.iter().any(|rule| rule.wants(subject, own)) {
        return Some(own);
    }
    let same = subject.equivalents();
    let mut rules = hook.rules.iter().filter(|_| hook.is_equivalent);
    rules.find_map(|rule| same.iter().find(|row| rule.wants(subject, row)).copied())
}

impl Rule {
    fn wants(&self, subject: &Subject<'_>, row: &Kind) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|it| it == "*" || it == word);
        self.is_in_scope(subject, row)
            && has(&self.operations, subject.operation())
            && has(&self.groups, &row.group)
            && has(&self.versions, &row.version)
            && self.resources.iter().any(|wanted| {
                let (resource, part) = wanted.split_once('/').unwrap_or((wanted, ""));
                let asked = subject.subresource();
                (resource == "*" || resource == row.plural) && (part == "*" || part == asked)
            })
    }

    /// Namespaces are objects of the cluster, although requests for one are told as in it.
    fn is_in_scope(&self, subject: &Subject<'_>, row: &Kind) -> bool {
        let is_of_cluster = row.is(NAMESPACES) || subject.namespace.is_empty();
        match self.scope.as_str() {
            "Namespaced" => !is_of_cluster,
            "Cluster" => is_of_cluster,
            _ => true,
        }
    }
}
