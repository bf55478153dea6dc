//! Policies that may only refuse a write.

use std::collections::BTreeMap;

use coracle_api::resources::{VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS};
use coracle_api::{Cause, Status};
use coracle_cel::admission::{Judgement, Validating};
use serde_json::{Value, json};

use super::invocations::{self, Invocation, Resources, Run};
use super::is_exempt;
use super::view::Views;
use crate::pipeline::admission::Attributes;
use crate::pipeline::admission::subject::Subject;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;

const VALIDATING: Resources = Resources {
    policies: VALIDATING_ADMISSION_POLICIES,
    bindings: VALIDATING_ADMISSION_POLICY_BINDINGS,
};

/// Where an audit log has what policies have against a write.
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A refusal: reason, and what is said.
struct Denial {
    reason: String,
    message: String,
}

/// Lets the validating policies see the write; the first in order that refuses is heard.
///
/// # Errors
/// The refusal; or what is to be asked first.
pub(in crate::pipeline::admission) fn validate(
    attributes: &mut Attributes<'_>,
    value: &Value,
    env: &WriteEnv<'_>,
) -> Result<(), Stop> {
    if VALIDATING.are_absent(attributes.snapshot) || is_exempt(attributes.request) {
        return Ok(());
    }
    let subject = Subject::of(attributes, value, env.kinds);
    let all = invocations::of(&VALIDATING, &subject, value, env, Validating::of)?;
    let mut views = Views::new(&subject);
    let mut first: Option<Denial> = None;
    let mut remembered = Remembered::default();
    for invocation in &all {
        let judgement = match &invocation.run {
            Err(why) => {
                let message = invocation.denied(why);
                first.get_or_insert(Denial { reason: String::new(), message });
                continue;
            }
            Ok(run) => views.with(run, value, |seen| run.policy.expressions.judge(seen))?,
        };
        if attributes.is_audited() {
            remembered.hear(invocation, &judgement);
        }
        heard(invocation, judgement, attributes, &mut first);
    }
    remembered.publish(attributes);
    match first {
        None => Ok(()),
        Some(denial) => Err(refusal(&subject, value, denial).into()),
    }
}

/// What an audit log is to remember of what policies say.
#[derive(Default)]
struct Remembered {
    /// `POLICY/KEY` with the values of all its bindings and params, each once.
    annotations: BTreeMap<String, Vec<String>>,
    /// What they have against the write, where it is only to be remembered.
    failures: Vec<Value>,
}

impl Remembered {
    fn hear(&mut self, invocation: &Invocation<'_, Validating>, judgement: &Judgement) {
        let Invocation { policy, binding, run: Ok(Run { binding: bound, .. }) } = invocation else {
            return;
        };
        for annotation in &judgement.annotations {
            let Ok(value) = &annotation.value else { continue };
            let key = format!("{policy}/{}", annotation.key);
            let values = self.annotations.entry(key).or_default();
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
        let failures = judgement.refusals.iter().filter(|_| bound.acts("Audit"));
        self.failures.extend(failures.map(|refusal| {
            json!({
                "message": refusal.message,
                "policy": policy,
                "binding": binding,
                "expressionIndex": refusal.index,
                "validationActions": bound.actions,
            })
        }));
    }

    fn publish(self, attributes: &mut Attributes<'_>) {
        for (key, values) in self.annotations {
            attributes.remember(key, values.join(", "));
        }
        if !self.failures.is_empty() {
            attributes.remember(FAILURES.to_owned(), Value::Array(self.failures).to_string());
        }
    }
}

/// What becomes of what a policy says.
fn heard(
    invocation: &Invocation<'_, Validating>,
    judgement: Judgement,
    attributes: &mut Attributes<'_>,
    first: &mut Option<Denial>,
) {
    let Ok(Run { binding, .. }) = &invocation.run else { return };
    for refusal in judgement.refusals {
        if binding.acts("Warn") {
            let Invocation { policy, binding, .. } = invocation;
            attributes.warn_once(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding \
                 '{binding}': {}",
                refusal.message
            ));
        }
        if binding.acts("Deny") {
            let message = invocation.denied(&refusal.message);
            first.get_or_insert(Denial { reason: refusal.reason, message });
        }
    }
    for annotation in judgement.annotations {
        if let Err(why) = annotation.value {
            let message = invocation.denied(&why);
            first.get_or_insert(Denial { reason: String::new(), message });
        }
    }
}

impl Invocation<'_, Validating> {
    fn denied(&self, why: &str) -> String {
        let policy = self.policy;
        match self.binding {
            "" => format!("ValidatingAdmissionPolicy '{policy}' denied request: {why}"),
            binding => format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {why}"
            ),
        }
    }
}

fn refusal(subject: &Subject<'_>, value: &Value, denial: Denial) -> Status {
    let Denial { reason, message } = denial;
    let mut status = Status::forbidden(&subject.request.kind, subject.shown_name(value), &message);
    status.code = match reason.as_str() {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = if reason.is_empty() { "Invalid".into() } else { reason.into() };
    status.with_details(|details| {
        details.causes.push(Cause { message, ..Cause::default() });
    })
}
