//! Checks that many kinds share.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cursor::{Errors, Field};
use crate::int_or_string::IntOrString;
use crate::{FieldError, Quantity, Selector, names, semantic};

/// Bytes that all annotations of an object may have together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Labels of `metadata` or of a node selector.
pub fn labels(labels: &Value, path: &str) -> Vec<FieldError> {
    Errors::of(|errors| check_labels(errors, &Field::at(labels, path)))
}

/// Annotations, whose keys are labels' in any case.
pub fn annotations(annotations: &Value, path: &str) -> Vec<FieldError> {
    Errors::of(|errors| check_annotations(errors, &Field::at(annotations, path)))
}

pub(super) fn check_labels(errors: &mut Errors, field: &Field<'_>) {
    for (name, member) in field.members() {
        for sentence in names::qualified_name(name) {
            errors.invalid_as(field, &name.into(), &sentence);
        }
        for sentence in names::label_value(member.text()) {
            errors.invalid_as(field, member.value, &sentence);
        }
    }
}

pub(super) fn check_annotations(errors: &mut Errors, field: &Field<'_>) {
    let mut bytes = 0;
    for (name, member) in field.members() {
        for sentence in names::qualified_name(&name.to_lowercase()) {
            errors.invalid_as(field, &name.into(), &sentence);
        }
        bytes += name.len() + member.text().len();
    }
    if bytes > ANNOTATIONS_MAX {
        errors.too_long(&field.path, ANNOTATIONS_MAX);
    }
}

/// The values that an operator on sets takes; `false` when it is none.
pub(super) fn set_values(errors: &mut Errors, operator: &str, values: &Field<'_>) -> bool {
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => return false,
    }
    true
}

/// A `metav1.LabelSelector`.
pub(super) fn selector(errors: &mut Errors, field: &Field<'_>) {
    check_labels(errors, &field.child("matchLabels"));
    for expression in field.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        if !set_values(errors, operator.text(), &values) {
            errors.invalid(&operator, "not a valid selector operator");
        }
        label_name(errors, &expression.child("key"));
        for value in values.items() {
            errors.all_invalid(&value, names::label_value(value.text()));
        }
    }
}

/// Whether a selector has neither labels nor expressions.
pub(super) fn selects_everything(selector: &Field<'_>) -> bool {
    selector.child("matchLabels").is_empty() && selector.child("matchExpressions").is_empty()
}

/// Whether `selector` selects `labels`; true when it cannot be understood, which is said
/// elsewhere.
pub(super) fn selects(selector: &Field<'_>, labels: &Field<'_>) -> bool {
    let labels = labels.members().map(|(name, value)| (name.to_string(), value.text().to_string()));
    let labels = labels.collect();
    Selector::from_json(Some(selector.value)).is_ok_and(|selector| selector.matches(&labels))
}

pub(super) fn label_name(errors: &mut Errors, field: &Field<'_>) {
    errors.all_invalid(field, names::qualified_name(field.text()));
}

pub(super) fn dns_label(errors: &mut Errors, field: &Field<'_>) {
    errors.all_invalid(field, names::dns1123_label(field.text()));
}

pub(super) fn dns_subdomain(errors: &mut Errors, field: &Field<'_>) {
    errors.all_invalid(field, names::dns1123_subdomain(field.text()));
}

/// A segment of a path, which must be there.
pub(super) fn required_segment(errors: &mut Errors, field: &Field<'_>) {
    if field.is_empty() {
        errors.required(field, "");
    } else {
        errors.all_invalid(field, names::path_segment(field.text(), false));
    }
}

/// The name of a driver: a subdomain of at most 63 bytes, which must be there.
pub(super) fn driver_name(errors: &mut Errors, field: &Field<'_>) {
    if field.is_empty() {
        errors.required(field, "");
        return;
    }
    if field.text().len() > 63 {
        errors.too_long(&field.path, 63);
    }
    errors.all_invalid(field, names::dns1123_subdomain(&field.text().to_lowercase()));
}

