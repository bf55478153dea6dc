//! Runs rules on an object and the one that it replaces.

use std::collections::BTreeMap;

use coracle_api::kinds::rules::Judged;
use coracle_api::{FieldError, FieldErrorKind};
use serde_json::Value as Json;

use super::path::Path;
use super::{Node, OBJECT_LIMIT, Reason, Rule};
use crate::cost::{EXPRESSION_LIMIT, OUT_OF_BUDGET};
use crate::value::List;
use crate::{EvalError, Evaluated, Program, Value};

/// Bytes that a message may have.
const MAX_MESSAGE: usize = 5120;

/// That no further rule is to run: the reason was told.
struct Stop;

pub(super) fn judge(root: &Node, new: &Json, old: Option<&Json>) -> Judged {
    let mut run = Run { budget: OBJECT_LIMIT, judged: Judged::default() };
    let past = Past { old, nearest: old.map(|old| (new, old)) };
    // Whatever stops it was told.
    let _ = run.node(root, &Path::Root, new, past);
    run.judged
}

impl Rule {
    /// What errors call it.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }
}

struct Run {
    budget: u64,
    judged: Judged,
}

/// What is known of a value before.
#[derive(Clone, Copy)]
struct Past<'j> {
    old: Option<&'j Json>,
    /// The value and what it was, or the same of the nearest one above of which that can be told.
    nearest: Option<(&'j Json, &'j Json)>,
}

impl<'j> Past<'j> {
    /// Of the part `new`, which was `old` if that can be told.
    fn below(self, new: &'j Json, old: Option<&'j Json>) -> Self {
        Self { old, nearest: old.map(|old| (new, old)).or(self.nearest) }
    }

    /// Whether nothing changed here.
    fn is_unchanged(self) -> bool {
        self.nearest.is_some_and(|(new, old)| new == old)
    }
}

impl Run {
    fn node(&mut self, node: &Node, path: &Path, value: &Json, past: Past) -> Result<(), Stop> {
        if value.is_null() {
            return Ok(());
        }
        for rule in &node.rules {
            self.rule(rule, node, path, value, past)?;
        }
        for further in &node.further {
            self.node(further, path, value, past)?;
        }
        match value {
            Json::Array(items) => self.items(node, path, items, past),
            Json::Object(fields) => self.fields(node, path, fields, past),
            _ => Ok(()),
        }
    }

    fn fields(
        &mut self,
        node: &Node,
        path: &Path,
        fields: &serde_json::Map<String, Json>,
        past: Past,
    ) -> Result<(), Stop> {
        for (name, value) in fields {
            let old = past.old.filter(|_| !node.is_atomic).and_then(|old| old.get(name));
            let past = past.below(value, old);
            if let Some(others) = &node.others {
                self.node(others, &Path::Key(path, name), value, past)?;
            }
            if let Some(property) = node.properties.get(name) {
                self.node(property, &Path::Field(path, name), value, past)?;
            }
        }
        Ok(())
    }

    fn items(&mut self, node: &Node, path: &Path, items: &[Json], past: Past) -> Result<(), Stop> {
        let Some(below) = &node.items else { return Ok(()) };
        let mut before = BTreeMap::new();
        if let (Some(Json::Array(old)), false) = (past.old, node.keys.is_empty()) {
            before.extend(old.iter().map(|item| (List::key_of(item, &node.keys), item)));
        }
        for (index, item) in items.iter().enumerate() {
            let old = match before.is_empty() {
                true => None,
                false => before.get(&List::key_of(item, &node.keys)).copied(),
            };
            self.node(below, &Path::Index(path, index), item, past.below(item, old))?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Rule,
        node: &Node,
        path: &Path,
        value: &Json,
        past: Past,
    ) -> Result<(), Stop> {
        if rule.is_transition && past.old.is_none() && !rule.has_optional_old {
            return Ok(());
        }
        let told = |why: String| FieldError::invalid(path.shown(""), &node.ty.as_str().into(), why);
        let given = given(value, past.old);
        match self.holds(rule, &given) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err((why, stop)) => {
                self.judged.errors.push(told(why));
                return if stop { Err(Stop) } else { Ok(()) };
            }
        }
        let is_forgiven = !rule.is_transition && past.is_unchanged();
        let detail = match self.detail(rule, &given) {
            Ok(detail) => detail,
            Err(why) => {
                self.tell(told(why), is_forgiven);
                return Err(Stop);
            }
        };
        let (kind, detail) = match rule.reason {
            Reason::Invalid => (FieldErrorKind::Invalid(shown(value)), detail),
            Reason::Forbidden => (FieldErrorKind::Forbidden, detail),
            Reason::Required => (FieldErrorKind::Required, detail),
            Reason::Duplicate => (FieldErrorKind::Duplicate(shown(value)), String::new()),
        };
        let error = FieldError { field: path.shown(&rule.field_path), kind, detail };
        self.tell(error, is_forgiven);
        Ok(())
    }

