//! The grammar of label selectors' text form, with upstream's sentences for what does not fit.

use serde_json::json;

use crate::names;
use crate::selector::{Operator, Requirement, SelectorError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Unknown,
    End,
    Close,
    Open,
    Comma,
    Not,
    Word,
    Operator(Operator),
}

/// Parses `text` into its requirements, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: scan(text), position: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::Word | Token::Not, _) => {
                requirements.push(parser.requirement().map_err(SelectorError::Requirement)?);
                if parser.end_or_comma()? {
                    return Ok(requirements);
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, found) => {
                return Err(SelectorError::Syntax(format!(
                    "found '{found}', expected: !, identifier, or 'end of string'"
                )));
            }
        }
    }
}

struct Parser {
    /// Ends with [`Token::End`].
    tokens: Vec<(Token, String)>,
    position: usize,
}

/// `in` and `notin` are operators only after a key; elsewhere they are words.
fn as_word(token: Token, text: &str) -> Token {
    if matches!(text, "in" | "notin") { Token::Word } else { token }
}

impl Parser {
    fn raw(&self) -> (Token, &str) {
        self.tokens.get(self.position).map_or((Token::End, ""), |(token, text)| (*token, text))
    }

    fn peek(&self) -> (Token, &str) {
        let (token, text) = self.raw();
        (as_word(token, text), text)
    }

    fn next(&mut self) -> (Token, String) {
        let (token, text) = self.raw();
        let taken = (token, text.to_string());
        self.position += 1;
        taken
    }

    fn next_word(&mut self) -> (Token, String) {
        let (token, text) = self.next();
        (as_word(token, &text), text)
    }

    /// After a requirement: true at the end, false when another must follow.
    fn end_or_comma(&mut self) -> Result<bool, SelectorError> {
        match self.next_word() {
            (Token::End, _) => Ok(true),
            (Token::Comma, _) => match self.peek() {
                (Token::Word | Token::Not, _) => Ok(false),
                (_, found) => Err(SelectorError::Syntax(format!(
                    "found '{found}', expected: identifier after ','"
                ))),
            },
            (_, found) => Err(SelectorError::Syntax(format!(
                "found '{found}', expected: ',' or 'end of string'"
            ))),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next_word();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next_word();
        }
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let bad = names::qualified_name(&key);
        if !bad.is_empty() {
            return Err(format!("<nil>: Invalid value: {}: {}", json!(key), bad.join("; ")));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, []);
        }
        let operator = match self.next() {
            (Token::Operator(operator), _) => operator,
            (_, found) => {
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.exact()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn exact(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_word() {
            (Token::Word, value) => Ok(value),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.next_word() {
            (Token::Open, _) => {}
            (_, found) => return Err(format!("found '{found}' expected: '('")),
        }
        match self.peek() {
            (Token::Word | Token::Comma, _) => self.members(),
            (Token::Close, _) => {
                self.position += 1;
                Ok(vec![String::new()])
            }
            (_, found) => Err(format!("found '{found}', expected: ',', ')' or identifier")),
        }
    }

    /// `a,b)`; a missing member is the empty string.
    fn members(&mut self) -> Result<Vec<String>, String> {
        let mut members = Vec::new();
        loop {
            members.push(match self.peek().0 {
                Token::Word => self.next_word().1,
                Token::Comma | Token::Close => String::new(),
                _ => {
                    let (_, found) = self.next_word();
                    return Err(format!("found '{found}', expected: ',', or identifier"));
                }
            });
            match self.next_word() {
                (Token::Close, _) => return Ok(members),
                (Token::Comma, _) => {}
                (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
            }
        }
    }
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let length = if is_symbol(first) {
            if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
        } else {
            rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(length);
        tokens.push((token(word), word.to_string()));
        rest = after.trim_start_matches(is_space);
    }
    tokens.push((Token::End, String::new()));
    tokens
}

fn token(text: &str) -> Token {
    match text {
        ")" => Token::Close,
        "(" => Token::Open,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::Operator(Operator::DoubleEquals),
        "=" => Token::Operator(Operator::Equals),
        "!=" => Token::Operator(Operator::NotEquals),
        ">" => Token::Operator(Operator::GreaterThan),
        "<" => Token::Operator(Operator::LessThan),
        "in" => Token::Operator(Operator::In),
        "notin" => Token::Operator(Operator::NotIn),
        _ if text.starts_with(is_symbol) => Token::Unknown,
        _ => Token::Word,
    }
}
