//! Admission webhooks: which are asked about a write, in which order, and what becomes of their
//! answers. Mutating ones are asked one after the other, as each sees what those before it left;
//! validating ones all at once.

mod answer;
mod configured;
mod mutating;
mod review;

use coracle_api::resources::{
    MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use coracle_api::{Given, Status};
use coracle_cel::admission::Subject as Seen;
use coracle_cel::admission::conditions::Verdict;
use serde_json::Value;

use crate::pipeline::admission::rights_asked::Rights;
use crate::pipeline::admission::subject::Subject;
use crate::pipeline::admission::{Attributes, admission_request, matching};
use crate::pipeline::request::Request;
use crate::pipeline::write::WriteEnv;
use crate::pipeline::write::calls::{Call, Stop};
use answer::Answer;
use configured::{Hook, Hooks};
use review::Question;

pub(crate) use mutating::PATCH;
pub(super) use mutating::Rounds;

/// What decides on requests is not decided on by webhooks: else one that is down could not be mended.
const EXEMPT: &[&str] = &[
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
];

/// Where an audit log has which webhooks could not be asked.
const FAILED_OPEN: &str = "failed-open.validating.webhook.admission.k8s.io";

/// Whether webhooks are not asked about `request`, whatever they want.
fn is_exempt(request: &Request) -> bool {
    EXEMPT.iter().any(|resource| request.kind.is(resource)) || matching::is_exempt(request)
}

/// What becomes of a webhook's turn.
enum Turn {
    /// It cannot be asked, or what it said is no answer; the write goes on.
    Passed,
    /// It has nothing against the write.
    Allowed(Answer),
}

/// Lets the validating webhooks see the write; the first in order that refuses is heard.
///
/// # Errors
/// The refusal; or what is to be asked first.
pub(super) fn validate(
    attributes: &mut Attributes<'_>,
    value: &Value,
    env: &WriteEnv<'_>,
) -> Result<(), Stop> {
    let mut configurations =
        attributes.snapshot.list(VALIDATING_WEBHOOK_CONFIGURATIONS, None).peekable();
    if configurations.peek().is_none() || is_exempt(attributes.request) {
        return Ok(());
    }
    let subject = Subject::of(attributes, value, env.kinds);
    let all: Vec<_> = configurations.map(|configuration| Hooks::of(configuration)).collect();
    let mut asked = Vec::new();
    for hook in all.iter().flat_map(|hooks| &hooks.0) {
        if let Some(question) = to_ask(hook, &subject, value, env)? {
            asked.push((hook, question));
        }
    }
    let (mut needs, mut refused) = (Vec::new(), None);
    for (at, (hook, question)) in asked.into_iter().enumerate() {
        match heard(hook, question, true, attributes, env) {
            Ok(Turn::Passed) => {
                let key = format!("{FAILED_OPEN}/round_0_index_{at}");
                attributes.remember(key, hook.name.clone());
            }
            Ok(Turn::Allowed(_)) => {}
            Err(Stop::Needs(calls)) => needs.extend(calls),
            Err(Stop::Refused(status)) => {
                refused.get_or_insert(status);
            }
        }
    }
    match refused {
        _ if !needs.is_empty() => Err(Stop::Needs(needs)),
        Some(status) => Err(status.into()),
        None => Ok(()),
    }
}

/// What `hook` is to be asked about the write; `None` when it is not its business.
fn to_ask<'a>(
    hook: &Hook,
    subject: &Subject<'a>,
    object: &Value,
    env: &WriteEnv<'_>,
) -> Result<Option<Question<'a>>, Status> {
    let Some(row) = hook.criteria.row(subject, object)? else { return Ok(None) };
    let mut request = admission_request::about(subject, row, object);
    request["object"] = subject.shown(row, object)?;
    request["oldObject"] = subject.shown_before(row)?;
    if !is_wanted(hook, subject, &request, object)? {
        return Ok(None);
    }
    if subject.is_dry_run() && !hook.spares_dry_runs {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Status::bad_request(why));
    }
    Ok(Some(review::question(hook, row, request, &env.entropy)))
}

/// Whether the conditions of `hook` hold for the `request` that it would be sent.
fn is_wanted(
    hook: &Hook,
    subject: &Subject<'_>,
    request: &Value,
    object: &Value,
) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let authorizer = Rights::of(subject);
    let seen = Seen {
        object: &request["object"],
        old: &request["oldObject"],
        ..Seen::nothing(request, &authorizer)
    };
    match hook.conditions.judge(seen) {
        Verdict::Holds => Ok(true),
        Verdict::Fails => Ok(false),
        Verdict::Unknown(_) if hook.fails_open => Ok(false),
        Verdict::Unknown(why) => {
            let kind = &subject.request.kind;
            Err(Status::forbidden(kind, subject.name(object), why))
        }
    }
}

/// What `hook` has said to `question`.
fn heard(
    hook: &Hook,
    question: Question<'_>,
    validates: bool,
    attributes: &mut Attributes<'_>,
    env: &WriteEnv<'_>,
) -> Result<Turn, Stop> {
    let Question { uid, call, .. } = question;
    let said = said(&uid, call, hook, validates, env)?;
    let answer = match said {
        Ok(answer) => answer,
        Err(_) if hook.fails_open => return Ok(Turn::Passed),
        Err(why) => {
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            return Err(Status::internal(why).into());
        }
    };
    for warning in &answer.warnings {
        attributes.warn_once(warning.clone());
    }
    for (key, value) in &answer.annotations {
        attributes.remember(format!("{}/{key}", hook.name), value.clone());
    }
    match answer.is_allowed {
        true => Ok(Turn::Allowed(answer)),
        false => Err(answer::denial(&hook.name, &answer.result).into()),
    }
}

fn said(
    uid: &str,
    call: Call,
    hook: &Hook,
    validates: bool,
    env: &WriteEnv<'_>,
) -> Result<Result<Answer, String>, Stop> {
    match env.ask(call)? {
        Given::Posted(Ok(body)) => Ok(answer::read(&body, uid, hook.version, validates)),
        Given::Posted(Err(why)) => Ok(Err(why)),
        _ => Err(Status::internal("an answer to another question").into()),
    }
}
