//! From rows of the table to paths and their operations.

use serde_json::{Map, Value};

use super::parameters::{
    DELETE, FORCE, LIST, NAME, NAMESPACE, PATH, PRETTY, Parameter, WRITE, of_subresource,
};
use super::{DELETE_OPTIONS, STATUS};
use crate::kind::{Kind, Subresource, SubresourceRow, Verb};
use crate::kinds::Kinds;

/// A path and what can be done there.
pub(super) struct Path {
    /// `/api/v1/namespaces/{namespace}/pods`.
    pub template: String,
    pub parameters: Vec<&'static Parameter>,
    pub operations: Vec<Operation>,
}

impl Path {
    /// The path item, in the form that `operation` and `parameter` give its parts.
    pub(super) fn item(
        &self,
        operation: impl Fn(&Operation) -> Value,
        parameter: fn(&Parameter) -> Value,
    ) -> Value {
        let methods = self.operations.iter().map(|it| (it.method.to_owned(), operation(it)));
        let mut item: Map<String, Value> = methods.collect();
        item.insert("parameters".into(), self.parameters.iter().copied().map(parameter).collect());
        Value::Object(item)
    }
}

/// One method of a path.
pub(super) struct Operation {
    /// `get`, `put`…
    pub method: &'static str,
    /// `x-kubernetes-action`: `list`, `deletecollection`, `connect`…
    pub action: &'static str,
    /// Unique in all documents: `patchAppsV1NamespacedStatefulSet`.
    pub id: String,
    pub about: String,
    /// Group, version and kind.
    pub gvk: (String, String, String),
    pub parameters: Vec<&'static Parameter>,
    pub body: Body,
    /// Name of the schema of the answer; `None` for plain text.
    pub answer: Option<String>,
    /// Codes of success, with their meaning.
    pub codes: &'static [(&'static str, &'static str)],
}

/// What an operation takes.
pub(super) enum Body {
    None,
    /// An object of the schema of this name.
    Object(String),
    /// A patch, perhaps a strategic one.
    Patch {
        strategic: bool,
    },
    /// `DeleteOptions`, which may be left out.
    DeleteOptions,
}

/// What of [`LIST`] chooses no objects.
const OF_WATCHES: &[&str] = &["allowWatchBookmarks", "watch"];

const OK: &[(&str, &str)] = &[("200", "OK")];
const STORED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

/// The paths of a kind and its subresources.
pub(super) fn paths(kinds: &Kinds, kind: &Kind) -> Vec<Path> {
    let root = root(&kind.group, &kind.version);
    let scope = if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let item = format!("{collection}/{{name}}");
    let row = Row { kinds, kind };
    let mut all = Vec::new();
    if kind.is_namespaced() {
        let template = format!("{root}/{}", kind.plural);
        all.push(row.path(template, row.everywhere(), LIST.iter().collect()));
    }
    all.push(row.path(collection, row.on_collection(), row.scope_parameters()));
    all.push(row.path(item.clone(), row.on_item(), row.item_parameters()));
    for sub in kind.subresources.iter() {
        all.extend(row.subresource_paths(&item, sub));
    }
    all.retain(|path| !path.operations.is_empty());
    all
}

