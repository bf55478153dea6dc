//! Admission: what the server adds to a write and what it refuses, before and after the verb.
//! Functions in a list, each pure.

mod admission_request;
mod certificates;
mod changed;
mod defaults;
mod definitions;
mod limits;
mod matching;
mod namespaces;
mod pod_security;
mod pods;
mod policies;
mod quota;
mod resize;
mod rights;
mod rights_asked;
mod runtime_classes;
mod service_accounts;
mod services;
mod storage;
mod subject;
mod token_secrets;
mod turns;
mod webhooks;

use std::collections::BTreeMap;

use coracle_api::resources::PODS;
use coracle_api::{Key, Object, Status, Subresource, kind};
use coracle_store::{Expect, Snapshot, Write};
use serde_json::Value;

use crate::pipeline::content;
use crate::pipeline::request::Request;
use crate::pipeline::verbs::deletion::DeleteOptions;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

pub(crate) use webhooks::PATCH;

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It, or a part of it, changes.
    Update,
    /// It is to go.
    Delete,
    /// Somebody is to be connected to it: what is admitted are the options (`PodExecOptions`).
    Connect,
}

/// A write on its way through admission.
pub struct Attributes<'a> {
    /// The state it is prepared on.
    pub snapshot: &'a Snapshot,
    /// What was asked.
    pub request: &'a Request,
    /// What is done.
    pub operation: Operation,
    /// The object as stored; `None` for a new one.
    pub old: Option<&'a Object>,
    /// How it is to go, when it is.
    pub deletion: Option<&'a DeleteOptions>,
    /// What must still hold when the write is committed.
    pub requires: Vec<(Key, Expect)>,
    /// What else is written with it.
    pub writes: Vec<Write>,
    /// Sentences for the `Warning` header.
    pub warnings: Vec<String>,
    /// What an audit log is to remember of it.
    annotations: BTreeMap<String, String>,
}

