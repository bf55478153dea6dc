//! `matchConditions`: under which conditions a webhook or policy is asked about a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::FieldError;
use serde_json::Value as Json;

use crate::cost::{EXPRESSION_LIMIT, OUT_OF_BUDGET};
use crate::types::{Field, ObjectType, Type};
use crate::{Environment, EvalError, Evaluated, Issue, Program, Value};

/// What all conditions of a webhook may cost.
const LIMIT: u64 = 2_500_000;

/// The conditions of a webhook.
#[derive(Debug)]
pub struct Conditions(Vec<(String, Result<Program, String>)>);

/// What conditions say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Holds,
    /// One does not.
    Fails,
    /// None fails, and one cannot be told.
    Unknown(String),
}

/// What is sent to a webhook of a request, as a condition sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The object, or null.
    pub object: &'a Json,
    /// The object as it was, or null.
    pub old: &'a Json,
    /// `AdmissionRequest`, of which the objects are not looked at.
    pub request: &'a Json,
}

impl Conditions {
    /// Those of `list`, which was checked when it was written.
    #[must_use]
    pub fn of(list: &Json) -> Self {
        let environment = environment();
        let items = list.as_array().into_iter().flatten();
        let condition = |item: &Json| {
            let expression = item["expression"].as_str().unwrap_or_default();
            let program = environment.compile(expression).map_err(|it| Issue::show_all(&it));
            (expression.to_owned(), program)
        };
        Self(items.map(condition).collect())
    }

    /// What they say. One that fails makes up for others that cannot be told.
    #[must_use]
    pub fn judge(&self, subject: Subject) -> Verdict {
        let Subject { object, old, request } = subject;
        let given = [("object", object), ("oldObject", old), ("request", request)];
        let (mut budget, mut unknown) = (LIMIT, Vec::new());
        for (expression, program) in &self.0 {
            let told = match program {
                Err(why) => Err(format!("compilation failed: {why}")),
                Ok(program) => {
                    let limit = EXPRESSION_LIMIT.min(budget);
                    let Evaluated { value, cost } = program.evaluate(&given, limit);
                    budget = budget.saturating_sub(cost);
                    match value {
                        Ok(Value::Bool(false)) => return Verdict::Fails,
                        Ok(Value::Bool(true)) => Ok(()),
                        Ok(other) => Err(format!("no such overload: {}", other.type_name())),
                        Err(EvalError::CostExceeded) if budget == 0 => {
                            Err(OUT_OF_BUDGET.to_owned())
                        }
                        Err(why) => Err(why.to_string()),
                    }
                }
            };
            if let Err(why) = told {
                unknown.push(format!("expression '{expression}' resulted in error: {why}"));
            }
        }
        match unknown.as_slice() {
            [] => Verdict::Holds,
            [only] => Verdict::Unknown(only.clone()),
            several => Verdict::Unknown(format!("[{}]", several.join(", "))),
        }
    }
}

/// What is wrong with the expressions in `list`, which stands at `path`.
#[must_use]
pub fn mistakes(list: &Json, path: &str) -> Vec<FieldError> {
    let environment = environment();
    let mut errors = Vec::new();
    for (index, item) in list.as_array().into_iter().flatten().enumerate() {
        let expression = item["expression"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            continue;
        }
        let why = match environment.compile(expression) {
            Ok(program) if matches!(program.result_type(), Type::Bool | Type::Dyn) => continue,
            Ok(_) => "must evaluate to bool".to_owned(),
            Err(issues) => format!("compilation failed: {}", Issue::show_all(&issues)),
        };
        let field = format!("{path}[{index}].expression");
        errors.push(FieldError::invalid(field, &item["expression"], why));
    }
    errors
}

/// What a condition may name; the authorizer is not among it.
fn environment() -> Environment {
    Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request())
}

/// `AdmissionRequest`.
fn request() -> Type {
    let texts = |name: &str, fields: &[&str]| {
        let fields: Vec<_> = fields.iter().map(|field| (*field, Type::String)).collect();
        object(name, &fields)
    };
    let kind = || texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = || texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let field = |(name, ty): &(&str, Type)| {
        ((*name).to_owned(), Field { json: (*name).into(), ty: ty.clone() })
    };
    let fields: BTreeMap<String, Field> = fields.iter().map(field).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(expressions: &[&str]) -> Verdict {
        let list: Vec<Json> = expressions.iter().map(|it| json!({"expression": it})).collect();
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web"}}});
        let request = json!({
            "operation": "CREATE", "name": "a", "dryRun": false,
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "userInfo": {"username": "alice", "groups": ["devs"], "extra": {"a.b/c": ["d"]}},
        });
        let subject = Subject { object: &object, old: &Json::Null, request: &request };
        Conditions::of(&list.into()).judge(subject)
    }

    #[test]
    fn all_must_hold_and_one_that_fails_makes_up_for_errors() {
        assert_eq!(judged(&[]), Verdict::Holds);
        assert_eq!(
            judged(&[
                "object.metadata.name == request.name && oldObject == null",
                "'devs' in request.userInfo.groups && request.userInfo.extra['a.b/c'][0] == 'd'",
                "request.operation != 'DELETE' && request.kind.kind == 'ConfigMap'",
                "!has(request.subResource) || request.subResource == ''",
            ]),
            Verdict::Holds
        );
        assert_eq!(judged(&["object.metadata.name != 'a'"]), Verdict::Fails);
        assert_eq!(judged(&["object.spec.x == 1", "false"]), Verdict::Fails);
        assert_eq!(
            judged(&["object.spec.x == 1", "true"]),
            Verdict::Unknown(
                "expression 'object.spec.x == 1' resulted in error: no such key: spec".to_owned()
            )
        );
        let heavy = "lists.range(100000).all(x, lists.range(1000).all(y, y < x + 100000))";
        assert!(matches!(judged(&[heavy; 9]), Verdict::Unknown(_)));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let list = json!([
            {"expression": "request.user == 'a'"}, {"expression": "1"}, {"expression": "object.x"},
            {"expression": ""},
        ]);
        let told: Vec<String> = mistakes(&list, "webhooks[0].matchConditions")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "webhooks[0].matchConditions[0].expression: Invalid value: \"request.user == 'a'\": \
                 compilation failed: ERROR: <input>:1:8: undefined field 'user'\n | request.user == \
                 'a'\n | .......^",
                "webhooks[0].matchConditions[1].expression: Invalid value: \"1\": must evaluate to bool",
            ]
        );
    }
}
