//! Admission policies: which of them are about a write, with which params, and what they say of it.

mod bound;
mod invocations;
mod params;
mod rights;
mod view;

use coracle_api::resources::{
    LOCAL_SUBJECT_ACCESS_REVIEWS, MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS,
    SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_REVIEWS, SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
};
use coracle_api::{Cause, Status};
use coracle_cel::admission::{Judgement, Validating};
use serde_json::Value;

use crate::pipeline::admission::subject::Subject;
use crate::pipeline::admission::{Attributes, matching};
use crate::pipeline::request::Request;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::Stop;
use invocations::{Invocation, Resources, Run};
use view::Views;

pub(super) use rights::may_see_params;

/// What policies do not decide on: themselves, and who may do what.
const EXEMPT: &[&str] = &[
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
];

const VALIDATING: Resources = Resources {
    policies: VALIDATING_ADMISSION_POLICIES,
    bindings: VALIDATING_ADMISSION_POLICY_BINDINGS,
};

fn is_exempt(request: &Request) -> bool {
    EXEMPT.iter().any(|resource| request.kind.is(resource)) || matching::is_exempt(request)
}

/// A refusal: reason, and what is said.
struct Denial {
    reason: String,
    message: String,
}

/// Lets the validating policies see the write; the first in order that refuses is heard.
///
/// # Errors
/// The refusal; or what is to be asked first.
pub(super) fn validate(
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
    for invocation in &all {
        let judgement = match &invocation.run {
            Err(why) => {
                let message = invocation.denied(why);
                first.get_or_insert(Denial { reason: String::new(), message });
                continue;
            }
            Ok(run) => views.with(run, value, |seen| run.policy.expressions.judge(seen))?,
        };
        heard(invocation, judgement, attributes, &mut first);
    }
    match first {
        None => Ok(()),
        Some(denial) => Err(refusal(&subject, value, denial).into()),
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
        if binding.warns {
            let Invocation { policy, binding, .. } = invocation;
            attributes.warn_once(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding \
                 '{binding}': {}",
                refusal.message
            ));
        }
        if binding.denies {
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
