//! Flow schemas and priority levels, made ready for being asked at every request: which schema a
//! request is of, and which flow of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::Object;
use coracle_api::resources::{FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS};
use coracle_store::Snapshot;
use http::HeaderValue;
use serde_json::Value;

use super::Name;
use super::level::{LevelSpec, Response};
use crate::pipeline::parse::{ResourceRef, Route};
use crate::pipeline::request::User;

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// What there is also while its object is not: upstream imagines the same two.
const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";

/// All schemas, in the order in which they are asked, and all levels.
pub(crate) struct Rules {
    objects: Vec<Arc<Object>>,
    /// The revision whose objects they are.
    pub(crate) revision: u64,
    schemas: Vec<Arc<Schema>>,
    pub(crate) levels: Vec<LevelSpec>,
    /// Whose requests are of no schema.
    rest: Arc<Schema>,
}

/// A flow schema.
pub(crate) struct Schema {
    pub(crate) name: Name,
    pub(crate) level: Name,
    /// Its UID and that of its level, as headers of answers.
    pub(crate) uids: [HeaderValue; 2],
    precedence: i64,
    by: By,
    rules: Vec<Rule>,
}

/// By what the flows of a schema are told apart.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Nothing,
    User,
    Namespace,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    /// Namespace and name of a service account, or `*` for its name.
    Account(String, String),
}

struct ResourceRule {
    verbs: Words,
    groups: Words,
    /// `pods`, `pods/status`
    resources: Words,
    namespaces: Words,
    is_of_cluster: bool,
}

struct PathRule {
    verbs: Words,
    paths: Vec<String>,
}

/// Any word, or one of these.
enum Words {
    Any,
    Of(Vec<String>),
}

impl Rules {
    /// What the objects of `snapshot` come to.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let objects: Vec<_> = objects(snapshot).cloned().collect();
        let found = snapshot.list(PRIORITY_LEVEL_CONFIGURATIONS, None);
        let mut levels: Vec<_> = found.filter_map(|level| level_spec(level)).collect();
        let exempt = level(EXEMPT, 0, Response::Exempt);
        let catch_all = level(CATCH_ALL, 5, Response::Reject);
        for mandatory in [exempt, catch_all] {
            if levels.iter().all(|level| level.name != mandatory.name) {
                levels.push(mandatory);
            }
        }
        let schemas = snapshot.list(FLOW_SCHEMAS, None);
        let is_known = |schema: &Schema| levels.iter().any(|level| level.name == schema.level);
        let schemas = schemas.map(|schema| Schema::of(schema, snapshot)).filter(is_known);
        let mut schemas: Vec<_> = schemas.map(Arc::new).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let rest = schemas.iter().find(|schema| &*schema.name == CATCH_ALL).map(Arc::clone);
        let rest = rest.unwrap_or_else(|| Arc::new(Schema::imagined(snapshot)));
        Self { objects, revision: snapshot.revision(), schemas, levels, rest }
    }

    /// Whether they are what the objects of `snapshot` come to.
    pub(crate) fn are_of(&self, snapshot: &Snapshot) -> bool {
        let mut known = self.objects.iter();
        objects(snapshot).all(|object| known.next().is_some_and(|own| Arc::ptr_eq(own, object)))
            && known.next().is_none()
    }

    /// The schema that a request is of, and by what its flow differs from others of it.
    pub(crate) fn classify<'a>(&self, asked: &Digest<'a>) -> (&Arc<Schema>, &'a str) {
        let mut schemas = self.schemas.iter();
        let schema = schemas.find(|schema| schema.matches(asked)).unwrap_or(&self.rest);
        let flow = match schema.by {
            By::Nothing => "",
            By::User => &asked.user.name,
            By::Namespace => asked.namespace(),
        };
        (schema, flow)
    }

    /// The level of each schema, and the schema.
    pub(crate) fn pairs(&self) -> BTreeSet<(Name, Name)> {
        let schemas = self.schemas.iter().chain([&self.rest]);
        schemas.map(|it| (Name::clone(&it.level), Name::clone(&it.name))).collect()
    }
}

fn objects(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Object>> {
    let levels = snapshot.list(PRIORITY_LEVEL_CONFIGURATIONS, None);
    snapshot.list(FLOW_SCHEMAS, None).chain(levels)
}

fn level(name: &str, shares: u32, response: Response) -> LevelSpec {
    LevelSpec { name: name.into(), shares, lendable: 0, borrowing: None, response }
}

/// Nothing for a level that says neither how it limits nor that it does not.
fn level_spec(object: &Object) -> Option<LevelSpec> {
    let spec = &object.value()["spec"];
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let (of_level, response) = match spec["type"].as_str()? {
        "Exempt" => (&spec["exempt"], Response::Exempt),
        _ => {
            let limited = &spec["limited"];
            (limited, response(&limited["limitResponse"])?)
        }
    };
    let shares = number(&of_level["nominalConcurrencyShares"]).unwrap_or_default();
    let lendable = number(&of_level["lendablePercent"]).unwrap_or_default();
    let borrowing = number(&of_level["borrowingLimitPercent"]);
    Some(LevelSpec { lendable, borrowing, ..level(&object.key().name, shares, response) })
}

fn response(value: &Value) -> Option<Response> {
    let queuing = &value["queuing"];
    let number = |name: &str| queuing[name].as_u64();
    match value["type"].as_str()? {
        "Reject" => Some(Response::Reject),
        _ => Some(Response::Queue {
            queues: u32::try_from(number("queues")?).ok()?,
            hand: u32::try_from(number("handSize")?).ok()?,
            longest: usize::try_from(number("queueLengthLimit")?).ok()?,
        }),
    }
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""))
}

