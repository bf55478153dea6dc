//! Policies that may change what is written: one after the other, and some of them once more when
//! others changed the object after them.

use coracle_api::managed_fields::overlay;
use coracle_api::patch::{JsonPatch, PatchError};
use coracle_api::resources::{MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS};
use coracle_api::schema::Schema;
use coracle_api::{Cause, Kind, Status};
use coracle_cel::admission::conditions::Verdict;
use coracle_cel::admission::{Mutating, Patch};
use serde_json::Value;

use super::invocations::{self, Invocation, Resources, Run};
use super::is_exempt;
use super::view::Views;
use crate::pipeline::admission::changed::{Unknown, changed, type_of};
use crate::pipeline::admission::subject::{Shape, Subject};
use crate::pipeline::admission::turns::Turns;
use crate::pipeline::admission::{Attributes, Operation};
use crate::pipeline::verbs::{scale, text};
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

const MUTATING: Resources = Resources {
    policies: MUTATING_ADMISSION_POLICIES,
    bindings: MUTATING_ADMISSION_POLICY_BINDINGS,
};

/// Which invocation: policy, binding, namespace and name of the param.
type Place = (String, String, String, String);

/// What the mutating policies have done so far.
#[derive(Debug, Default)]
pub(in crate::pipeline::admission) struct Rounds(Turns<Place>);

/// Why a policy does not change an object.
enum Trouble {
    /// That is for the policy to forgive or not.
    Said(String),
    /// The request ends with this.
    Ends(Status),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Ends(status)
    }
}

impl Rounds {
    /// Lets them see the write in this round; whether any of them has changed it.
    ///
    /// # Errors
    /// What went wrong in policies that do not forgive it; or what is to be asked first.
    pub(in crate::pipeline::admission) fn run(
        &mut self,
        attributes: &Attributes<'_>,
        value: &mut Value,
        env: &WriteEnv<'_>,
    ) -> Result<bool, Stop> {
        let never = attributes.operation == Operation::Delete || is_exempt(attributes.request);
        if never || MUTATING.are_absent(attributes.snapshot) {
            return Ok(false);
        }
        let subject = Subject::of(attributes, value, env.kinds);
        let all = invocations::of(&MUTATING, &subject, value, env, Mutating::of)?;
        if all.is_empty() {
            return Ok(false);
        }
        self.0.begin(value);
        let mut views = Views::new(&subject);
        let (mut unbound, mut failed, mut has_changed) = (Vec::new(), Vec::new(), false);
        for invocation in &all {
            match &invocation.run {
                Err(why) => unbound.push(invocation.denied(why)),
                Ok(run) => {
                    let mut troubles = Vec::new();
                    let turn = self.turn(invocation, run, &mut views, value, &mut troubles);
                    has_changed |= turn.map_err(Stop::from)?;
                    if !run.policy.fails_open {
                        failed.extend(troubles.iter().map(|why| invocation.denied(why)));
                    }
                }
            }
        }
        self.0.end(value);
        match (unbound.first(), failed.first()) {
            (None, None) => Ok(has_changed),
            (unconfigured, _) => {
                let reason = if unconfigured.is_some() { "Forbidden" } else { "Invalid" };
                unbound.append(&mut failed);
                Err(refusal(&subject, value, reason, unbound).into())
            }
        }
    }

    fn turn<'a>(
        &mut self,
        invocation: &Invocation<'a, Mutating>,
        run: &Run<'a, Mutating>,
        views: &mut Views<'a, '_>,
        value: &mut Value,
        troubles: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let expressions = &run.policy.expressions;
        match views.with(run, value, |seen| expressions.wants(seen))? {
            Verdict::Holds => {}
            Verdict::Fails => return Ok(false),
            Verdict::Unknown(why) => {
                troubles.push(why);
                return Ok(false);
            }
        }
        let place = place(invocation, &run.param);
        if !self.0.has(&place) {
            return Ok(false);
        }
        let mut has_changed = false;
        for index in 0..expressions.len() {
            if value.is_null() {
                continue;
            }
            match mutated(index, run, views, value) {
                Ok(None) => {}
                Ok(Some(new)) => {
                    *value = new;
                    has_changed = true;
                }
                Err(Trouble::Said(why)) => troubles.push(why),
                Err(Trouble::Ends(status)) => return Err(status),
            }
        }
        if has_changed {
            self.0.changed();
        }
        if run.policy.is_reinvoked {
            self.0.wants_more(place);
        }
        Ok(has_changed)
    }
}

