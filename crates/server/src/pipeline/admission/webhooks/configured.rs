//! Webhooks as their configurations have them, read once a version of a configuration.

use std::sync::Arc;

use coracle_api::calls::review_version;
use coracle_api::{Object, Post, Selector};
use coracle_cel::conditions::Conditions;
use serde_json::Value;

use crate::pipeline::verbs::text;

/// How long a webhook has when its configuration does not say, in seconds.
const TIMEOUT: u64 = 10;
const TIMEOUT_MAX: u64 = 30;

/// The webhooks of a configuration, in its order.
pub(super) struct Hooks(pub(super) Vec<Hook>);

/// A webhook.
pub(super) struct Hook {
    /// What it is called, in answers too.
    pub(super) name: String,
    /// Which requests it wants to see.
    pub(super) rules: Vec<Rule>,
    /// Whether it also wants those for the same objects in other versions or groups.
    pub(super) is_equivalent: bool,
    /// In which namespaces.
    pub(super) namespaces: Selector,
    /// Of which objects.
    pub(super) objects: Selector,
    /// Under which conditions.
    pub(super) conditions: Conditions,
    /// Whether the request goes on when the webhook cannot be asked.
    pub(super) fails_open: bool,
    /// Whether it wants to see the object again that others have changed after it.
    pub(super) is_reinvoked: bool,
    /// Whether it may be asked in a dry run.
    pub(super) spares_dry_runs: bool,
    /// The version of AdmissionReview that it is sent.
    pub(super) version: &'static str,
    /// How it is asked, but for what.
    pub(super) post: Post,
}

/// Requests that a webhook wants to see.
pub(super) struct Rule {
    pub(super) operations: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) versions: Vec<String>,
    /// `RESOURCE` or `RESOURCE/SUBRESOURCE`.
    pub(super) resources: Vec<String>,
    /// `Namespaced`, `Cluster` or `*`.
    pub(super) scope: String,
}

impl Hooks {
    /// Those of a configuration.
    pub(super) fn of(configuration: &Object) -> Arc<Self> {
        configuration.memo(|| {
            let hooks = configuration.value()["webhooks"].as_array().into_iter().flatten();
            Self(hooks.map(Hook::of).collect())
        })
    }
}

impl Hook {
    fn of(hook: &Value) -> Self {
        let said = |field: &str| hook[field].as_str().unwrap_or_default();
        let selector = |field: &str| {
            // One that cannot be read was refused when it was written.
            Selector::from_json(hook.get(field)).unwrap_or_else(|_| Selector::nothing())
        };
        let timeout = hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT).clamp(1, TIMEOUT_MAX);
        let everything = |field: &str| match &hook[field] {
            Value::Null => Selector::everything(),
            _ => selector(field),
        };
        Self {
            name: said("name").to_owned(),
            rules: hook["rules"].as_array().into_iter().flatten().map(Rule::of).collect(),
            is_equivalent: said("matchPolicy") == "Equivalent",
            namespaces: everything("namespaceSelector"),
            objects: everything("objectSelector"),
            conditions: Conditions::of(&hook["matchConditions"]),
            fails_open: said("failurePolicy") == "Ignore",
            is_reinvoked: said("reinvocationPolicy") == "IfNeeded",
            spares_dry_runs: matches!(said("sideEffects"), "None" | "NoneOnDryRun"),
            version: review_version(&hook["admissionReviewVersions"]),
            post: Post::to(&hook["clientConfig"], u16::try_from(timeout).unwrap_or(u16::MAX)),
        }
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        Self {
            operations: strings(&rule["operations"]),
            groups: strings(&rule["apiGroups"]),
            versions: strings(&rule["apiVersions"]),
            resources: strings(&rule["resources"]),
            scope: text(rule, "/scope").to_owned(),
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    all.map(str::to_owned).collect()
}
