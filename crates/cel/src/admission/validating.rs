//! What a ValidatingAdmissionPolicy says of a request.

use serde_json::Value as Json;

use super::budget::{self, Budget, Expression};
use super::conditions::{Conditions, Verdict};
use super::environment::{Policy, Wanted, has_params};
use super::subject::Subject;
use crate::scope::Composed;
use crate::value::Value;

/// Bytes that a message may have.
const MAX_MESSAGE: usize = 5120;

/// The expressions of a policy.
#[derive(Debug)]
pub struct Validating {
    fails_open: bool,
    conditions: Conditions,
    variables: Vec<Composed>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

/// What it says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What it has against the request.
    pub refusals: Vec<Refusal>,
    /// What is to be remembered of the request, in order.
    pub annotations: Vec<Annotation>,
}

/// What a policy has against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of which validation.
    pub index: usize,
    /// In words.
    pub message: String,
    /// `Forbidden`, or what the policy says; empty for what went wrong.
    pub reason: String,
}

/// What is to be remembered of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Its key, without the policy's name.
    pub key: String,
    /// Its value; or why there is none.
    pub value: Result<String, String>,
}

impl Validating {
    /// Those of the policy `spec`.
    #[must_use]
    pub fn of(spec: &Json) -> Self {
        let policy = Policy::of(spec);
        let items = |field: &str| spec[field].as_array().into_iter().flatten();
        let text = |item: &Json, field: &str| item[field].as_str().unwrap_or_default().to_owned();
        let validation = |item: &Json| {
            let said = text(item, "messageExpression");
            let message_expression = match said.trim() {
                "" => None,
                _ => Some(policy.expression(&said, Wanted::Text, false)),
            };
            Validation {
                expression: policy.expression(&text(item, "expression"), Wanted::Bool, true),
                message: text(item, "message").trim().to_owned(),
                message_expression,
                reason: match text(item, "reason") {
                    reason if reason.is_empty() => "Invalid".to_owned(),
                    reason => reason,
                },
            }
        };
        let annotation = |item: &Json| {
            let source = text(item, "valueExpression");
            (text(item, "key"), policy.expression(&source, Wanted::TextOrNull, true))
        };
        let validations = items("validations").map(validation).collect();
        let annotations = items("auditAnnotations").map(annotation).collect();
        Self {
            fails_open: spec["failurePolicy"] == "Ignore",
            conditions: Conditions::of(&spec["matchConditions"], has_params(spec)),
            variables: policy.variables,
            validations,
            annotations,
        }
    }

    /// What they say of `subject`.
    #[must_use]
    pub fn judge(&self, subject: Subject) -> Judgement {
        match self.conditions.judge(subject) {
            Verdict::Holds => {}
            Verdict::Fails => return Judgement::default(),
            Verdict::Unknown(why) => return self.failed(why),
        }
        let refusals = match self.refusals(subject) {
            Ok(refusals) => refusals,
            Err(why) => return self.failed(why),
        };
        match self.remembered(subject) {
            Ok(annotations) => Judgement { refusals, annotations },
            Err(why) => self.failed(why),
        }
    }

    /// What comes of a mistake.
    fn failed(&self, message: String) -> Judgement {
        let refusals = self.mistake(0, message).into_iter().collect();
        Judgement { refusals, ..Judgement::default() }
    }

    fn mistake(&self, index: usize, message: String) -> Option<Refusal> {
        (!self.fails_open).then_some(Refusal { index, message, reason: String::new() })
    }

    fn refusals(&self, subject: Subject) -> Result<Vec<Refusal>, String> {
        let scope = subject.scope(&self.variables);
        let mut budget = Budget(budget::EXPRESSIONS);
        let mut broken = Vec::new();
        for (index, validation) in self.validations.iter().enumerate() {
            match budget.run(&validation.expression, &scope) {
                Ok(Ok(Value::Bool(true))) => {}
                Ok(Ok(_)) => broken.push((index, Ok(validation))),
                Ok(Err(why)) => broken.push((index, Err(why))),
                Err(exhausted) => return Err(exhausted.to_string()),
            }
        }
        // What variables came to is asked again, as nobody is authorized here.
        let scope = subject.quiet_scope(&self.variables);
        let mut refusals = Vec::new();
        for (index, validation) in broken {
            let refusal = match validation {
                Err(why) => self.mistake(index, why),
                Ok(validation) => match validation.said(&mut budget, &scope) {
                    Ok(message) => {
                        Some(Refusal { index, message, reason: validation.reason.clone() })
                    }
                    Err(exhausted) => {
                        self.mistake(index, format!("failed messageExpression: {exhausted}"))
                    }
                },
            };
            refusals.extend(refusal);
        }
        Ok(refusals)
    }

    fn remembered(&self, subject: Subject) -> Result<Vec<Annotation>, String> {
        let scope = subject.quiet_scope(&self.variables);
        let mut budget = Budget(budget::EXPRESSIONS);
        let mut all = Vec::new();
        for (key, expression) in &self.annotations {
            let value = match budget.run(expression, &scope).map_err(|it| it.to_string())? {
                Ok(Value::Text(text)) => match text.trim() {
                    "" => continue,
                    text => Ok(text.to_owned()),
                },
                Ok(_) => continue,
                Err(_) if self.fails_open => continue,
                Err(why) => Err(why),
            };
            all.push(Annotation { key: key.clone(), value });
        }
        Ok(all)
    }
}

impl Validation {
    /// What is said when it does not hold.
    fn said<'a>(
        &'a self,
        budget: &mut Budget,
        scope: &crate::scope::Scope<'a>,
    ) -> Result<String, budget::Exhausted> {
        let said = match &self.message_expression {
            Some(expression) => budget.run(expression, scope)?.ok(),
            None => None,
        };
        let said = said.as_ref().and_then(Value::as_text).map(str::trim);
        let said = said.filter(|it| it.len() <= MAX_MESSAGE && !it.contains('\n'));
        Ok(match (said.unwrap_or_default(), self.message.as_str()) {
            ("", "") => format!("failed expression: {}", self.expression.source.trim()),
            ("", message) | (message, _) => message.to_owned(),
        })
    }
}
