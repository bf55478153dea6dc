//! Label selectors: the text form of queries (`app=web,tier in (a,b)`) and the JSON form of
//! specs (`metav1.LabelSelector`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::{Value, json};

use super::selector_text;
use crate::names;

/// What a requirement asks of a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `k=v`
    Equals,
    /// `k==v`
    DoubleEquals,
    /// `k!=v`; also when the label is absent.
    NotEquals,
    /// `k in (a,b)`
    In,
    /// `k notin (a,b)`; also when the label is absent.
    NotIn,
    /// `k`
    Exists,
    /// `!k`
    DoesNotExist,
    /// `k>1`
    GreaterThan,
    /// `k<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The condition.
    pub operator: Operator,
    /// What the label's value is compared with.
    pub values: BTreeSet<String>,
}

/// A set of requirements that must all hold, or the selector that selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    requirements: Option<Vec<Requirement>>,
}

/// Why a selector is refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text of a query cannot be parsed.
    #[error("{0}")]
    Syntax(String),
    /// A requirement inside a query is not valid.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// An expression of a `metav1.LabelSelector` is not valid.
    #[error("{0}")]
    Expression(String),
    /// An operator that does not exist.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// The JSON has the wrong shape.
    #[error("malformed label selector: {0}")]
    Shape(String),
}

impl Operator {
    /// Whether only objects that have the label can fulfil it.
    pub fn is_positive(self) -> bool {
        !matches!(self, Self::NotEquals | Self::NotIn | Self::DoesNotExist)
    }
}

impl Requirement {
    /// A requirement whose key and values have been checked.
    ///
    /// # Errors
    /// All that is wrong with it, in one sentence.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, String> {
        let requirement =
            Self { key: key.to_string(), operator, values: values.into_iter().collect() };
        let errors = requirement.errors();
        match errors.as_slice() {
            [] => Ok(requirement),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let key = names::qualified_name(&self.key);
        if !key.is_empty() {
            errors.push(format!("key: Invalid value: {}: {}", json!(self.key), key.join("; ")));
        }
        errors.extend(self.count_error().map(|detail| {
            let values: Vec<String> = self.values.iter().map(|v| format!("{v:?}")).collect();
            format!("values: Invalid value: []string{{{}}}: {detail}", values.join(", "))
        }));
        for (index, value) in self.values.iter().enumerate() {
            let numeric = matches!(self.operator, Operator::GreaterThan | Operator::LessThan);
            if numeric && value.parse::<i64>().is_err() {
                errors.push(format!("values[{index}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer", json!(value)));
            }
            let bad = names::label_value(value);
            if !bad.is_empty() {
                let (key, value) = (&self.key, json!(value));
                errors.push(format!(
                    "values[{index}][{key}]: Invalid value: {value}: {}",
                    bad.join("; ")
                ));
            }
        }
        errors
    }

    fn count_error(&self) -> Option<&'static str> {
        let count = self.values.len();
        match self.operator {
            Operator::In | Operator::NotIn if count == 0 => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if count != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if count != 0 => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if count != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        }
    }

    /// Whether `labels` fulfil it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotEquals | Operator::NotIn => {
                value.is_none_or(|value| !self.values.contains(value))
            }
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |found, wanted| found > wanted),
            Operator::LessThan => self.compares(value, |found, wanted| found < wanted),
        }
    }

    fn compares(&self, value: Option<&String>, holds: fn(i64, i64) -> bool) -> bool {
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
        match (number(value), number(self.values.first())) {
            (Some(found), Some(wanted)) => holds(found, wanted),
            _ => false,
        }
    }
}

impl Selector {
    /// Selects every object.
    pub fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Self { requirements: None }
    }

    /// All of `requirements`.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Parses the text form; the empty text selects everything.
    ///
    /// # Errors
    /// When the text is no selector, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        selector_text::parse(text).map(Self::new)
    }

    /// Selects what has all of `labels`, unchecked; no labels select everything.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.clone()]),
        };
        Self::new(labels.into_iter().map(requirement).collect())
    }

    /// The selector of a spec: absent selects nothing, `{}` everything.
    ///
    /// # Errors
    /// When the JSON is no `metav1.LabelSelector` or an expression is not valid.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, SelectorError> {
        match selector {
            None | Some(Value::Null) => Ok(Self::nothing()),
            Some(value) => {
                let typed: LabelSelector = serde::Deserialize::deserialize(value)
                    .map_err(|error| SelectorError::Shape(format!("{error}")))?;
                Self::from_typed(Some(&typed))
            }
        }
    }

    /// As [`Selector::from_json`], of the typed form.
    ///
    /// # Errors
    /// When an expression is not valid.
    pub fn from_typed(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let requirement = Requirement::new(key, Operator::Equals, [value.clone()]);
            requirements.push(requirement.map_err(SelectorError::Expression)?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            requirements.push(from_expression(expression)?);
        }
        Ok(Self::new(requirements))
    }

    /// Whether an object with `labels` is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.requirements {
            None => false,
            Some(requirements) => requirements.iter().all(|one| one.matches(labels)),
        }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// The requirements, sorted by key; `None` for the selector of nothing.
    pub fn demands(&self) -> Option<&[Requirement]> {
        self.requirements.as_deref()
    }

    /// The requirements, sorted by key; none for the selector of nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

fn from_expression(expression: &LabelSelectorRequirement) -> Result<Requirement, SelectorError> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError::Operator(other.to_string())),
    };
    let values = expression.values.iter().flatten().cloned();
    Requirement::new(&expression.key, operator, values).map_err(SelectorError::Expression)
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
        }
    }
}

/// The text form: what `status.selector` of a Scale shows.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.requirements().iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
    }

    #[test]
    fn a_query_selects_by_every_operator() {
        let web = labels(&[("app", "web"), ("tier", "b"), ("n", "5")]);
        for (text, selected) in [
            ("", true),
            ("app=web,tier==b", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("tier in (a, b)", true),
            ("tier notin (a,b)", false),
            ("missing notin (a)", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("n>4,n<6", true),
            ("app>1", false),
            ("app=", false),
            ("in in (in)", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&web), selected, "{text}");
        }
    }

    #[test]
    fn a_selector_is_written_sorted() {
        let selector = Selector::parse(" z notin (b,a) ,x=1, !y").unwrap();
        assert_eq!(selector.to_string(), "x=1,!y,z notin (a,b)");
        assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        assert_eq!(Selector::parse("x in (,a)").unwrap().to_string(), "x in (,a)");
    }

    #[test]
    fn texts_that_are_no_selectors_say_why() {
        for (text, error) in [
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a,", "found '', expected: identifier after ','"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), error, "{text}");
        }
        let bad = Selector::parse("a=-").unwrap_err().to_string();
        assert!(
            bad.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be"),
            "{bad}"
        );
        let bad = Selector::parse("a/b/c=d").unwrap_err().to_string();
        assert!(
            bad.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\""),
            "{bad}"
        );
    }

    #[test]
    fn a_spec_without_a_selector_selects_nothing_and_an_empty_one_everything() {
        let none = labels(&[]);
        assert!(!Selector::from_json(None).unwrap().matches(&none));
        assert!(Selector::from_json(Some(&json!({}))).unwrap().matches(&none));
        let selector = json!({"matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]});
        let selector = Selector::from_json(Some(&selector)).unwrap();
        assert_eq!(selector.to_string(), "app=web,tier in (a,b)");
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Is"}]});
        assert_eq!(
            Selector::from_json(Some(&bad)).unwrap_err().to_string(),
            "\"Is\" is not a valid label selector operator"
        );
    }
}
