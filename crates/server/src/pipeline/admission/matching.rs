//! Which writes webhooks and policies want to see: by namespace, labels and rules, in upstream's order.

use std::collections::BTreeMap;

use coracle_api::resources::NAMESPACES;
use coracle_api::{Kind, Kinds, Selector, Status, Verb};
use coracle_store::Snapshot;
use serde_json::Value;

use super::Operation;
use super::subject::Subject;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::text;

/// Which writes are wanted: what a webhook or `matchResources` says.
pub(super) struct Criteria {
    rules: Vec<Rule>,
    /// What is not wanted in spite of `rules`.
    excluded: Vec<Rule>,
    /// Whether no rules at all stand for all requests.
    takes_all: bool,
    /// Whether writes of the same objects in other versions or groups are wanted too.
    is_equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

/// Requests that are wanted.
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `RESOURCE` or `RESOURCE/SUBRESOURCE`.
    resources: Vec<String>,
    /// Of which objects; of all when there are none.
    names: Vec<String>,
    /// `Namespaced`, `Cluster` or `*`.
    scope: String,
}

/// Parts of the engine that make what a cluster begins with: nothing that could answer runs by then.
const FIRST: &[&str] = &["system:apiserver", "system:controller:bootstrap"];
/// Who takes the objects of a definition away that goes: upstream does so below admission.
const SWEEPER: &str = "system:controller:crd-controller";

/// Whether neither webhooks nor policies are asked about `request`, whatever they want.
pub(super) fn is_exempt(request: &Request) -> bool {
    let user = &request.user;
    let sweeps =
        user.name == SWEEPER && request.verb == Verb::Delete && request.kind.types.is_some();
    user.is_engine && (FIRST.contains(&user.name.as_str()) || sweeps)
}

/// What a selector selects: without one, everything.
pub(super) fn selector(said: &Value) -> Selector {
    match said {
        Value::Null => Selector::everything(),
        // One that cannot be read was refused when it was written.
        said => Selector::from_json(Some(said)).unwrap_or_else(|_| Selector::nothing()),
    }
}

impl Criteria {
    /// Those of a webhook.
    pub(super) fn of_webhook(hook: &Value) -> Self {
        Self { takes_all: false, ..Self::of(hook, "rules") }
    }

    /// Those of a policy or a binding: `MatchResources`.
    pub(super) fn of_policy(resources: &Value) -> Self {
        Self::of(resources, "resourceRules")
    }

    fn of(said: &Value, rules: &str) -> Self {
        let list = |field: &str| -> Vec<Rule> {
            said[field].as_array().into_iter().flatten().map(Rule::of).collect()
        };
        let rules = list(rules);
        Self {
            takes_all: rules.is_empty(),
            rules,
            excluded: list("excludeResourceRules"),
            is_equivalent: said["matchPolicy"] == "Equivalent",
            namespaces: selector(&said["namespaceSelector"]),
            objects: selector(&said["objectSelector"]),
        }
    }

    /// The row in whose form the write is wanted; `None` when it is not.
    ///
    /// # Errors
    /// 404 when its namespace, which matters, is not there.
    pub(super) fn row<'a>(
        &self,
        subject: &Subject<'a>,
        object: &Value,
    ) -> Result<Option<&'a Kind>, Status> {
        let is_there = in_namespace(&self.namespaces, subject, object);
        if matches!(is_there, Ok(false)) || !of_labels(&self.objects, subject, object) {
            return Ok(None);
        }
        if self.by_rules(&self.excluded, subject, object).is_some() {
            return Ok(None);
        }
        let row = match self.takes_all {
            true => Some(&*subject.request.kind),
            false => self.by_rules(&self.rules, subject, object),
        };
        // A namespace that is missing matters only to who wants the write at all.
        let Some(row) = row else { return Ok(None) };
        is_there.map(|_| Some(row))
    }

    /// The request's own row before all others.
    fn by_rules<'a>(
        &self,
        rules: &[Rule],
        subject: &Subject<'a>,
        object: &Value,
    ) -> Option<&'a Kind> {
        let own = &*subject.request.kind;
        if rules.iter().any(|rule| rule.wants(subject, own, object)) {
            return Some(own);
        }
        if !self.is_equivalent || rules.is_empty() {
            return None;
        }
        let same = subject.equivalents();
        rules
            .iter()
            .find_map(|rule| same.iter().find(|row| rule.wants(subject, row, object)).copied())
    }
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

impl Rule {
    fn of(rule: &Value) -> Self {
        Self {
            operations: strings(&rule["operations"]),
            groups: strings(&rule["apiGroups"]),
            versions: strings(&rule["apiVersions"]),
            resources: strings(&rule["resources"]),
            names: strings(&rule["resourceNames"]),
            scope: text(rule, "/scope").to_owned(),
        }
    }

    fn wants(&self, subject: &Subject<'_>, row: &Kind, object: &Value) -> bool {
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
            && (self.names.is_empty() || self.names.iter().any(|name| name == subject.name(object)))
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

fn strings(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    all.map(str::to_owned).collect()
}
