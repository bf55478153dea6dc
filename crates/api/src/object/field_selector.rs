//! Field selectors: `status.phase!=Running,spec.nodeName=n1`.

use std::fmt;

use serde_json::Value;

use crate::Kind;

/// One term: a field and the value it must or must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// `spec.nodeName`.
    pub field: String,
    /// The value compared with; an absent field is the empty string.
    pub value: String,
    /// `!=` instead of `=`.
    pub negated: bool,
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// Why a field selector is refused; the answer is 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Syntax {
        /// The whole text.
        selector: String,
        /// The term.
        term: String,
    },
    /// A backslash stands before something else than `\`, `,` or `=`.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// `,` or `=` in a value without a backslash.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
    /// The kind cannot be selected by this field.
    #[error("field label not supported: {0}")]
    NotSupported(String),
    /// The kind can only be selected by name and namespace.
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    OnlyMetadata(String),
}

impl FieldSelector {
    /// Parses `a=b,c==d,e!=f`; the empty text selects everything.
    ///
    /// # Errors
    /// When a term cannot be understood.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let parts = split_terms(text);
        let terms = parts.into_iter().filter(|part| !part.is_empty());
        let terms = terms.map(|part| parse_term(text, part)).collect::<Result<Vec<_>, _>>()?;
        // Nothing that is to be nothing: upstream takes that for everything.
        let says = |term: &FieldTerm| !term.field.is_empty() || !term.value.is_empty();
        Ok(Self { terms: terms.into_iter().filter(says).collect() })
    }

    /// Selects the object called `name`.
    pub fn name(name: &str) -> Self {
        let (field, value) = ("metadata.name".to_string(), name.to_string());
        Self { terms: vec![FieldTerm { field, value, negated: false }] }
    }

    /// The terms, in the order of the text.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, when there is one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.field == field && !term.negated)?;
        Some(&term.value)
    }

    /// Whether every field can be selected by in `kind`.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn check(&self, kind: &Kind) -> Result<(), FieldSelectorError> {
        let known = |field: &str| kind.field_pointer(field).is_some();
        match self.terms.iter().find(|term| !known(&term.field)) {
            None => Ok(()),
            Some(term) if kind.strategy.field_labels.is_empty() && kind.selectable.is_empty() => {
                Err(FieldSelectorError::OnlyMetadata(term.field.clone()))
            }
            Some(term) => Err(FieldSelectorError::NotSupported(term.field.clone())),
        }
    }

    /// Whether `object` of `kind` is selected. Fields that the kind does not know count as empty.
    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        self.terms.iter().all(|term| {
            let text = kind.field_text(&term.field, object).unwrap_or_default();
            (text == term.value) != term.negated
        })
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_term(selector: &str, term: &str) -> Result<FieldTerm, FieldSelectorError> {
    let syntax =
        || FieldSelectorError::Syntax { selector: selector.to_string(), term: term.to_string() };
    let at = term.find(['=', '!']).ok_or_else(syntax)?;
    let (field, rest) = term.split_at(at);
    let (negated, value) = if let Some(value) = rest.strip_prefix("!=") {
        (true, value)
    } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        (false, value)
    } else {
        return Err(syntax());
    };
    Ok(FieldTerm { field: field.to_string(), value: unescape(value)?, negated })
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let (mut out, mut chars) = (String::new(), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => return Err(FieldSelectorError::Escape(format!("\\{next}"))),
                None => return Err(FieldSelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            _ => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::STATEFUL_SETS;
    use serde_json::json;

    #[test]
    fn fields_are_compared_as_text_and_absent_ones_are_empty() {
        let mut kind = STATEFUL_SETS;
        kind.strategy.field_labels =
            &[("status.phase", "/status/phase"), ("spec.hostNetwork", "/spec/hostNetwork")];
        let object = json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true}});
        let matches = |text| {
            let selector = FieldSelector::parse(text).unwrap();
            selector.check(&kind).unwrap();
            selector.matches(&kind, &object)
        };
        assert!(matches("metadata.name=a,spec.hostNetwork==true,status.phase!=Running"));
        assert!(matches("") && matches("status.phase="));
        assert!(!matches("metadata.name!=a"));
        let unknown = FieldSelector::parse("spec.x=1").unwrap();
        assert_eq!(
            unknown.check(&kind).unwrap_err().to_string(),
            "field label not supported: spec.x"
        );
        assert_eq!(
            unknown.check(&STATEFUL_SETS).unwrap_err().to_string(),
            "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    #[test]
    fn values_may_be_escaped_and_are_shown_escaped() {
        let selector = FieldSelector::parse(r"a=x\,y\=z,b!=1").unwrap();
        assert_eq!(selector.exact("a"), Some("x,y=z"));
        assert_eq!(selector.exact("b"), None);
        assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
        assert_eq!(
            FieldSelector::parse("nothing").unwrap_err().to_string(),
            "invalid selector: 'nothing'; can't understand 'nothing'"
        );
        assert_eq!(FieldSelector::parse("a=b=c").unwrap_err(), FieldSelectorError::Unescaped('='));
        assert!(FieldSelector::parse(r"a=\x").is_err() && FieldSelector::parse("a!b").is_err());
    }
}
