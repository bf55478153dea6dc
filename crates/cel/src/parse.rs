//! From text to a tree. Grammar, tree and macros of one variable are the `cel` crate's; what may go
//! into its parser is bounded here, because it recurses, and the macros that it lacks are added.

mod bounds;
mod expand;

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::Parser;

use crate::Issue;

/// How deep the parser may go into its own rules: deeper than [`bounds`] lets anything through.
const RULES: u16 = 1000;

/// The parser's stack. Only what is touched of it takes memory.
const STACK: usize = 16 << 20;

/// An expression, its macros expanded.
pub(crate) struct Tree {
    pub(crate) root: IdedExpr,
    /// A bound for the steps from its root to a leaf.
    pub(crate) depth: usize,
    places: SourceInfo,
}

impl Tree {
    /// The byte of the source at which the expression `id` is told of.
    pub(crate) fn offset(&self, id: u64) -> usize {
        self.places.offset_for(id).map_or(0, |(start, _)| start as usize)
    }
}

/// The tree of `source`.
///
/// # Errors
/// When it is too long, too deep, or no expression.
pub(crate) fn parse(source: &str) -> Result<Tree, Vec<Issue>> {
    let depth = bounds::check(source).map_err(|why| vec![Issue::of_all(source, why)])?;
    let (root, mut places) = with_room(|| raw(source))
        .unwrap_or_else(|| Err(vec![Issue::of_all(source, "no room to parse it")]))?;
    let root = expand::all(root, &mut places)
        .map_err(|(offset, message)| vec![Issue::at(source, offset, message)])?;
    Ok(Tree { root, depth, places })
}

/// What `parse` gives, run on a stack of its own: of one bracket in another the generated parser
/// makes up to 200 kilobytes of frames where nothing is optimized.
fn with_room<T: Send>(parse: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, parse).ok()?.join().ok()
    })
}

fn raw(source: &str) -> Result<(IdedExpr, SourceInfo), Vec<Issue>> {
    let parser = Parser::new()
        .max_recursion_depth(RULES)
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(true);
    parser.parse_with_source_info(source).map_err(|errors| {
        let issue = |error: cel::ParseError| {
            let (line, column) = error.pos;
            let place = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
            Issue::placed(source, place(line), place(column), error.msg)
        };
        errors.errors.into_iter().map(issue).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &str) -> String {
        parse(source).err().map(|issues| Issue::show_all(&issues)).unwrap_or_default()
    }

    #[test]
    fn what_is_no_expression_is_told_as_upstream_tells_it() {
        let end = "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', \
                   'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
        let expected = format!("ERROR: <input>:1:15: {end}\n | self.x == 1 &&\n | ..............^");
        assert_eq!(told("self.x == 1 &&"), expected);
        assert!(told("a b").starts_with("ERROR: <input>:1:3: Syntax error: extraneous input 'b'"));
        assert!(told("x.all(a.b, c)").contains("argument must be a simple name"));
        assert!(told("x.all(a.b, i, c)").contains("argument must be a simple name"));
        assert!(told("has(a)").contains("invalid argument to has() macro"));
        assert!(told("package").contains("reserved identifier: package"));
    }

    #[test]
    fn deep_and_long_expressions_are_refused_before_they_are_parsed() {
        let deep = [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{'a':", "1", "}"),
            ("!", "a", ""),
            ("-", "a", ""),
            ("a ? b : ", "c", ""),
            ("a + ", "a", ""),
            ("f(", "1", ")"),
            ("a.exists(x, ", "x", ")"),
            ("", "a", ".b"),
            ("", "a", "[0]"),
            ("", "a", ".b()"),
            ("a ? (b ? ", "1", " : 2) : 3"),
        ];
        for (before, middle, after) in deep {
            let text = |n: usize| format!("{}{middle}{}", before.repeat(n), after.repeat(n));
            assert!(told(&text(2000)).contains("recursion limit"), "{before}{middle}{after}");
            let fits =
                (1..bounds::MAX_DEPTH).rev().find(|n| !told(&text(*n)).contains("recursion"));
            assert!(fits.is_some_and(|n| n >= 12), "{before}{middle}{after}: {fits:?}");
        }
        assert!(told(&"x".repeat(200_000)).contains("code point size exceeds limit"));
        let wide: Vec<String> = (0..2000).map(|n| format!("a == {n}")).collect();
        assert_eq!(told(&wide.join(" || ")), "", "wide is not deep");
        assert_eq!(told("'(((((((((((' + \"\"\"[[[[[[[\"\"\" // ((((("), "");
    }
}
