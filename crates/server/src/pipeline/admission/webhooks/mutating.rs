//! Webhooks that may change what is written: one after the other, and some of them once more when
//! others changed the object after them.

use std::collections::BTreeSet;

use coracle_api::patch::JsonPatch;
use coracle_api::resources::MUTATING_WEBHOOK_CONFIGURATIONS;
use coracle_api::{Kind, Status, semantic, structural};
use serde_json::Value;

use super::configured::{Hook, Hooks};
use super::{Turn, heard, is_exempt, to_ask};
use crate::pipeline::admission::Attributes;
use crate::pipeline::admission::subject::{Shape, Subject, converted};
use crate::pipeline::content;
use crate::pipeline::verbs::{scale, text};
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

/// Which webhook: of the how manieth configuration, the how manieth.
type Place = (usize, usize);

/// What the mutating webhooks have done so far. There are two rounds at most.
#[derive(Debug, Default)]
pub(in crate::pipeline::admission) struct Rounds {
    is_second: bool,
    /// Those that were asked, and have not seen what came after them, should anything.
    earlier: BTreeSet<Place>,
    /// Those that are to see the object again.
    again: BTreeSet<Place>,
    /// What the first round left.
    left: Option<Value>,
}

impl Rounds {
    /// Lets them see the write in this round; whether any of them has changed it.
    ///
    /// # Errors
    /// The first refusal; or what is to be asked first.
    pub(in crate::pipeline::admission) fn run(
        &mut self,
        attributes: &mut Attributes<'_>,
        value: &mut Value,
        env: &WriteEnv<'_>,
    ) -> Result<bool, Stop> {
        let snapshot = attributes.snapshot;
        let mut configurations = snapshot.list(MUTATING_WEBHOOK_CONFIGURATIONS, None).peekable();
        if configurations.peek().is_none() || is_exempt(attributes.request) {
            return Ok(false);
        }
        if self.left.take().is_some_and(|left| left != *value) {
            self.earlier_again();
        }
        let mut has_changed = false;
        for (at, configuration) in configurations.enumerate() {
            for (nth, hook) in Hooks::of(configuration).0.iter().enumerate() {
                has_changed |= self.turn((at, nth), hook, attributes, value, env)?;
            }
        }
        self.is_second = true;
        if has_changed {
            self.left = Some(value.clone());
        }
        Ok(has_changed)
    }

    fn turn(
        &mut self,
        place: Place,
        hook: &Hook,
        attributes: &mut Attributes<'_>,
        value: &mut Value,
        env: &WriteEnv<'_>,
    ) -> Result<bool, Stop> {
        if self.is_second && !self.again.contains(&place) {
            return Ok(false);
        }
        let subject = Subject::of(attributes, value, env.kinds);
        let Some(question) = to_ask(hook, &subject, value, env)? else { return Ok(false) };
        let row = question.row;
        let turn = heard(hook, question, false, attributes, env)?;
        let changed = match &turn {
            Turn::Passed => None,
            Turn::Allowed(answer) => patched(hook, &subject, row, &answer.patch, value)?,
        };
        let has_changed = changed.is_some();
        if let Some(changed) = changed {
            *value = changed;
            self.earlier_again();
        }
        if hook.is_reinvoked {
            self.earlier.insert(place);
        }
        Ok(has_changed)
    }

    fn earlier_again(&mut self) {
        self.again.append(&mut self.earlier);
    }
}

/// The object as the patch of `hook` leaves it; `None` when it changes nothing.
fn patched(
    hook: &Hook,
    subject: &Subject<'_>,
    row: &Kind,
    patch: &[u8],
    object: &Value,
) -> Result<Option<Value>, Status> {
    if patch.is_empty() {
        return Ok(None);
    }
    let patch: Value = serde_json::from_slice(patch).map_err(Status::internal)?;
    if patch.is_null() || patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    if object.is_null() {
        let name = &hook.name;
        return Err(Status::internal(format!(
            "admission webhook {name:?} attempted to modify the object, which is not supported for \
             this operation"
        )));
    }
    let shown = subject.shown(row, object)?;
    let patch = JsonPatch::parse(&patch).map_err(Status::internal)?;
    let mut new = patch.apply(&shown).map_err(Status::internal)?;
    check_type(hook, &shown, &new)?;
    decode(subject, row, &mut new)?;
    if semantic::equal(&shown, &new) {
        return Ok(None);
    }
    Ok(Some(match subject.shape() {
        Shape::Own => new,
        Shape::Scale => {
            let mut parent = object.clone();
            let replicas = new["spec"]["replicas"].as_i64().unwrap_or_default();
            scale::set(&subject.request.kind.scale, &mut parent, &replicas.into());
            parent
        }
        Shape::Whole => {
            content::default(row, &mut new);
            let mut new = converted(row, &subject.request.kind, new);
            content::default(&subject.request.kind, &mut new);
            new
        }
    }))
}

/// Reads what a patch made as a client's body is read: what nobody knows is dropped.
fn decode(subject: &Subject<'_>, row: &Kind, new: &mut Value) -> Result<(), Status> {
    let decoded = match subject.shape() {
        Shape::Own => return Ok(()),
        Shape::Scale => structural::decode_as(
            coracle_api::schema::Schema::builtin(),
            scale::DEFINITION,
            new,
            true,
        ),
        Shape::Whole => structural::decode(row, new),
    };
    decoded.map(drop).map_err(Status::internal)
}

/// No patch makes something else of an object.
fn check_type(hook: &Hook, old: &Value, new: &Value) -> Result<(), Status> {
    let of =
        |value: &Value| (text(value, "/apiVersion").to_owned(), text(value, "/kind").to_owned());
    if new.is_object() && of(old) == of(new) {
        return Ok(());
    }
    let ((version, kind), name) = (of(new), &hook.name);
    let why = format!("admission webhook {name:?} made a {version:?} {kind:?} of the object");
    Err(Status::internal(why))
}
