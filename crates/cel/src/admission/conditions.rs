//! `matchConditions`: under which conditions a webhook or policy is asked about a request.

use coracle_api::FieldError;
use serde_json::Value as Json;

use super::budget::{self, Budget, Expression};
use super::environment::{Wanted, compiled, of_conditions};
use super::subject::Subject;
use crate::value::Value;

/// The conditions of a webhook or a policy.
#[derive(Debug)]
pub struct Conditions(Vec<Expression>);

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

impl Conditions {
    /// Those of `list`, which was checked when it was written, of a policy that takes params or not.
    #[must_use]
    pub fn of(list: &Json, has_params: bool) -> Self {
        let environment = of_conditions(has_params);
        let condition = |item: &Json| {
            let source = item["expression"].as_str().unwrap_or_default().to_owned();
            let program = compiled(&environment, &source, Wanted::Bool);
            Expression { source, program }
        };
        Self(list.as_array().into_iter().flatten().map(condition).collect())
    }

    /// Whether there are none, so that nothing need be known to judge them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say. One that fails makes up for others that cannot be told.
    #[must_use]
    pub fn judge(&self, subject: Subject) -> Verdict {
        let scope = subject.scope(&[]);
        let (mut budget, mut unknown) = (Budget(budget::CONDITIONS), Vec::new());
        for expression in &self.0 {
            match budget.run(expression, &scope) {
                Ok(Ok(Value::Bool(true))) => {}
                Ok(Ok(_)) => return Verdict::Fails,
                Ok(Err(why)) => unknown.push(why),
                Err(exhausted) => return Verdict::Unknown(exhausted.to_string()),
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
pub fn mistakes(list: &Json, path: &str, has_params: bool) -> Vec<FieldError> {
    let environment = of_conditions(has_params);
    let mut errors = Vec::new();
    for (index, item) in list.as_array().into_iter().flatten().enumerate() {
        let expression = item["expression"].as_str().unwrap_or_default().trim();
        if expression.is_empty() {
            continue;
        }
        if let Err(why) = compiled(&environment, expression, Wanted::Bool) {
            let field = format!("{path}[{index}].expression");
            errors.push(FieldError::invalid(field, &expression.into(), why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::tests::Nobody;

    fn judged(expressions: &[&str]) -> Verdict {
        let list: Vec<Json> = expressions.iter().map(|it| json!({"expression": it})).collect();
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web"}}});
        let request = json!({
            "operation": "CREATE", "name": "a", "dryRun": false,
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "userInfo": {"username": "alice", "groups": ["devs"], "extra": {"a.b/c": ["d"]}},
        });
        let subject = Subject { object: &object, ..Subject::nothing(&request, &Nobody) };
        Conditions::of(&list.into(), false).judge(subject)
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
        let told: Vec<String> = mistakes(&list, "webhooks[0].matchConditions", false)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "webhooks[0].matchConditions[0].expression: Invalid value: \"request.user == 'a'\": \
                 compilation failed: ERROR: <input>:1:8: undefined field 'user'\n | request.user == \
                 'a'\n | .......^",
                "webhooks[0].matchConditions[1].expression: Invalid value: \"1\": must evaluate to bool but got int",
                "webhooks[0].matchConditions[2].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn",
            ]
        );
    }
}
