//! What somebody may do: upstream's `authz` library.

use std::sync::Arc;

use coracle_api::names;

use crate::authorizer::{Check, Question, Stage};
use crate::function::{Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "path" "Authorizer.(string) -> PathCheck" One => |_, a| {
        next("path", a, Stage::Path, |question, path| {
            question.path = not_empty("path", path)?;
            Ok(())
        })
    };
    "group" "Authorizer.(string) -> GroupCheck" One => |_, a| {
        next("group", a, Stage::Group, |question, group| {
            question.group = group.to_owned();
            Ok(())
        })
    };
    "serviceAccount" "Authorizer.(string, string) -> Authorizer" One => |_, a| service_account(a);
    "resource" "GroupCheck.(string) -> ResourceCheck" One => |_, a| {
        next("resource", a, Stage::Resource, |question, resource| {
            question.resource = not_empty("resource", resource)?;
            Ok(())
        })
    };
    "subresource" "ResourceCheck.(string) -> ResourceCheck" One => |_, a| {
        with("subresource", a, |question| &mut question.subresource)
    };
    "namespace" "ResourceCheck.(string) -> ResourceCheck" One => |_, a| {
        with("namespace", a, |question| &mut question.namespace)
    };
    "name" "ResourceCheck.(string) -> ResourceCheck" One => |_, a| {
        with("name", a, |question| &mut question.name)
    };
    "fieldSelector" "ResourceCheck.(string) -> ResourceCheck" Selector => |_, a| {
        with("fieldSelector", a, |question| &mut question.field_selector)
    };
    "labelSelector" "ResourceCheck.(string) -> ResourceCheck" Selector => |_, a| {
        with("labelSelector", a, |question| &mut question.label_selector)
    };
    "check" "PathCheck.(string) -> Decision" Authorize => |_, a| decide(a);
    "check" "ResourceCheck.(string) -> Decision" Authorize => |_, a| decide(a);
    "allowed" "Decision.() -> bool" One => |_, a| match a {
        [Value::Decision(decision)] => Ok(Value::Bool(decision.is_allowed)),
        _ => Err(Failure::no_overload("allowed", a)),
    };
    "reason" "Decision.() -> string" One => |_, a| match a {
        [Value::Decision(decision)] => Ok(Value::from(decision.reason.as_str())),
        _ => Err(Failure::no_overload("reason", a)),
    };
    "errored" "Decision.() -> bool" One => |_, a| match a {
        [Value::Decision(decision)] => Ok(Value::Bool(!decision.error.is_empty())),
        _ => Err(Failure::no_overload("errored", a)),
    };
    "error" "Decision.() -> string" One => |_, a| match a {
        [Value::Decision(decision)] => Ok(Value::from(decision.error.as_str())),
        _ => Err(Failure::no_overload("error", a)),
    };
};

fn not_empty(what: &str, text: &str) -> Result<String, Failure> {
    match text.trim() {
        "" => Err(Failure::new(format!("{what} must not be empty"))),
        _ => Ok(text.to_owned()),
    }
}

/// The question that `args` begin with, at its next stage.
fn next<'a>(
    name: &str,
    args: &[Value<'a>],
    stage: Stage,
    say: impl FnOnce(&mut Question, &str) -> Result<(), Failure>,
) -> Outcome<'a> {
    let [Value::Check(check), Value::Text(text)] = args else {
        return Err(Failure::no_overload(name, args));
    };
    let mut question = (*check.question).clone();
    say(&mut question, text)?;
    Ok(Value::Check(Check { stage, question: Arc::new(question), ..check.clone() }))
}

/// The same question, with more said of what it is about.
fn with<'a>(
    name: &str,
    args: &[Value<'a>],
    field: impl FnOnce(&mut Question) -> &mut String,
) -> Outcome<'a> {
    next(name, args, Stage::Resource, |question, text| {
        text.clone_into(field(question));
        Ok(())
    })
}

fn service_account<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Check(check), Value::Text(namespace), Value::Text(name)] = args else {
        return Err(Failure::no_overload("serviceAccount", args));
    };
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(Failure::new("Invalid service account name"));
    }
    if !names::dns1123_label(namespace).is_empty() {
        return Err(Failure::new("Invalid service account namespace"));
    }
    let account = Some((namespace.to_string(), name.to_string()));
    let question = Question { account, ..Question::default() };
    Ok(Value::Check(Check { question: Arc::new(question), ..check.clone() }))
}

fn decide<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Check(check), Value::Text(verb)] = args else {
        return Err(Failure::no_overload("check", args));
    };
    let question = Question { verb: verb.to_string(), ..(*check.question).clone() };
    Ok(Value::Decision(Arc::new(check.by.decide(&question))))
}
