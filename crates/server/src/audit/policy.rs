//! Which requests are remembered, and how much of each: `audit.k8s.io/v1` Policy. Pure.

use coracle_api::FieldError;
use coracle_api::text::names;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::Action;
use crate::pipeline::parse::ResourceRef;
use crate::pipeline::request::User;

/// How much is remembered of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and what came of it.
    Metadata,
    /// What was sent, too.
    Request,
    /// And what was answered.
    RequestResponse,
}

/// When something is remembered of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// As soon as it is known who asks.
    RequestReceived,
    /// When the answer begins that goes on for long: of a watch, of exec.
    ResponseStarted,
    /// When all is said.
    ResponseComplete,
    /// When the server has broken off.
    Panic,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

/// What is to be remembered of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// How much.
    pub level: Level,
    /// When not.
    pub omitted: Vec<Stage>,
    /// Whether `managedFields` are left out of objects.
    pub omits_managed_fields: bool,
}

/// The rules; the first that is about a request decides.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    paths: Vec<String>,
    treatment: Treatment,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
}

/// The file as it is written. What is unknown is refused: a rule whose condition is misspelt would be
/// about everything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    rules: Option<Vec<WrittenRule>>,
    omit_stages: Option<Vec<String>>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRule {
    #[serde(default)]
    level: String,
    users: Option<Vec<String>>,
    user_groups: Option<Vec<String>>,
    verbs: Option<Vec<String>>,
    resources: Option<Vec<Resources>>,
    namespaces: Option<Vec<String>>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Option<Vec<String>>,
    omit_stages: Option<Vec<String>>,
    omit_managed_fields: Option<bool>,
}

impl Policy {
    /// The policy in `text`, which is YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it, all of it at once where it can be read at all; in upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let Written { api_version, kind, rules, omit_stages, omit_managed_fields, .. } = written;
        if (&*api_version, &*kind) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!(
                "it says apiVersion {api_version:?} and kind {kind:?}: expected \"audit.k8s.io/v1\" \
                 and \"Policy\""
            ));
        }
        let rules = rules.unwrap_or_default();
        if rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let mut errors = Vec::new();
        let omitted = stages(omit_stages.unwrap_or_default(), "omitStages", &mut errors);
        let of_all =
            Treatment { level: Level::None, omitted, omits_managed_fields: omit_managed_fields };
        let rules = rules.into_iter().enumerate();
        let rules =
            rules.map(|(at, rule)| rule.read(&format!("rules[{at}]"), &of_all, &mut errors));
        let rules = rules.collect();
        if errors.is_empty() { Ok(Self { rules }) } else { Err(FieldError::list(&errors)) }
    }

    /// What is to be remembered of a request by `user`, if it is known who asks.
    #[must_use]
    pub fn treatment(&self, user: Option<&User>, action: &Action) -> Treatment {
        let rule = self.rules.iter().find(|rule| rule.is_about(user, action));
        rule.map(|rule| rule.treatment.clone()).unwrap_or_default()
    }
}

impl WrittenRule {
    fn read(self, path: &str, of_all: &Treatment, errors: &mut Vec<FieldError>) -> Rule {
        let level = level(&self.level, &format!("{path}.level"), errors);
        let paths = self.non_resource_urls.unwrap_or_default();
        let resources = self.resources.unwrap_or_default();
        let namespaces = self.namespaces.unwrap_or_default();
        let at = format!("{path}.nonResourceURLs");
        check_paths(&paths, &at, errors);
        check_resources(&resources, &format!("{path}.resources"), errors);
        let own = self.omit_stages.unwrap_or_default();
        let mut omitted = stages(own, &format!("{path}.omitStages"), errors);
        let is_of_resources = !resources.is_empty() || !namespaces.is_empty();
        if !paths.is_empty() && is_of_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(at, &json!(paths), why));
        }
        omitted.extend(&of_all.omitted);
        let omits_managed_fields = self.omit_managed_fields.unwrap_or(of_all.omits_managed_fields);
        Rule {
            users: self.users.unwrap_or_default(),
            groups: self.user_groups.unwrap_or_default(),
            verbs: self.verbs.unwrap_or_default(),
            namespaces,
            resources,
            paths,
            treatment: Treatment { level, omitted, omits_managed_fields },
        }
    }
}

fn level(said: &str, path: &str, errors: &mut Vec<FieldError>) -> Level {
    let known = LEVELS.iter().find(|(name, _)| *name == said).map(|(_, level)| *level);
    known.unwrap_or_else(|| {
        errors.push(match said {
            "" => FieldError::required(path, ""),
            said => FieldError::not_supported(path, said, &LEVELS.map(|(name, _)| name)),
        });
        Level::None
    })
}

