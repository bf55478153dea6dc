//! What is wrong with an expression, and where.

use std::fmt;

/// A mistake in an expression, shown as upstream's tools show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The text of the line.
    snippet: Option<String>,
}

impl Issue {
    /// A mistake at a byte of `source`.
    pub(crate) fn at(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = source.get(..offset.min(source.len())).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self::placed(source, line, column, message)
    }

    /// A mistake at a line and a column of `source`, both from 1.
    pub(crate) fn placed(
        source: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Self {
        let snippet = source.split('\n').nth(line.saturating_sub(1));
        let snippet = snippet.map(|line| line.replace('\t', " "));
        Self { line, column, message: message.into(), snippet }
    }

    /// One that stands nowhere in particular.
    pub(crate) fn of_all(source: &str, message: impl Into<String>) -> Self {
        Self::placed(source, 1, 1, message)
    }

    /// All of `issues`, one after the other.
    #[must_use]
    pub fn show_all(issues: &[Self]) -> String {
        issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// `ERROR: <input>:1:6: what` and the line, with dots up to the place; wide ones below what is wide.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR: <input>:{}:{}: {}", self.line, self.column, self.message)?;
        let Some(snippet) = &self.snippet else { return Ok(()) };
        write!(f, "\n | {snippet}\n | ")?;
        let mut letters = snippet.chars();
        for letter in letters.by_ref().take(self.column.saturating_sub(1)) {
            f.write_str(if letter.is_ascii() { "." } else { "．" })?;
        }
        f.write_str(match letters.next() {
            Some(letter) if !letter.is_ascii() => "＾",
            _ => "^",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown_below_its_line() {
        let shown = Issue::at("a &&\n\tself.x", 10, "oh").to_string();
        assert_eq!(shown, "ERROR: <input>:2:6: oh\n |  self.x\n | .....^");
        let wide = Issue::at("'日本' + x", 11, "oh").to_string();
        assert_eq!(wide, "ERROR: <input>:1:8: oh\n | '日本' + x\n | .．．....^");
        assert_eq!(Issue::at("x", 99, "oh").column, 2, "past the end is the end");
    }
}