impl<'a> Attributes<'a> {
    /// A write that nobody has looked at yet.
    pub fn new(
        snapshot: &'a Snapshot,
        request: &'a Request,
        operation: Operation,
        old: Option<&'a std::sync::Arc<Object>>,
    ) -> Self {
        Self {
            snapshot,
            request,
            operation,
            old: old.map(std::convert::AsRef::as_ref),
            deletion: None,
            requires: Vec::new(),
            writes: Vec::new(),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Whether an audit log remembers anything of the write.
    fn is_audited(&self) -> bool {
        self.request.options.is_audited
    }

    /// Has it remembered, if there is one; what was said first stays, as upstream.
    fn remember(&mut self, key: String, value: String) {
        if self.is_audited() {
            self.annotations.entry(key).or_insert(value);
        }
    }

    /// Whether the write is `operation` of a whole object of `resource` (`RESOURCE.GROUP`).
    pub fn is(&self, operation: Operation, resource: &str) -> bool {
        self.operation == operation
            && self.request.subresource.is_none()
            && self.request.kind.is(resource)
    }

    /// Whether the write makes or changes a whole object of `resource`.
    pub fn puts(&self, resource: &str) -> bool {
        self.is(Operation::Create, resource) || self.is(Operation::Update, resource)
    }

    /// Says `warning` once, however often it comes up.
    fn warn_once(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Whether the write changes the resources of a pod's containers.
    pub fn resizes(&self) -> bool {
        self.operation == Operation::Update
            && self.request.subresource == Some(Subresource::Resize)
            && self.request.kind.is(PODS)
    }

    /// 403 for this write. `name` is that of the object in hand, which the URL may not say.
    pub fn forbidden(&self, name: &str, why: impl std::fmt::Display) -> Status {
        Status::forbidden(&self.request.kind, name, why)
    }
}

/// May change the object.
type Mutate = fn(&mut Attributes<'_>, &mut Value, &mut WriteEnv<'_>) -> Result<(), Status>;
/// May only refuse it; of a deletion there is no object.
pub(crate) type Validate = fn(&mut Attributes<'_>, &Value) -> Result<(), Status>;

/// In upstream's order.
const MUTATING: &[Mutate] = &[
    namespaces::exists,
    definitions::exists,
    service_accounts::mutate,
    limits::default,
    defaults::not_ready,
    defaults::tolerations,
    defaults::priority,
    storage::default_class,
    storage::protection,
    runtime_classes::apply,
    defaults::ingress_class,
    services::warn_of_addresses,
    certificates::settle,
];

/// As [`Mutate`], where the outside must be asked.
type Ask = fn(&mut Attributes<'_>, &mut Value, &mut WriteEnv<'_>) -> Result<(), Stop>;

/// What speaks of the object by its name, which is known by then.
const ASKING: &[Ask] = &[token_secrets::sign];

/// What is chosen so that nobody else has it, once nobody changes the object any more.
const ALLOCATING: &[Mutate] = &[services::allocate];

/// In upstream's order.
pub(crate) const VALIDATING: &[Validate] = &[
    namespaces::may_be_deleted,
    limits::check,
    defaults::one_default_priority,
    defaults::keep_system_priorities,
    storage::may_grow,
    resize::fits_node,
    pod_security::check,
    rights::escalate_nothing,
    certificates::may_grant,
];

/// What counts what is written, and so comes last.
const COUNTING: &[Validate] = &[quota::check];

/// What policies and webhooks have changed so far.
#[derive(Default)]
struct Rounds {
    policies: policies::Rounds,
    webhooks: webhooks::Rounds,
}

impl Rounds {
    /// Lets them see the write in this round, policies first; whether any of them has changed it.
    fn run(
        &mut self,
        attributes: &mut Attributes<'_>,
        value: &mut Value,
        env: &WriteEnv<'_>,
    ) -> Result<bool, Stop> {
        let by_policies = self.policies.run(attributes, value, env)?;
        Ok(self.webhooks.run(attributes, value, env)? || by_policies)
    }
}

/// Lets every mutating plugin, policy and webhook see the write: once more, when a policy or a webhook
/// has changed it. Whether any has.
///
/// # Errors
/// The first refusal; or what is to be asked first.
pub fn mutate(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<bool, Stop> {
    let mutated = mutate_in_rounds(attributes, value, env);
    env.remember(std::mem::take(&mut attributes.annotations));
    mutated
}

fn mutate_in_rounds(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<bool, Stop> {
    let mut rounds = Rounds::default();
    MUTATING.iter().try_for_each(|plugin| plugin(attributes, value, env))?;
    if !rounds.run(attributes, value, env)? {
        return Ok(false);
    }
    let said = attributes.warnings.len();
    MUTATING.iter().try_for_each(|plugin| plugin(attributes, value, env))?;
    attributes.warnings.split_off(said).into_iter().for_each(|it| attributes.warn_once(it));
    rounds.run(attributes, value, env)?;
    Ok(true)
}

/// Lets webhooks see `body`, with which something is done to the object that the request names, and
/// which no plugin knows: a Binding, an Eviction. They are told of what type it is, in the version that
/// we serve, whatever the client said. What they make of it, as `definition` has it.
///
/// # Errors
/// The first refusal; or what is to be asked first.
pub fn act(
    snapshot: &Snapshot,
    request: &Request,
    mut body: Value,
    definition: &str,
    env: &WriteEnv<'_>,
) -> Result<(Value, Vec<String>), Stop> {
    let part = request.subresource.and_then(|part| request.kind.subresource(part));
    if let Some((group, version, kind)) = part.and_then(|part| part.body.as_ref()) {
        body["apiVersion"] = kind::api_version(group, version).into();
        body["kind"] = kind.as_ref().into();
    }
    let mut attributes = Attributes::new(snapshot, request, Operation::Create, None);
    let mut rounds = Rounds::default();
    let acted = (|| {
        if rounds.run(&mut attributes, &mut body, env)? {
            rounds.run(&mut attributes, &mut body, env)?;
        }
        policies::validate(&mut attributes, &body, env)?;
        webhooks::validate(&mut attributes, &body, env)
    })();
    env.remember(std::mem::take(&mut attributes.annotations));
    match acted {
        Ok(()) => Ok((content::as_definition(body, definition)?, attributes.warnings)),
        Err(stop) => Err(stop.warned(attributes.warnings)),
    }
}

/// Gives the object what it alone is to have.
///
/// # Errors
/// When there is none left, or what is asked for is another's.
pub fn allocate(
    attributes: &mut Attributes<'_>,
    value: &mut Value,
    env: &mut WriteEnv<'_>,
) -> Result<(), Stop> {
    ALLOCATING.iter().try_for_each(|plugin| plugin(attributes, value, env))?;
    ASKING.iter().try_for_each(|plugin| plugin(attributes, value, env))
}

/// Lets every validating plugin, policy and webhook see the write.
///
/// # Errors
/// The first refusal; or what is to be asked first.
pub fn validate(
    attributes: &mut Attributes<'_>,
    value: &Value,
    env: &WriteEnv<'_>,
) -> Result<(), Stop> {
    validate_by(VALIDATING, attributes, value, env)
}

/// Lets `plugins` see the write, then policies and webhooks, then what counts.
pub(crate) fn validate_by(
    plugins: &[Validate],
    attributes: &mut Attributes<'_>,
    value: &Value,
    env: &WriteEnv<'_>,
) -> Result<(), Stop> {
    let mut validate = || {
        policies::may_see_params(attributes, value, env.kinds)?;
        plugins.iter().try_for_each(|plugin| plugin(attributes, value))?;
        policies::validate(attributes, value, env)?;
        webhooks::validate(attributes, value, env)?;
        Ok(COUNTING.iter().try_for_each(|plugin| plugin(attributes, value))?)
    };
    let validated = validate();
    env.remember(std::mem::take(&mut attributes.annotations));
    validated
}