/// The value must be what it was.
pub(super) fn immutable(errors: &mut Errors, new: &Field<'_>, old: &Field<'_>) {
    if !semantic::equal(new.value, old.value) {
        errors.invalid(new, "field is immutable");
    }
}

/// A port's number, or the name of one.
pub(super) fn port(errors: &mut Errors, field: &Field<'_>) {
    match field.value {
        Value::String(name) => errors.all_invalid(field, names::port_name(name)),
        Value::Null => errors.invalid_as(field, &0.into(), &names::not_between(1, 65535)),
        _ => errors.all_invalid(field, names::port_number(field.int())),
    }
}

/// A number that is not negative, or a percentage of at most 100.
pub(super) fn count_or_percentage(errors: &mut Errors, field: &Field<'_>) {
    match field.value {
        Value::String(text) => {
            errors.all_invalid(field, names::percent(text));
            at_most_everything(errors, field);
        }
        _ => errors.non_negative(field),
    }
}

fn at_most_everything(errors: &mut Errors, field: &Field<'_>) {
    if IntOrString::from_json(field.value).and_then(|v| v.percent()).is_some_and(|p| p > 100) {
        errors.invalid(field, "must not be greater than 100%");
    }
}

/// The number or percentage at a field, as far as it tells nothing from something.
pub(super) fn is_zero(field: &Field<'_>) -> bool {
    match IntOrString::from_json(field.value) {
        Some(IntOrString::Int(number)) => number == 0,
        Some(percentage) => percentage.percent() == Some(0),
        None => false,
    }
}

/// The quantity at a field; nothing when it is none, which decoding has refused.
pub(super) fn quantity(field: &Field<'_>) -> Quantity {
    Quantity::from_json(field.value).unwrap_or(Quantity::ZERO)
}

pub(super) fn non_negative_quantity(errors: &mut Errors, field: &Field<'_>) {
    if quantity(field).signum() < 0 {
        errors.invalid(field, "must be greater than or equal to 0");
    }
}

pub(super) fn positive_quantity(errors: &mut Errors, field: &Field<'_>) {
    if quantity(field).signum() <= 0 {
        errors.invalid(field, "must be greater than zero");
    }
}

/// Reports items whose `name` occurs before.
pub(super) struct Unique<'a>(BTreeSet<&'a str>);

impl<'a> Unique<'a> {
    pub(super) fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn check(&mut self, errors: &mut Errors, name: &Field<'a>) {
        if !self.0.insert(name.text()) {
            errors.duplicate(name);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// A path below a folder: relative, without `..`.
pub(super) fn descending_path(errors: &mut Errors, field: &Field<'_>) {
    if field.text().starts_with('/') {
        errors.invalid(field, "must be a relative path");
    }
    no_backsteps(errors, field);
}

/// As [`descending_path`], of a file that the node writes beside its own `..data`.
pub(super) fn unreserved_path(errors: &mut Errors, field: &Field<'_>) {
    descending_path(errors, field);
    if field.text().starts_with("..") && !field.text().starts_with("../") {
        errors.invalid(field, "must not start with '..'");
    }
}

pub(super) fn no_backsteps(errors: &mut Errors, field: &Field<'_>) {
    if field.text().split('/').any(|part| part == "..") {
        errors.invalid(field, "must not contain '..'");
    }
}

/// Lines that show how two values differ, `-` for the old and `+` for the new.
pub(super) fn differences(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    collect_differences("", old, new, &mut lines);
    lines.join("\n")
}

fn collect_differences(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                let dot = if path.is_empty() { "" } else { "." };
                collect_differences(&format!("{path}{dot}{key}"), &side(a), &side(b), lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                collect_differences(&format!("{path}[{index}]"), a, b, lines);
            }
        }
        _ => {
            lines.extend((!old.is_null()).then(|| format!("- {path}: {old}")));
            lines.extend((!new.is_null()).then(|| format!("+ {path}: {new}")));
        }
    }
}
