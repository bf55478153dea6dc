//! Regular expressions: those that an expression has as literals are compiled once.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::meter::Failure;

/// Bytes that a compiled pattern may have; a pattern that is counted out (`(a{1000}){1000}`) has more.
const MAX_SIZE: usize = 1 << 20;

/// The patterns of an expression.
#[derive(Debug, Default)]
pub(crate) struct Patterns(BTreeMap<String, Regex>);

impl Patterns {
    /// Compiles `pattern` for later.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn learn(&mut self, pattern: &str) -> Result<(), String> {
        if !self.0.contains_key(pattern) {
            self.0.insert(pattern.to_owned(), compile(pattern)?);
        }
        Ok(())
    }

    /// What `use_it` makes of `pattern`.
    pub(crate) fn with<T>(
        &self,
        pattern: &str,
        use_it: impl FnOnce(&Regex) -> T,
    ) -> Result<T, Failure> {
        match self.0.get(pattern) {
            Some(known) => Ok(use_it(known)),
            None => compile(pattern).map(|regex| use_it(&regex)).map_err(Failure::new),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_SIZE).build();
    built.map_err(|error| {
        let why = error.to_string();
        let last = why.lines().last().unwrap_or_default();
        format!("error parsing regexp: {}: `{pattern}`", last.trim_start_matches("error: "))
    })
}
