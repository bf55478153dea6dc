//! The functions that expressions may call: rows of a table, written in `library`, found in `table`.

use crate::cost::Cost;
use crate::meter::{Failure, Meter};
use crate::pattern::Patterns;
use crate::types::Type;
use crate::value::Value;

/// What a running function has at hand.
pub(crate) struct Context<'p> {
    pub(crate) meter: Meter,
    pub(crate) patterns: &'p Patterns,
}

/// Applies a function to arguments that fit its signature.
pub(crate) type Run = for<'a> fn(&mut Context<'_>, &[Value<'a>]) -> Outcome<'a>;
/// What it comes to.
pub(crate) type Outcome<'a> = Result<Value<'a>, Failure>;

/// A function for some types: `string.(string) -> bool`, or `(string, string) -> bool` if it is
/// called without a receiver.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) cost: Cost,
    pub(crate) run: Run,
}

/// Rows, one a line: name, signature, cost, what it does.
macro_rules! rows {
    ($($name:literal $signature:literal $cost:ident => $run:expr;)*) => {
        &[$($crate::function::Row {
            name: $name,
            signature: $signature,
            cost: $crate::cost::Cost::$cost,
            run: $run,
        }),*]
    };
}
pub(crate) use rows;

/// A row whose signature was read.
pub(crate) struct Overload {
    pub(crate) name: &'static str,
    /// Whether the first parameter is a receiver.
    pub(crate) is_member: bool,
    pub(crate) parameters: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) cost: Cost,
    pub(crate) run: Run,
}

impl Overload {
    pub(crate) fn of(row: &Row) -> Self {
        let (before, result) = row.signature.split_once(" -> ").unwrap_or((row.signature, "dyn"));
        let (receiver, rest) = before.split_once(".(").unwrap_or(("", before));
        let inner = rest.trim_start_matches('(');
        let inner = inner.strip_suffix(')').unwrap_or(inner);
        let is_member = !receiver.is_empty();
        let receiver = is_member.then(|| Type::parse(receiver));
        let parameters = receiver.into_iter().chain(parameters(inner)).collect();
        let result = Type::parse(result);
        Self { name: row.name, is_member, parameters, result, cost: row.cost, run: row.run }
    }

    /// Whether it takes `args`, by what they turned out to be.
    pub(crate) fn takes(&self, args: &[Value]) -> bool {
        self.parameters.len() == args.len()
            && self.parameters.iter().zip(args).all(|(ty, value)| value.fits(ty))
    }
}

/// The types in `list(A), map(string, dyn)`.
fn parameters(text: &str) -> Vec<Type> {
    let (mut depth, mut start, mut all) = (0_i32, 0, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                all.push(Type::parse(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        all.push(Type::parse(&text[start..]));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart() {
        let ty = parameters("list(A), map(string, list(int)), dyn");
        let shown: Vec<String> = ty.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["list(dyn)", "map(string, list(int))", "dyn"]);
        assert!(parameters("").is_empty());
    }
}