    /// Whether `rule` holds; else why that cannot be said, and whether no more is to run.
    fn holds(&mut self, rule: &Rule, given: &[(&str, &Json)]) -> Result<bool, (String, bool)> {
        let name = rule.name();
        let no_match = |why: String| {
            format!(
                "'{why}': call arguments did not match a supported operator, function or macro \
                 signature for rule: {name}"
            )
        };
        if self.budget == 0 {
            return Err((OUT_OF_BUDGET.to_owned(), true));
        }
        let Evaluated { value, cost } = rule.program.evaluate(given, EXPRESSION_LIMIT);
        if cost > self.budget && !matches!(value, Err(EvalError::CostExceeded)) {
            return Err((OUT_OF_BUDGET.to_owned(), true));
        }
        self.budget = self.budget.saturating_sub(cost);
        match value {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err((no_match(format!("no such overload: {}", other.type_name())), false)),
            Err(why @ EvalError::CostExceeded) => {
                let why = format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds \
                     limit for rule: {name}"
                );
                Err((why, true))
            }
            Err(EvalError::Failed(why)) => match why.starts_with("no such overload") {
                true => Err((no_match(why), false)),
                false => Err((format!("{why} evaluating rule: {name}"), false)),
            },
        }
    }

    /// What is told of `rule` when it does not hold.
    fn detail(&mut self, rule: &Rule, given: &[(&str, &Json)]) -> Result<String, String> {
        let said = match &rule.message_expression {
            None => None,
            Some(program) => self.message(program, given)?,
        };
        Ok(said.unwrap_or_else(|| match rule.message.is_empty() {
            true => format!("failed rule: {}", rule.source),
            false => rule.message.clone(),
        }))
    }

    fn tell(&mut self, error: FieldError, is_forgiven: bool) {
        match is_forgiven {
            true => self.judged.warnings.push(error.to_string()),
            false => self.judged.errors.push(error),
        }
    }

    /// What an expression says for a message; none when it fails. An error when it costs too much.
    fn message(
        &mut self,
        program: &Program,
        given: &[(&str, &Json)],
    ) -> Result<Option<String>, String> {
        let Evaluated { value, cost } = program.evaluate(given, EXPRESSION_LIMIT);
        if matches!(value, Err(EvalError::CostExceeded)) || cost > self.budget {
            return Err(
                "messageExpression evaluation failed due to running out of cost budget, no \
                        further validation rules will be run"
                    .to_owned(),
            );
        }
        self.budget = self.budget.saturating_sub(cost);
        let message = value.ok().and_then(|value| Some(value.as_text()?.trim().to_owned()));
        Ok(message.filter(|it| !it.is_empty() && it.len() <= MAX_MESSAGE && !it.contains('\n')))
    }
}

fn given<'j>(value: &'j Json, old: Option<&'j Json>) -> Vec<(&'static str, &'j Json)> {
    [("self", value)].into_iter().chain(old.map(|old| ("oldSelf", old))).collect()
}

/// `value` as errors show it; nothing of what is large.
fn shown(value: &Json) -> String {
    match value {
        Json::Object(_) | Json::Array(_) => String::new(),
        other => other.to_string(),
    }
}
