//! What is wrong with the expressions of a policy, when it is written.

use coracle_api::FieldError;
use coracle_api::validation::ANNOTATION_MAX;
use serde_json::Value as Json;

use super::conditions;
use super::environment::{Policy, Wanted, has_params};

struct Found {
    policy: Policy,
    errors: Vec<FieldError>,
}

/// What is wrong with the expressions of a ValidatingAdmissionPolicy that takes the place of `old`.
#[must_use]
pub fn validating(spec: &Json, old: Option<&Json>) -> Vec<FieldError> {
    let mut found = head(spec, old);
    for (index, item) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.validations[{index}]");
        found.check(item, &path, "expression", Wanted::Bool, true);
        found.check(item, &path, "messageExpression", Wanted::Text, false);
    }
    for (index, item) in spec["auditAnnotations"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.auditAnnotations[{index}]");
        let length = item["valueExpression"].as_str().unwrap_or_default().trim().len();
        if length <= ANNOTATION_MAX {
            found.check(item, &path, "valueExpression", Wanted::TextOrNull, true);
        }
    }
    found.errors
}

/// What is wrong with the expressions of a MutatingAdmissionPolicy that takes the place of `old`.
#[must_use]
pub fn mutating(spec: &Json, old: Option<&Json>) -> Vec<FieldError> {
    let mut found = head(spec, old);
    for (index, item) in spec["mutations"].as_array().into_iter().flatten().enumerate() {
        let (field, wanted) = match item["patchType"].as_str() {
            Some("JSONPatch") => ("jsonPatch", Wanted::Patches),
            Some("ApplyConfiguration") => ("applyConfiguration", Wanted::Object),
            _ => continue,
        };
        let path = format!("spec.mutations[{index}].{field}");
        found.check(&item[field], &path, "expression", wanted, true);
    }
    found.errors
}

/// What both kinds of policy have.
fn head(spec: &Json, old: Option<&Json>) -> Found {
    let mut found = Found { policy: Policy::bare(has_params(spec)), errors: Vec::new() };
    let same = |field: &str| old.is_some_and(|old| old[field] == spec[field]);
    if !same("paramKind") || !same("matchConditions") {
        let list = &spec["matchConditions"];
        found.errors = conditions::mistakes(list, "spec.matchConditions", has_params(spec));
    }
    for (index, item) in spec["variables"].as_array().into_iter().flatten().enumerate() {
        let text = |field: &str| item[field].as_str().unwrap_or_default();
        let (name, source) = (text("name"), text("expression"));
        if source.trim().is_empty() {
            continue;
        }
        if let Err(why) = found.policy.declare(name, source) {
            let field = format!("spec.variables[{index}].expression");
            found.errors.push(FieldError::invalid(field, &source.into(), why));
        }
    }
    found
}

impl Found {
    fn check(
        &mut self,
        item: &Json,
        path: &str,
        field: &str,
        wanted: Wanted,
        has_authorizer: bool,
    ) {
        let source = item[field].as_str().unwrap_or_default();
        if source.trim().is_empty() {
            return;
        }
        if let Err(why) = self.policy.compile(source, wanted, has_authorizer) {
            self.errors.push(FieldError::invalid(format!("{path}.{field}"), &source.into(), why));
        }
    }
}