/// `/api/v1` or `/apis/apps/v1`.
pub(super) fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// `coreV1`, `rbacAuthorizationV1`: the group without its domain, in camel case.
fn camel(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    short.split(['.', '-']).chain([version]).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The tag under which upstream files the operations of a version: `rbacAuthorization_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let camel = camel(group, "");
    let mut letters = camel.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    format!("{}_{version}", first.into_iter().chain(letters).collect::<String>())
}

struct Row<'a> {
    kinds: &'a Kinds,
    kind: &'a Kind,
}

impl Row<'_> {
    fn can(&self, verb: Verb) -> bool {
        self.kind.verbs.contains(&verb)
    }

    /// `pretty` comes with every path whose answer is an object.
    fn path(
        &self,
        template: String,
        operations: Vec<Operation>,
        mut parameters: Vec<&'static Parameter>,
    ) -> Path {
        if operations.iter().all(|operation| operation.action != "connect") {
            parameters.push(PRETTY);
        }
        Path { template, parameters, operations }
    }

    fn scope_parameters(&self) -> Vec<&'static Parameter> {
        if self.kind.is_namespaced() { vec![NAMESPACE] } else { vec![] }
    }

    fn item_parameters(&self) -> Vec<&'static Parameter> {
        std::iter::once(NAME).chain(self.scope_parameters()).collect()
    }

    fn id(&self, verb: &str, collection: &str, rest: &str) -> String {
        let group = camel(&self.kind.group, &self.kind.version);
        let scope = if self.kind.is_namespaced() { "Namespaced" } else { "" };
        format!("{verb}{group}{collection}{scope}{}{rest}", self.kind.kind)
    }

    fn operation(&self, method: &'static str, action: &'static str, id: String) -> Operation {
        let kind = self.kind;
        let gvk = (kind.group.to_string(), kind.version.to_string(), kind.kind.to_string());
        Operation {
            method,
            action,
            id,
            about: String::new(),
            gvk,
            parameters: Vec::new(),
            body: Body::None,
            answer: Some(kind.schema.to_string()),
            codes: OK,
        }
    }

    fn list(&self, id: String) -> Operation {
        Operation {
            about: format!("list or watch objects of kind {}", self.kind.kind),
            answer: Some(format!("{}List", self.kind.schema)),
            ..self.operation("get", "list", id)
        }
    }

    /// The list across namespaces.
    fn everywhere(&self) -> Vec<Operation> {
        let group = camel(&self.kind.group, &self.kind.version);
        let id = format!("list{group}{}ForAllNamespaces", self.kind.kind);
        if self.can(Verb::List) { vec![self.list(id)] } else { vec![] }
    }

    fn on_collection(&self) -> Vec<Operation> {
        let mut all = Vec::new();
        if self.can(Verb::List) {
            let list = self.list(self.id("list", "", ""));
            all.push(Operation { parameters: LIST.iter().collect(), ..list });
        }
        if self.can(Verb::Create) {
            all.push(self.post(self.id("create", "", ""), &self.kind.schema));
        }
        if self.can(Verb::DeleteCollection) {
            let id = self.id("delete", "Collection", "");
            let chosen = LIST.iter().filter(|one| !OF_WATCHES.contains(&one.name));
            all.push(Operation {
                about: format!("delete collection of {}", self.kind.kind),
                parameters: DELETE.iter().chain(chosen).collect(),
                body: Body::DeleteOptions,
                answer: Some(STATUS.into()),
                ..self.operation("delete", "deletecollection", id)
            });
        }
        all
    }

    fn on_item(&self) -> Vec<Operation> {
        let mut all = self.reads_and_writes(&self.kind.verbs, "", "", &self.kind.schema);
        if self.can(Verb::Delete) {
            all.push(Operation {
                about: format!("delete a {}", self.kind.kind),
                parameters: DELETE.iter().collect(),
                body: Body::DeleteOptions,
                answer: Some(STATUS.into()),
                codes: DELETED,
                ..self.operation("delete", "delete", self.id("delete", "", ""))
            });
        }
        all
    }

    fn post(&self, id: String, schema: &str) -> Operation {
        Operation {
            about: format!("create a {}", schema.rsplit('.').next().unwrap_or_default()),
            parameters: WRITE.iter().collect(),
            body: Body::Object(schema.to_string()),
            answer: Some(schema.to_string()),
            codes: CREATED,
            ..self.operation("post", "post", id)
        }
    }

    /// Get, update and patch of the object or a subresource (`rest` in identifiers, `part` in
    /// sentences).
    fn reads_and_writes(
        &self,
        verbs: &[Verb],
        rest: &str,
        part: &str,
        schema: &str,
    ) -> Vec<Operation> {
        let named = |operation: Operation, what: &str| Operation {
            about: format!("{what} {part}the specified {}", self.kind.kind),
            answer: Some(schema.to_string()),
            ..operation
        };
        let mut all = Vec::new();
        if verbs.contains(&Verb::Get) {
            all.push(named(self.operation("get", "get", self.id("read", "", rest)), "read"));
        }
        if verbs.contains(&Verb::Update) {
            let put = self.operation("put", "put", self.id("replace", "", rest));
            all.push(Operation {
                parameters: WRITE.iter().collect(),
                body: Body::Object(schema.to_string()),
                codes: STORED,
                ..named(put, "replace")
            });
        }
        if verbs.contains(&Verb::Patch) {
            let patch = self.operation("patch", "patch", self.id("patch", "", rest));
            all.push(Operation {
                parameters: WRITE.iter().chain([FORCE]).collect(),
                body: Body::Patch { strategic: self.kind.types.is_none() },
                codes: STORED,
                ..named(patch, "partially update")
            });
        }
        all
    }

    fn subresource_paths(&self, item: &str, sub: &SubresourceRow) -> Vec<Path> {
        let template = format!("{item}/{}", sub.name);
        let parameters = || {
            let own = of_subresource(sub.name).iter();
            own.chain(self.item_parameters()).collect::<Vec<_>>()
        };
        let rest = capital(sub.name.as_str());
        if is_connect(sub) {
            let mut deeper = parameters();
            deeper.push(PATH);
            let one = self.path(template.clone(), self.connect(sub, &rest), parameters());
            let with_path = format!("{rest}WithPath");
            let below = format!("{template}/{{path}}");
            let rest = self.path(below, self.connect(sub, &with_path), deeper);
            return if sub.name == Subresource::Proxy { vec![one, rest] } else { vec![one] };
        }
        vec![self.path(template, self.on_subresource(sub, &rest), parameters())]
    }

    fn on_subresource(&self, sub: &SubresourceRow, rest: &str) -> Vec<Operation> {
        let part = format!("{} of ", sub.name);
        let schema = self.body_schema(sub);
        let mut all = self.reads_and_writes(&sub.verbs, rest, &part, &schema);
        if sub.verbs.contains(&Verb::Create) {
            let post = self.post(self.id("create", "", rest), &schema);
            let about = format!("create {} of a {}", sub.name, self.kind.kind);
            all.push(Operation { about, ..post });
        }
        for operation in &mut all {
            if let Some((group, version, kind)) = &sub.body {
                operation.gvk = (group.to_string(), version.to_string(), kind.to_string());
            }
            if sub.name == Subresource::Log {
                operation.answer = None;
            }
        }
        all
    }

    /// A subresource that hands on the connection: every method that its verbs stand for.
    fn connect(&self, sub: &SubresourceRow, rest: &str) -> Vec<Operation> {
        let methods = sub.verbs.iter().map(|verb| match verb {
            Verb::Create => "post",
            Verb::Update => "put",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            _ => "get",
        });
        let operation = |method| {
            let group = camel(&self.kind.group, &self.kind.version);
            let scope = if self.kind.is_namespaced() { "Namespaced" } else { "" };
            let id = format!("connect{group}{}{scope}{}{rest}", capital(method), self.kind.kind);
            let (group, version, kind) = sub.body.clone().unwrap_or_default();
            Operation {
                about: format!("connect {} requests to {} of {}", method, sub.name, self.kind.kind),
                gvk: (group.into(), version.into(), kind.into()),
                answer: None,
                ..self.operation(method, "connect", id)
            }
        };
        methods.map(operation).collect()
    }

    /// Name of the schema of a subresource's body: in the package of its group and version.
    fn body_schema(&self, sub: &SubresourceRow) -> String {
        let own = || self.kind.schema.to_string();
        let Some((group, version, kind)) = &sub.body else { return own() };
        let version = self.kinds.version(group, version);
        let sibling = version.and_then(|version| version.kinds.first());
        let package = sibling.and_then(|sibling| sibling.schema.rsplit_once('.'));
        package.map_or_else(own, |(package, _)| format!("{package}.{kind}"))
    }
}

/// Whether a subresource hands on the connection (exec, attach, portforward, proxy): its body is
/// then options in the query.
fn is_connect(sub: &SubresourceRow) -> bool {
    sub.body.as_ref().is_some_and(|(_, _, kind)| kind.ends_with("Options"))
}

/// Schemas that operations refer to beside those of kinds.
pub(super) fn schemas(operation: &Operation) -> impl Iterator<Item = &str> {
    let body = match &operation.body {
        Body::None => None,
        Body::Object(name) => Some(name.as_str()),
        Body::Patch { .. } => Some(super::PATCH),
        Body::DeleteOptions => Some(DELETE_OPTIONS),
    };
    body.into_iter().chain(operation.answer.as_deref())
}
