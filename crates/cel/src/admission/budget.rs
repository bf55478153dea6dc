//! What the expressions of one list may cost together.

use crate::cost::{EXPRESSION_LIMIT, OUT_OF_BUDGET};
use crate::scope::Scope;
use crate::value::Value;
use crate::{Evaluated, Program};

/// What conditions may cost.
pub(super) const CONDITIONS: u64 = 2_500_000;
/// What all else may cost: the validations of a binding, a mutation.
pub(super) const EXPRESSIONS: u64 = 10_000_000;

/// What is left.
pub(super) struct Budget(pub(super) u64);

/// That nothing is left, and nothing more is evaluated.
pub(super) struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(OUT_OF_BUDGET)
    }
}

/// An expression, or why it is none.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

impl Budget {
    /// What `expression` comes to, or why to nothing.
    pub(super) fn run<'a>(
        &mut self,
        expression: &'a Expression,
        scope: &Scope<'a>,
    ) -> Result<Result<Value<'a>, String>, Exhausted> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        let Evaluated { value, cost } = program.run(scope, EXPRESSION_LIMIT);
        let cost = cost.saturating_add(scope.take_spent());
        self.0 = self.0.checked_sub(cost).ok_or(Exhausted)?;
        Ok(value
            .map_err(|why| format!("expression '{}' resulted in error: {why}", expression.source)))
    }
}