fn stages(said: Vec<String>, path: &str, errors: &mut Vec<FieldError>) -> Vec<Stage> {
    let mut all = Vec::new();
    for (at, said) in said.into_iter().enumerate() {
        match STAGES.iter().find(|(name, _)| *name == said) {
            Some((_, stage)) => all.push(*stage),
            None => {
                let names = STAGES.map(|(name, _)| name).join(",");
                let why = format!("allowed stages are {names}");
                errors.push(FieldError::invalid(format!("{path}[{at}]"), &json!(said), why));
            }
        }
    }
    all
}

fn check_paths(paths: &[String], path: &str, errors: &mut Vec<FieldError>) {
    for (at, url) in paths.iter().enumerate().filter(|(_, url)| *url != "*") {
        let mut refuse =
            |why: &str| errors.push(FieldError::invalid(format!("{path}[{at}]"), &json!(url), why));
        if !url.starts_with('/') {
            refuse("non-resource URL rules must begin with a '/' character");
        }
        if url.find('*').is_some_and(|star| star.saturating_add(1) < url.len()) {
            refuse("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
}

fn check_resources(all: &[Resources], path: &str, errors: &mut Vec<FieldError>) {
    for Resources { group, resources, resource_names } in all {
        let names = resource_names.as_deref().unwrap_or_default();
        let wrong = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
        if !wrong.is_empty() {
            let field = format!("{path}.group");
            errors.push(FieldError::invalid(field, &json!(group), wrong.join(",")));
        }
        if !names.is_empty() && resources.as_deref().unwrap_or_default().is_empty() {
            let why = "using resourceNames requires at least one resource";
            let field = format!("{path}.resourceNames");
            errors.push(FieldError::invalid(field, &json!(names), why));
        }
    }
}

impl Rule {
    fn is_about(&self, user: Option<&User>, action: &Action) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted);
        let verb = match action {
            Action::Resource(resource) => &*resource.verb,
            Action::Path { verb, .. } => verb,
        };
        let is_user = self.users.is_empty() || user.is_some_and(|it| has(&self.users, &it.name));
        let is_in = |user: &User| self.groups.iter().any(|group| user.is_in(group));
        if !is_user
            || !(self.groups.is_empty() || user.is_some_and(is_in))
            || !(self.verbs.is_empty() || has(&self.verbs, verb))
        {
            return false;
        }
        match action {
            _ if !self.namespaces.is_empty() || !self.resources.is_empty() => match action {
                Action::Resource(resource) => self.covers(resource),
                Action::Path { .. } => false,
            },
            _ if self.paths.is_empty() => true,
            Action::Resource(_) => false,
            Action::Path { path, .. } => self.paths.iter().any(|known| covers_path(known, path)),
        }
    }

    fn covers(&self, action: &ResourceRef) -> bool {
        let is_there = self.namespaces.is_empty() || self.namespaces.contains(&action.namespace);
        let mut all = self.resources.iter();
        is_there && (self.resources.is_empty() || all.any(|of_group| of_group.cover(action)))
    }
}

impl Resources {
    fn cover(&self, action: &ResourceRef) -> bool {
        if self.group != action.group {
            return false;
        }
        let resources = self.resources.as_deref().unwrap_or_default();
        let names = self.resource_names.as_deref().unwrap_or_default();
        let is_named = names.is_empty() || names.contains(&action.name);
        let (resource, subresource) = (&action.resource, &action.subresource);
        let is_it = |known: &String| match known.split_once('/') {
            _ if known == "*" => true,
            None => subresource.is_empty() && known == resource,
            Some((parent, "*")) => parent == resource,
            Some((parent, sub)) => {
                (parent == "*" || parent == resource) && !sub.is_empty() && sub == subresource
            }
        };
        resources.is_empty() || (is_named && resources.iter().any(is_it))
    }
}

fn covers_path(known: &str, path: &str) -> bool {
    known == path || known.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}"))
    }

    #[test]
    fn the_first_rule_that_is_about_a_request_decides() {
        let policy = policy(
            r#"
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:node:node-1"], verbs: [get, watch]}
- {level: None, nonResourceURLs: ["/healthz*", /version]}
- level: Request
  resources: [{group: "", resources: [configmaps], resourceNames: [chosen]}]
  namespaces: [shop]
- {level: Metadata, resources: [{group: "", resources: [secrets, "pods/*"]}], omitManagedFields: true}
- {level: RequestResponse, userGroups: [ops], resources: [{group: apps}, {group: "", resources: ["*/scale"]}]}
- {level: Metadata, omitStages: [ResponseStarted], nonResourceURLs: ["*"]}
"#,
        )
        .unwrap();
        let user = |name: &str, groups: &[&str]| User {
            name: name.into(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..User::default()
        };
        let anna = user("anna", &["ops"]);
        let of = |user: &User, action: &Action| policy.treatment(Some(user), action).level;
        let node = user("system:node:node-1", &[]);
        assert_eq!(of(&node, &Action::on("get", "x", "/secrets", "s")), Level::None);
        assert_eq!(of(&node, &Action::on("update", "x", "/secrets", "s")), Level::Metadata);
        assert_eq!(of(&anna, &Action::on("get", "shop", "/configmaps", "chosen")), Level::Request);
        assert_eq!(of(&anna, &Action::on("get", "shop", "/configmaps", "other")), Level::None);
        assert_eq!(of(&anna, &Action::on("get", "x", "/configmaps", "chosen")), Level::None);
        assert_eq!(of(&anna, &Action::on("create", "x", "/pods/exec", "p")), Level::Metadata);
        assert_eq!(
            of(&anna, &Action::on("get", "x", "/pods", "p")),
            Level::Metadata,
            "as upstream reads it"
        );
        assert_eq!(
            of(&anna, &Action::on("get", "x", "apps/deployments", "d")),
            Level::RequestResponse
        );
        assert_eq!(of(&anna, &Action::on("get", "x", "/pods/scale", "p")), Level::Metadata);
        assert_eq!(
            of(&anna, &Action::on("update", "x", "/replicationcontrollers/scale", "r")),
            Level::RequestResponse
        );
        assert_eq!(of(&node, &Action::on("update", "x", "apps/deployments", "d")), Level::None);
        let path = |path: &str| Action::Path { verb: "get".to_owned(), path: path.to_owned() };
        assert_eq!(of(&anna, &path("/healthz/ping")), Level::None);
        assert_eq!(of(&anna, &path("/versions")), Level::Metadata);
        let whole = policy.treatment(None, &Action::on("get", "x", "/secrets", "s"));
        let omitted = vec![Stage::RequestReceived];
        let expected = Treatment { level: Level::Metadata, omitted, omits_managed_fields: true };
        assert_eq!(whole, expected);
        let whole = policy.treatment(None, &path("/"));
        assert_eq!(whole.omitted, [Stage::ResponseStarted, Stage::RequestReceived]);
    }

    #[test]
    fn what_is_no_policy_is_told_in_upstreams_words() {
        let wrong = |rules: &str| policy(rules).unwrap_err();
        assert_eq!(wrong("rules: []"), "loaded illegal policy with 0 rules");
        assert_eq!(wrong("rules: [{}]"), "rules[0].level: Required value");
        assert_eq!(
            wrong("rules: [{level: All}]"),
            "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \
             \"Request\", \"RequestResponse\""
        );
        let told = wrong(
            "omitStages: [Never]\nrules:\n- {level: None, nonResourceURLs: [x, /a*b], namespaces: [n]}\n\
             - {level: None, resources: [{group: Bad_, resourceNames: [a]}]}",
        );
        for part in [
            "omitStages[0]: Invalid value: \"Never\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
            "rules[0].nonResourceURLs[0]: Invalid value: \"x\": non-resource URL rules must begin with a '/' character",
            "rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
            "rules[0].nonResourceURLs: Invalid value: [\"x\",\"/a*b\"]: rules cannot apply to both regular resources and non-resource URLs",
            "rules[1].resources.group: Invalid value: \"Bad_\": a lowercase RFC 1123 subdomain",
            "rules[1].resources.resourceNames: Invalid value: [\"a\"]: using resourceNames requires at least one resource",
        ] {
            assert!(told.contains(part), "{part}\nnot in\n{told}");
        }
        let told = wrong("rules: [{level: None, resource: []}]");
        assert!(told.contains("unknown field `resource`, expected one of"), "{told}");
        let told =
            Policy::parse("apiVersion: v1\nkind: Policy\nrules: [{level: None}]").unwrap_err();
        assert!(told.contains("expected \"audit.k8s.io/v1\" and \"Policy\""), "{told}");
        assert!(Policy::parse("{").is_err() && Policy::parse("").is_err());
    }
}
