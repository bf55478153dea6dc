//! Webhooks that may change what is written: one after the other, and some of them once more when
//! others changed the object after them.

use coracle_api::patch::JsonPatch;
use coracle_api::resources::MUTATING_WEBHOOK_CONFIGURATIONS;
use coracle_api::{Kind, Status};
use serde_json::{Value, json};

use super::configured::{Hook, Hooks};
use super::{Turn, heard, is_exempt, to_ask};
use crate::pipeline::admission::Attributes;
use crate::pipeline::admission::changed::{Unknown, changed, type_of};
use crate::pipeline::admission::subject::Subject;
use crate::pipeline::admission::turns::Turns;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

/// Where an audit log has what webhooks did, and which of them could not be asked.
const MUTATION: &str = "mutation.webhook.admission.k8s.io";
pub(crate) const PATCH: &str = "patch.webhook.admission.k8s.io";
const FAILED_OPEN: &str = "failed-open.mutation.webhook.admission.k8s.io";

/// What the mutating webhooks have done so far: the how manieth of all.
#[derive(Debug, Default)]
pub(in crate::pipeline::admission) struct Rounds(Turns<usize>);

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
        self.0.begin(value);
        let (mut has_changed, mut places) = (false, 0..);
        for configuration in configurations {
            let name = &*configuration.key().name;
            for (hook, place) in Hooks::of(configuration).0.iter().zip(&mut places) {
                has_changed |= self.turn(place, (name, hook), attributes, value, env)?;
            }
        }
        self.0.end(value);
        Ok(has_changed)
    }

    fn turn(
        &mut self,
        place: usize,
        (configuration, hook): (&str, &Hook),
        attributes: &mut Attributes<'_>,
        value: &mut Value,
        env: &WriteEnv<'_>,
    ) -> Result<bool, Stop> {
        if !self.0.has(&place) {
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
        if attributes.is_audited() {
            let key = format!("round_{}_index_{place}", self.0.round());
            remember(attributes, &key, (configuration, hook), &turn, has_changed);
        }
        if let Some(changed) = changed {
            *value = changed;
            self.0.changed();
        }
        if hook.is_reinvoked {
            self.0.wants_more(place);
        }
        Ok(has_changed)
    }
}

/// Has an audit log remember what came of a webhook's turn.
fn remember(
    attributes: &mut Attributes<'_>,
    key: &str,
    (configuration, hook): (&str, &Hook),
    turn: &Turn,
    has_changed: bool,
) {
    let mut said =
        json!({"configuration": configuration, "webhook": hook.name, "mutated": has_changed});
    attributes.remember(format!("{MUTATION}/{key}"), said.to_string());
    match turn {
        Turn::Passed => attributes.remember(format!("{FAILED_OPEN}/{key}"), hook.name.clone()),
        Turn::Allowed(answer) if has_changed => {
            let fields = said.as_object_mut();
            fields.map(|fields| fields.remove("mutated"));
            said["patch"] = serde_json::from_slice(&answer.patch).unwrap_or_default();
            said["patchType"] = "JSONPatch".into();
            attributes.remember(format!("{PATCH}/{key}"), said.to_string());
        }
        Turn::Allowed(_) => {}
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
    let new = patch.apply(&shown).map_err(Status::internal)?;
    check_type(hook, &shown, &new)?;
    changed(subject, row, object, &shown, new, Unknown::Dropped)
}

/// No patch makes something else of an object.
fn check_type(hook: &Hook, old: &Value, new: &Value) -> Result<(), Status> {
    if new.is_object() && type_of(old) == type_of(new) {
        return Ok(());
    }
    let ((version, kind), name) = (type_of(new), &hook.name);
    let why = format!("admission webhook {name:?} made a {version:?} {kind:?} of the object");
    Err(Status::internal(why))
}
