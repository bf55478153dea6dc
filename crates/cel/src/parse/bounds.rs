//! How long and how deep an expression may be. Whatever walks its tree recurses; this keeps the tree
//! so shallow that a thread of two megabytes has room, and is itself a loop over the text.

/// Upstream's `expressionSizeCodePointLimit`, in characters.
const MAX_LENGTH: usize = 100_000;
/// How many steps there may be from the root of a tree to its leaf. Upstream has 250 of its own
/// kind; nobody writes forty.
pub(super) const MAX_DEPTH: usize = 120;

/// What a bracket or a choice counts for: the parser goes through all of its rules for one, which is
/// some ten kilobytes of stack where nothing is optimized.
const INWARDS: usize = 3;

/// What is open at a place of the text: operators and choices since the last comma.
#[derive(Default, Clone, Copy)]
struct Level {
    operators: usize,
    choices: usize,
}

/// How deep `source` is at most.
///
/// # Errors
/// When it is too long or too deep.
pub(super) fn check(source: &str) -> Result<usize, String> {
    let length = source.chars().count();
    if length > MAX_LENGTH {
        return Err(format!(
            "expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}"
        ));
    }
    match depth(source.as_bytes()) {
        depth if depth > MAX_DEPTH => {
            Err(format!("expression recursion limit exceeded: {MAX_DEPTH}"))
        }
        depth => Ok(depth),
    }
}

/// A bound for the depth of the tree of `source`, never less than it.
fn depth(source: &[u8]) -> usize {
    let (mut deepest, mut outer) = (0, 0);
    let mut open: Vec<Level> = Vec::new();
    let mut now = Level::default();
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        let next = source.get(at + 1);
        at += 1;
        match byte {
            b'"' | b'\'' => at = after_text(source, at - 1),
            b'/' if next == Some(&b'/') => at = after_line(source, at),
            b'(' | b'[' | b'{' => {
                outer += now.operators + now.choices + INWARDS;
                open.push(std::mem::take(&mut now));
            }
            b')' | b']' | b'}' => {
                if let Some(level) = open.pop() {
                    outer -= level.operators + level.choices + INWARDS;
                    // Closed, it is one more step of a chain: `a(…).b(…)`.
                    now = Level { operators: level.operators + 1, ..level };
                }
            }
            b',' => now = Level::default(),
            b'?' if !matches!(next, Some(b'.')) => {
                now = Level { operators: 0, choices: now.choices + INWARDS };
            }
            b':' => now.operators = 0,
            // Both of these are balanced by the parser, so that a chain of them is not deep.
            b'&' | b'|' if next == Some(byte) => {
                now.operators = 0;
                at += 1;
            }
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' => {
                now.operators += 1;
            }
            b'i' if is_in(source, at - 1) => now.operators += 1,
            _ => {}
        }
        deepest = deepest.max(outer + now.operators + now.choices);
    }
    deepest
}

/// Whether the operator `in` stands at `at`.
fn is_in(source: &[u8], at: usize) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    source.get(at..at + 2) == Some(b"in")
        && !is_word(at.checked_sub(1).and_then(|before| source.get(before)))
        && !is_word(source.get(at + 2))
}

/// Where the text that starts with the quote at `at` is over.
fn after_text(source: &[u8], at: usize) -> usize {
    let raw = at.checked_sub(1).and_then(|before| source.get(before));
    let is_raw = matches!(raw, Some(b'r' | b'R'));
    let quote = source[at];
    let width = if source.get(at..at + 3) == Some(&[quote; 3]) { 3 } else { 1 };
    let mut at = at + width;
    while let Some(byte) = source.get(at) {
        if *byte == b'\\' && !is_raw {
            at += 2;
        } else if source.get(at..at + width).is_some_and(|it| it.iter().all(|it| *it == quote)) {
            return at + width;
        } else if *byte == b'\n' && width == 1 {
            return at;
        } else {
            at += 1;
        }
    }
    at
}

fn after_line(source: &[u8], at: usize) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}
