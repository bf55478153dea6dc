//! Kubernetes' expressions: CEL with types, costs and the libraries of the API. Pure: no I/O, no
//! clock, no randomness.
//!
//! [`Environment`] says what an expression may name; [`Environment::compile`] makes a [`Program`] of
//! it or says what is wrong, in cel-go's words; [`Program::evaluate`] runs it within a cost. Values
//! borrow the JSON that they are read from.
//!
//! Whatever an expression or a value holds, nothing here panics, recurses deeper than
//! [`parse`](mod@parse) lets through, or takes more than [`meter`] grants.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod admission;
pub mod authentication;
mod authorizer;
mod check;
mod cost;
mod declared;
mod described;
mod estimate;
mod eval;
mod function;
mod issue;
mod library;
mod meter;
mod node;
mod parse;
mod pattern;
pub mod rules;
mod scope;
mod table;
mod text;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use authorizer::{Authorizer, Decision, Question};
pub use declared::{declared, escape};
pub use described::described;
pub use issue::Issue;
pub use meter::EvalError;
pub use types::{Field, Identity, ListType, ObjectType, Type};
pub use value::{List, Map, Struct, Value};

use std::sync::Arc;

use serde_json::Value as Json;

use eval::Evaluation;
use function::Context;
use meter::Meter;
use scope::{Given, Scope};

/// What expressions may name.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
    /// The variables of a policy that are declared so far, by their place.
    composed: Arc<Vec<scope::Declared>>,
    /// Whether there are `variables` at all.
    composes: bool,
    /// Whether objects and patches can be made.
    patches: bool,
}

impl Environment {
    /// With functions, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.to_owned(), ty));
        self
    }

    /// What `source` means.
    ///
    /// # Errors
    /// When it is no expression, or none that makes sense here.
    pub fn compile(&self, source: &str) -> Result<Program, Vec<Issue>> {
        let tree = parse::parse(source)?;
        let checked = check::check(source, &tree, self)?;
        let (names, types) = self.variables.iter().cloned().unzip();
        Ok(Program { names, types, checked })
    }
}

/// An expression, ready to run.
pub struct Program {
    names: Vec<String>,
    types: Vec<Type>,
    checked: check::Checked,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("root", &self.checked.root).finish_non_exhaustive()
    }
}

/// What an evaluation came to, and what it cost.
#[derive(Debug)]
pub struct Evaluated<'a> {
    /// What it came to.
    pub value: Result<Value<'a>, EvalError>,
    /// What it cost.
    pub cost: u64,
}

impl Program {
    /// The type of what it comes to.
    #[must_use]
    pub fn result_type(&self) -> &Type {
        &self.checked.result
    }

    /// Whether it names the variable `name`.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.checked.used.iter().any(|place| self.names.get(*place).is_some_and(|it| it == name))
    }

    /// Runs it with JSON for its variables, read by their types. A variable that is optional and not
    /// given is absent. `limit` is what it may cost.
    #[must_use]
    pub fn evaluate<'a>(&'a self, given: &[(&'a str, &'a Json)], limit: u64) -> Evaluated<'a> {
        let given = given.iter().map(|(name, json)| (*name, Given::Json(json))).collect();
        self.run(&Scope::new(given, &[]), limit)
    }

    pub(crate) fn run<'a>(&'a self, scope: &Scope<'a>, limit: u64) -> Evaluated<'a> {
        let value_of = |(name, ty): (&String, &'a Type)| match scope.value(name) {
            Some(Given::Json(json)) => Some(Value::of(json, ty)),
            Some(Given::Value(value)) => Some(value.clone()),
            None => matches!(ty, Type::Optional(_)).then_some(Value::Optional(None)),
        };
        let variables: Vec<Option<Value<'a>>> =
            self.names.iter().zip(&self.types).map(value_of).collect();
        let context = Context { meter: Meter::new(limit), patterns: &self.checked.patterns };
        let names = &self.names;
        let mut evaluation =
            Evaluation { variables: &variables, names, scope, locals: Vec::new(), context };
        let value = evaluation.node(&self.checked.root).map_err(EvalError::from);
        Evaluated { value, cost: evaluation.context.meter.cost() }
    }
}
