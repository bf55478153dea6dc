//! Columns of custom resources: JSONPath into the object, converted to the column's type.

use jiff::Timestamp;
use serde_json::Value;

use super::{Cell, Column, fields};

/// A column as a CustomResourceDefinition describes it.
pub fn custom_column(given: &Value) -> Column {
    let text = |field: &str| given[field].as_str().unwrap_or_default().to_owned();
    let (path, ty) = (text("jsonPath"), text("type"));
    let description = match text("description") {
        empty if empty.is_empty() => {
            format!("Custom resource definition column (in JSONPath format): {path}")
        }
        given => given,
    };
    Column {
        name: text("name").into(),
        ty: ty.clone().into(),
        format: text("format").into(),
        description: description.into(),
        priority: given["priority"].as_i64().and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
        cell: Cell::Path(JsonPath::parse(&path), ty.into()),
    }
}

/// The part of JSONPath that columns use: fields, indexes, `[*]`, and `[?(@.a=="b")]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    Where(JsonPath, String),
}

impl JsonPath {
    /// Reads a path; what cannot be understood selects nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('[') {
                Some(inside) => bracket(inside),
                None => {
                    let (name, after) = field(rest.strip_prefix('.').unwrap_or(rest));
                    (Step::Field(name), after)
                }
            };
            if step != Step::Field(String::new()) {
                steps.push(step);
            }
            rest = after;
        }
        Self(steps)
    }

    /// The first value that the path selects.
    #[must_use]
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.select(value)).collect();
        }
        found.into_iter().next()
    }
}

/// A name up to the next `.` or `[` that no backslash precedes.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => name.extend(characters.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(inside: &str) -> (Step, &str) {
    let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    if let Some(filter) = inside.strip_prefix("?(") {
        let Some((condition, after)) = filter.split_once(")]") else {
            return (Step::Where(JsonPath::default(), String::new()), "");
        };
        let (path, wanted) = condition.split_once("==").unwrap_or((condition, ""));
        let path = JsonPath::parse(path.trim().trim_start_matches('@'));
        return (Step::Where(path, quoted(wanted.trim())), after);
    }
    let (index, after) = inside.split_once(']').unwrap_or((inside, ""));
    let step = match (index, index.parse()) {
        ("*", _) => Step::All,
        (_, Ok(index)) => Step::Index(index),
        _ => Step::Field(quoted(index)),
    };
    (step, after)
}

impl Step {
    fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = || value.as_array().into_iter().flatten();
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => value.get(index).into_iter().collect(),
            Self::All => items().collect(),
            Self::Where(path, wanted) => items()
                .filter(|item| path.first(item).is_some_and(|v| shown(v) == *wanted))
                .collect(),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The cell of a column of type `ty`; null when there is nothing of that type.
pub(super) fn cell(path: &JsonPath, ty: &str, object: &Value, now: Timestamp) -> Value {
    let Some(value) = path.first(object).filter(|value| !value.is_null()) else {
        return Value::Null;
    };
    match ty {
        "integer" => value.as_f64().map_or(Value::Null, |n| (n as i64).into()),
        "number" => {
            if value.is_number() {
                value.clone()
            } else {
                Value::Null
            }
        }
        "boolean" => {
            if value.is_boolean() {
                value.clone()
            } else {
                Value::Null
            }
        }
        "date" => match value.as_str().map(str::parse::<Timestamp>) {
            Some(Ok(time)) => fields::ago(time, now).into(),
            _ => "<invalid>".into(),
        },
        _ => shown(value).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_select_what_kubectl_shows() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"hosts": [{"name": "one"}, {"name": "two"}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
        });
        let at = |path: &str| JsonPath::parse(path).first(&object).cloned().unwrap_or_default();
        assert_eq!(at(".spec.hosts[1].name"), "two");
        assert_eq!(at(".spec.hosts[*].name"), "one");
        assert_eq!(at(r".metadata.labels.a\.b/c"), "x");
        assert_eq!(at(".metadata.labels['a.b/c']"), "x");
        assert_eq!(at(r#".status.conditions[?(@.type=="Old")].status"#), "False");
        assert_eq!(at(".spec.absent"), Value::Null);
    }
}