fn place(invocation: &Invocation<'_, Mutating>, param: &Value) -> Place {
    let of = |pointer: &str| text(param, pointer).to_owned();
    let (namespace, name) = (of("/metadata/namespace"), of("/metadata/name"));
    (invocation.policy.to_owned(), invocation.binding.to_owned(), namespace, name)
}

/// The object as the change `index` of a policy leaves it; `None` when nothing changes.
fn mutated<'a>(
    index: usize,
    run: &Run<'a, Mutating>,
    views: &mut Views<'a, '_>,
    value: &Value,
) -> Result<Option<Value>, Trouble> {
    let made = views.with(run, value, |seen| run.policy.expressions.patch(index, seen))?;
    let Some(patch) = made.map_err(Trouble::Said)? else { return Ok(None) };
    let subject = views.subject();
    let shown = subject.shown(run.row, value)?;
    match patch {
        Patch::Configuration(mut said) => {
            for field in ["apiVersion", "kind"] {
                said[field] = shown[field].clone();
            }
            let new = overlaid(subject, run.row, &shown, &said)?;
            Ok(changed(subject, run.row, value, &shown, new, Unknown::Dropped)?)
        }
        Patch::Json(operations) => {
            let of = |error: &PatchError| Trouble::Said(format!("JSON Patch: {error}"));
            let patch = JsonPatch::parse(&operations).map_err(|error| of(&error))?;
            let new = match patch.apply(&shown) {
                Ok(new) => new,
                Err(PatchError::TestFailed(_)) => return Ok(None),
                Err(error) => return Err(of(&error)),
            };
            if !new.is_object() || type_of(&new) != type_of(&shown) {
                let why = "JSON Patch: the object would be of another type";
                return Err(Trouble::Said(why.to_owned()));
            }
            Ok(changed(subject, run.row, value, &shown, new, Unknown::Refused)?)
        }
    }
}

/// `shown` with all that `said` says of it.
fn overlaid(
    subject: &Subject<'_>,
    row: &Kind,
    shown: &Value,
    said: &Value,
) -> Result<Value, Trouble> {
    let (schema, definition) = match subject.shape() {
        Shape::Whole => (row.types(), row.schema.to_string()),
        Shape::Scale => (Schema::builtin(), scale::DEFINITION.to_owned()),
        Shape::Own => (Schema::builtin(), definition(shown)),
    };
    if subject.shape() == Shape::Own && schema.type_named(&definition).is_none() {
        let shown = coracle_api::kind::type_of(shown);
        let why = format!(
            "Resource kind {shown} not found. There can be a delay between when \
             CustomResourceDefinitions are created and when they are available."
        );
        return Err(Trouble::Ends(Status::failure(503, "ServiceUnavailable", why)));
    }
    overlay(schema, &definition, shown, said)
        .map_err(|why| Trouble::Said(format!("error applying patch: {why}")))
}

/// What the type of a built-in object is called in upstream's definitions; options of connections are
/// not among them.
fn definition(object: &Value) -> String {
    let (version, kind) = type_of(object);
    let (group, version) = coracle_api::kinds::split_api_version(&version);
    let package = match group.split('.').next().unwrap_or_default() {
        "" => "core",
        package => package,
    };
    match kind.ends_with("Options") {
        true => String::new(),
        false => format!("io.k8s.api.{package}.{version}.{kind}"),
    }
}

impl Invocation<'_, Mutating> {
    fn denied(&self, why: &str) -> String {
        let Self { policy, binding, .. } = self;
        match *binding {
            "" => format!("policy {policy:?} denied request: {why}"),
            binding => format!("policy '{policy}' with binding '{binding}' denied request: {why}"),
        }
    }
}

/// The first of `messages` is heard; all are told.
fn refusal(subject: &Subject<'_>, value: &Value, reason: &str, messages: Vec<String>) -> Status {
    let mut status = Status::forbidden(&subject.request.kind, subject.shown_name(value), "");
    status.message = messages.first().cloned().unwrap_or_default();
    status.reason = reason.into();
    status.with_details(|details| {
        let cause = |message| Cause { message, ..Cause::default() };
        details.causes = messages.into_iter().map(cause).collect();
    })
}