impl Schema {
    fn of(object: &Object, snapshot: &Snapshot) -> Self {
        let spec = &object.value()["spec"];
        let level = spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let by = match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => By::User,
            Some("ByNamespace") => By::Namespace,
            _ => By::Nothing,
        };
        let found = snapshot.find(PRIORITY_LEVEL_CONFIGURATIONS, "", level);
        let of_level = found.map(|level| &*level.metadata().uid).unwrap_or_default();
        Self {
            name: (&*object.key().name).into(),
            level: level.into(),
            uids: [header(&object.metadata().uid), header(of_level)],
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or_default(),
            by,
            rules: items(&spec["rules"]).map(Rule::of).collect(),
        }
    }

    /// The one for everything else, while nobody has it.
    fn imagined(snapshot: &Snapshot) -> Self {
        let found = snapshot.find(PRIORITY_LEVEL_CONFIGURATIONS, "", CATCH_ALL);
        let uid = found.map(|level| &*level.metadata().uid).unwrap_or_default();
        Self {
            name: CATCH_ALL.into(),
            level: CATCH_ALL.into(),
            uids: [header(""), header(uid)],
            precedence: i64::MAX,
            by: By::User,
            rules: Vec::new(),
        }
    }

    fn matches(&self, asked: &Digest<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(asked))
    }
}

/// What is asked, and who asks.
pub(crate) struct Digest<'a> {
    pub(crate) user: &'a User,
    pub(crate) route: &'a Route,
    /// Of the request, in capital letters.
    pub(crate) method: &'a str,
}

impl Digest<'_> {
    /// Whether the request goes on for as long as its client likes: none of the limits holds for it.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self.route, Route::Resource(it) if it.is_long())
    }

    pub(crate) fn is_watch(&self) -> bool {
        matches!(self.route, Route::Resource(it) if it.verb == "watch")
    }
}

impl<'a> Digest<'a> {
    fn namespace(&self) -> &'a str {
        match self.route {
            Route::Resource(resource) => &resource.namespace,
            Route::Path(_) => "",
        }
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        Self {
            subjects: items(&rule["subjects"]).filter_map(Subject::of).collect(),
            resources: items(&rule["resourceRules"]).map(ResourceRule::of).collect(),
            paths: items(&rule["nonResourceRules"]).map(PathRule::of).collect(),
        }
    }

    fn matches(&self, asked: &Digest<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(asked.user))
            && match asked.route {
                Route::Resource(resource) => self.resources.iter().any(|it| it.matches(resource)),
                Route::Path(path) => self.paths.iter().any(|it| it.matches(asked.method, path)),
            }
    }
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let text = |pointer| subject.pointer(pointer)?.as_str().map(str::to_owned);
        match subject["kind"].as_str()? {
            "User" => text("/user/name").map(Self::User),
            "Group" => text("/group/name").map(Self::Group),
            _ => text("/serviceAccount/namespace")
                .zip(text("/serviceAccount/name"))
                .map(|(namespace, name)| Self::Account(namespace, name)),
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.groups.iter().any(|group| group == name),
            Self::Account(namespace, name) => {
                let account = user.name.strip_prefix(SERVICE_ACCOUNT);
                let account = account.and_then(|account| account.split_once(':'));
                account.is_some_and(|(of, own)| of == namespace && (name == "*" || name == own))
            }
        }
    }
}

impl ResourceRule {
    fn of(rule: &Value) -> Self {
        Self {
            verbs: Words::of(&rule["verbs"]),
            groups: Words::of(&rule["apiGroups"]),
            resources: Words::of(&rule["resources"]),
            namespaces: Words::of(&rule["namespaces"]),
            is_of_cluster: rule["clusterScope"] == true,
        }
    }

    fn matches(&self, asked: &ResourceRef) -> bool {
        self.verbs.have(&asked.verb)
            && self.resources.have_resource(&asked.resource, &asked.subresource)
            && self.groups.have(&asked.group)
            && match &*asked.namespace {
                "" => self.is_of_cluster,
                namespace => self.namespaces.have(namespace),
            }
    }
}

impl PathRule {
    fn of(rule: &Value) -> Self {
        Self { verbs: Words::of(&rule["verbs"]), paths: texts(&rule["nonResourceURLs"]) }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.verbs.have_lower(method) && self.paths.iter().any(|rule| is_under(rule, path))
    }
}

/// Whether `rule` is `*`, the path, or one above it, with or without a `*` at its end.
fn is_under(rule: &str, path: &str) -> bool {
    let folder = rule.strip_suffix('*').unwrap_or(rule);
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    rule == "*"
        || rule == path
        || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Words {
    fn of(list: &Value) -> Self {
        let words = texts(list);
        if words == ["*"] { Self::Any } else { Self::Of(words) }
    }

    fn any(&self, is_it: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Of(words) => words.iter().any(|word| is_it(word)),
        }
    }

    fn have(&self, word: &str) -> bool {
        self.any(|own| own == word)
    }

    fn have_lower(&self, word: &str) -> bool {
        self.any(|own| own.eq_ignore_ascii_case(word))
    }

    fn have_resource(&self, resource: &str, subresource: &str) -> bool {
        self.any(|own| match own.split_once('/') {
            None => subresource.is_empty() && own == resource,
            Some((of, sub)) => of == resource && sub == subresource,
        })
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn texts(list: &Value) -> Vec<String> {
    items(list).filter_map(Value::as_str).map(str::to_owned).collect()
}
