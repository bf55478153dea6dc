//! Policies and their bindings, read once a version of each.

use std::sync::Arc;

use coracle_api::{Object, Selector};
use coracle_store::Snapshot;
use serde_json::Value;

use crate::pipeline::admission::matching::{Criteria, selector};
use crate::pipeline::verbs::text;

/// What both kinds of policy have.
pub(super) struct Policy<T> {
    pub(super) criteria: Criteria,
    /// Whether what goes wrong is forgiven.
    pub(super) fails_open: bool,
    pub(super) param_kind: Option<ParamKind>,
    /// Whether it wants to see the object again that others have changed after it.
    pub(super) is_reinvoked: bool,
    /// Its expressions.
    pub(super) expressions: T,
}

/// Of which kind the params of a policy are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamKind {
    pub(super) api_version: String,
    pub(super) kind: String,
}

impl ParamKind {
    /// `value` of a policy: `spec.paramKind`.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let said = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        value.is_object().then(|| Self { api_version: said("apiVersion"), kind: said("kind") })
    }
}

impl<T: Send + Sync + 'static> Policy<T> {
    pub(super) fn of(policy: &Object, expressions: impl FnOnce(&Value) -> T) -> Arc<Self> {
        policy.memo(|| {
            let spec = &policy.value()["spec"];
            Self {
                criteria: Criteria::of_policy(&spec["matchConstraints"]),
                fails_open: spec["failurePolicy"] == "Ignore",
                param_kind: ParamKind::of(&spec["paramKind"]),
                is_reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
                expressions: expressions(spec),
            }
        })
    }
}

/// What binds a policy.
pub(super) struct Binding {
    policy: String,
    /// What of the policy's requests it is about; all when it does not say.
    pub(super) criteria: Option<Criteria>,
    pub(super) params: Option<ParamRef>,
    /// What becomes of what a validating policy has against a request: `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

/// Which params a policy is run with.
pub(super) struct ParamRef {
    pub(super) name: String,
    /// Empty for that of the request.
    pub(super) namespace: String,
    pub(super) selector: Selector,
    /// Whether the request goes on when there are none.
    pub(super) may_be_missing: bool,
}

impl Binding {
    fn of(binding: &Object) -> Arc<Self> {
        binding.memo(|| {
            let spec = &binding.value()["spec"];
            let actions = spec["validationActions"].as_array().into_iter().flatten();
            let actions = actions.filter_map(Value::as_str).map(str::to_owned);
            let resources = &spec["matchResources"];
            Self {
                policy: text(spec, "/policyName").to_owned(),
                criteria: resources.is_object().then(|| Criteria::of_policy(resources)),
                params: ParamRef::of(&spec["paramRef"]),
                actions: actions.collect(),
            }
        })
    }

    /// Whether `action` is what becomes of it.
    pub(super) fn acts(&self, action: &str) -> bool {
        self.actions.iter().any(|it| it == action)
    }
}

impl ParamRef {
    fn of(said: &Value) -> Option<Self> {
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        said.is_object().then(|| Self {
            name: text("name"),
            namespace: text("namespace"),
            selector: selector(&said["selector"]),
            may_be_missing: said["parameterNotFoundAction"] == "Allow",
        })
    }
}

/// The bindings in `resource` of the policy `name`, by name.
pub(super) fn bindings<'a>(
    snapshot: &'a Snapshot,
    resource: &str,
    name: &str,
) -> impl Iterator<Item = (&'a str, Arc<Binding>)> {
    let all = snapshot.list(resource, None);
    all.map(|object| (&*object.key().name, Binding::of(object)))
        .filter(move |(_, binding)| binding.policy == name)
}
