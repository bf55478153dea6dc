//! `x-kubernetes-validations`: rules in a schema, compiled once and run on every object that is
//! written.

mod budget;
mod compile;
mod path;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use coracle_api::FieldError;
use coracle_api::kinds::rules::{self as api, Judged};
use serde_json::Value as Json;

use crate::Program;

/// What all rules may cost on one object.
pub const OBJECT_LIMIT: u64 = 10_000_000;

/// The rules of a schema.
#[derive(Debug)]
pub struct Rules {
    root: Node,
}

/// The rules of a part of a schema, and of the parts below.
#[derive(Debug, Default)]
struct Node {
    /// The part's type, which errors show for values that are large.
    ty: String,
    rules: Vec<Rule>,
    properties: BTreeMap<String, Node>,
    others: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// What only adds rules: `allOf`.
    further: Vec<Node>,
    /// Whether the old value of a member can be told.
    is_atomic: bool,
    /// What tells elements of a list apart; without it their old values cannot be told.
    keys: Vec<String>,
}

/// A rule.
#[derive(Debug)]
struct Rule {
    program: Program,
    is_transition: bool,
    has_optional_old: bool,
    message: String,
    message_expression: Option<Program>,
    reason: Reason,
    /// Where errors point, below the value.
    field_path: String,
    source: String,
}

#[derive(Debug, Clone, Copy)]
enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

impl Rules {
    /// The rules of `schema`, which stands at `path`, and what is wrong with them; `None` when there
    /// are no rules.
    #[must_use]
    pub fn compile(schema: &Json, path: &str) -> (Option<Self>, Vec<FieldError>) {
        let (root, errors) = compile::compile(schema, path, true);
        (root.map(|root| Self { root }), errors)
    }

    /// What they say of `new`, which takes the place of `old`.
    #[must_use]
    pub fn judge(&self, new: &Json, old: Option<&Json>) -> Judged {
        run::judge(&self.root, new, old)
    }
}

/// Whether `schema` has a rule anywhere.
#[must_use]
pub fn has_rules(schema: &Json) -> bool {
    match schema {
        Json::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(has_rules)
        }
        Json::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

/// The rules of a schema, compiled when the first object is judged: most definitions of an operator
/// are read at every start, and few are written to.
#[derive(Debug)]
pub struct Lazy {
    schema: Arc<Json>,
    compiled: OnceLock<Option<Rules>>,
}

impl Lazy {
    /// The rules of `schema`, if it has some.
    #[must_use]
    pub fn of(schema: &Arc<Json>) -> Option<Self> {
        has_rules(schema).then(|| Self { schema: Arc::clone(schema), compiled: OnceLock::new() })
    }
}

impl api::Rules for Lazy {
    fn judge(&self, new: &Json, old: Option<&Json>) -> Judged {
        // What is wrong with a rule was told when the definition was written.
        let compiled = || compile::compile(&self.schema, "", false).0.map(|root| Rules { root });
        let rules = self.compiled.get_or_init(compiled);
        rules.as_ref().map(|rules| rules.judge(new, old)).unwrap_or_default()
    }
}
