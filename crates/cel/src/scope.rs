//! What an expression is evaluated with: values by name, and the variables of a policy, which come to
//! something when they are named for the first time.

use std::cell::{Cell, RefCell};

use serde_json::Value as Json;

use crate::Program;
use crate::cost::EXPRESSION_LIMIT;
use crate::function::Outcome;
use crate::meter::{EvalError, Failure};
use crate::types::Type;
use crate::value::Value;

/// A variable of a policy, or why it is none.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) name: String,
    pub(crate) program: Result<Program, String>,
}

/// A variable of a policy, as those after it may name it.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// Steps to its deepest leaf.
    pub(crate) depth: usize,
}

/// What stands for a name.
pub(crate) enum Given<'a> {
    /// Read by the type that the name was declared with.
    Json(&'a Json),
    /// As it is.
    Value(Value<'a>),
}

/// What expressions are evaluated with.
pub(crate) struct Scope<'a> {
    given: Vec<(&'a str, Given<'a>)>,
    composed: &'a [Composed],
    /// What the variables came to, those that were named.
    made: RefCell<Vec<Option<Outcome<'a>>>>,
    /// What they have cost.
    spent: Cell<u64>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(given: Vec<(&'a str, Given<'a>)>, composed: &'a [Composed]) -> Self {
        let made = RefCell::new(Vec::new());
        Self { given, composed, made, spent: Cell::new(0) }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Given<'a>> {
        self.given.iter().find(|(it, _)| *it == name).map(|(_, value)| value)
    }

    /// What variables have cost since this was asked last.
    pub(crate) fn take_spent(&self) -> u64 {
        self.spent.take()
    }

    /// What the variable at `place` comes to. One names only those before it, so that this ends.
    pub(crate) fn composed(&self, place: usize) -> Outcome<'a> {
        let known = self.made.borrow().get(place).cloned().flatten();
        if let Some(known) = known {
            return known;
        }
        let Some(composed) = self.composed.get(place) else {
            return Err(Failure::new("no such attribute(s): variables"));
        };
        let made = self.make(composed);
        let mut all = self.made.borrow_mut();
        if all.len() <= place {
            all.resize(place.saturating_add(1), None);
        }
        all[place] = Some(made.clone());
        made
    }

    fn make(&self, Composed { name, program }: &'a Composed) -> Outcome<'a> {
        let program = match program {
            Ok(program) => program,
            Err(why) => {
                let why = format!("composited variable \"{name}\" fails to compile: {why}");
                return Err(Failure::Error(why));
            }
        };
        let evaluated = program.run(self, EXPRESSION_LIMIT);
        self.spent.set(self.spent.get().saturating_add(evaluated.cost));
        evaluated.value.map_err(|why: EvalError| {
            Failure::Error(format!("composited variable \"{name}\" fails to evaluate: {why}"))
        })
    }
}
