//! Who manages which field.

use serde_json::Value;

use crate::prepare::WriteEnv;
use crate::request::Request;
use crate::verbs::Part;

/// Brings `managedFields` of `value` up to date with what `request` changed from `old`.
pub(crate) fn track(
    _request: &Request,
    _part: Part,
    _old: Option<&Value>,
    _value: &mut Value,
    _applied: Option<&Value>,
    _env: &WriteEnv<'_>,
) {
}

/// Whether two states differ in nothing but the times at which fields were last changed.
pub(crate) fn same_but_for_times(new: &Value, old: &Value) -> bool {
    new == old
}
