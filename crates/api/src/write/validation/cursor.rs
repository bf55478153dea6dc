//! A place in an object with its path, and the list of what is wrong.

use serde_json::{Value, json};

use crate::{FieldError, FieldErrorKind};

static NULL: Value = Value::Null;

/// A value and its path; an absent value is null.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
}

impl<'a> Field<'a> {
    /// The whole object.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// `value` at `path`.
    pub(super) fn at(value: &'a Value, path: &str) -> Self {
        Self { value, path: path.to_string() }
    }

    /// The member `name`: `PATH.NAME`.
    pub(super) fn child(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{name}", self.path);
        Self { value: self.value.get(name).unwrap_or(&NULL), path }
    }

    /// The member at a chain of names.
    pub(super) fn descend(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |field, name| field.child(name))
    }

    /// The member `name` of a map: `PATH[NAME]`.
    pub(super) fn key(&self, name: &str) -> Self {
        let value = self.value.get(name).unwrap_or(&NULL);
        Self { value, path: format!("{}[{name}]", self.path) }
    }

    /// The items of a list: `PATH[0]`.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let path = self.path.clone();
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(move |(index, value)| Self { value, path: format!("{path}[{index}]") })
    }

    /// The members of a map with their names: `PATH[NAME]`.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let path = self.path.clone();
        let members = self.value.as_object().into_iter().flatten();
        members.map(move |(name, value)| {
            (name.as_str(), Self { value, path: format!("{path}[{name}]") })
        })
    }

    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether it is absent, or empty.
    pub(super) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        }
    }

    /// The text; empty when it is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The whole number; 0 when it is none.
    pub(super) fn int(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    /// How many items or members there are.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }
}

/// What is wrong, in order.
#[derive(Debug, Default)]
pub(super) struct Errors(pub(super) Vec<FieldError>);

impl Errors {
    /// What `check` finds wrong.
    pub(super) fn of(check: impl FnOnce(&mut Self)) -> Vec<FieldError> {
        let mut errors = Self::default();
        check(&mut errors);
        errors.0
    }

    pub(super) fn required(&mut self, field: &Field<'_>, detail: &str) {
        self.0.push(FieldError::required(&field.path, detail));
    }

    pub(super) fn invalid(&mut self, field: &Field<'_>, detail: impl Into<String>) {
        self.0.push(FieldError::invalid(&field.path, field.value, detail));
    }

    /// As [`Errors::invalid`], showing another value than the field's.
    pub(super) fn invalid_as(&mut self, field: &Field<'_>, value: &Value, detail: &str) {
        self.0.push(FieldError::invalid(&field.path, value, detail));
    }

    pub(super) fn forbidden(&mut self, field: &Field<'_>, detail: impl Into<String>) {
        self.0.push(FieldError::forbidden(&field.path, detail));
    }

    pub(super) fn duplicate(&mut self, field: &Field<'_>) {
        self.0.push(FieldError::duplicate(&field.path, field.value));
    }

    pub(super) fn duplicate_as(&mut self, path: &str, value: &str) {
        self.0.push(FieldError::duplicate(path, &json!(value)));
    }

    pub(super) fn not_found(&mut self, field: &Field<'_>) {
        let kind = FieldErrorKind::NotFound(field.value.to_string());
        self.0.push(FieldError { field: field.path.clone(), kind, detail: String::new() });
    }

    pub(super) fn too_long(&mut self, path: &str, max: usize) {
        let kind = FieldErrorKind::TooLong(max);
        self.0.push(FieldError { field: path.to_string(), kind, detail: String::new() });
    }

    /// More than `max` items.
    pub(super) fn too_many(&mut self, field: &Field<'_>, max: usize) {
        let kind = FieldErrorKind::TooMany(field.len(), max);
        self.0.push(FieldError { field: field.path.clone(), kind, detail: String::new() });
    }

    pub(super) fn not_supported(&mut self, field: &Field<'_>, supported: &[&str]) {
        self.0.push(FieldError::not_supported(&field.path, field.text(), supported));
    }

    /// As [`Errors::not_supported`], of a value that is no text.
    pub(super) fn not_supported_as(&mut self, field: &Field<'_>, value: &Value, known: &[&str]) {
        self.0.push(FieldError::not_supported_json(&field.path, value, known));
    }

    /// One error for each sentence about a text.
    pub(super) fn all_invalid(&mut self, field: &Field<'_>, sentences: Vec<String>) {
        let empty = Value::String(String::new());
        let shown = if field.is_set() { field.value } else { &empty };
        for sentence in sentences {
            self.invalid_as(field, shown, &sentence);
        }
    }

    /// Required when empty, else one of `supported`.
    pub(super) fn one_of(&mut self, field: &Field<'_>, supported: &[&str]) {
        if field.is_empty() {
            self.required(field, "");
        } else {
            self.one_of_if_set(field, supported);
        }
    }

    /// One of `supported`, when there is anything.
    pub(super) fn one_of_if_set(&mut self, field: &Field<'_>, supported: &[&str]) {
        if field.is_set() && !supported.contains(&field.text()) {
            self.not_supported(field, supported);
        }
    }

    pub(super) fn non_negative(&mut self, field: &Field<'_>) {
        if field.int() < 0 {
            self.invalid(field, "must be greater than or equal to 0");
        }
    }

    pub(super) fn require_text(&mut self, field: &Field<'_>) {
        if field.is_empty() {
            self.required(field, "");
        }
    }
}
