//! Admission policies and what binds them. Expressions in CEL must be there; whether they make sense
//! is said elsewhere.

use serde_json::Value;

use super::admission::{
    FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION, match_conditions, rule_with_operations,
};
use super::cursor::{Errors, Field};
use super::parts::{self, Unique};
use crate::{FieldError, names};

/// Annotations that a policy may have.
const ANNOTATIONS_MAX: usize = 20;
/// Bytes that the expression of an annotation may have.
pub const ANNOTATION_MAX: usize = 5 * 1024;
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MUTABLE_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// A ValidatingAdmissionPolicy.
pub fn validating_policy(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        policy_head(errors, &spec);
        match_conditions(errors, &spec.child("matchConditions"));
        variables(errors, &spec.child("variables"));
        let (validations, annotations) =
            (spec.child("validations"), spec.child("auditAnnotations"));
        if validations.is_empty() && annotations.is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            errors.required(&validations, why);
            errors.required(&annotations, why);
        }
        for validation in validations.items() {
            check_validation(errors, &validation);
        }
        audit_annotations(errors, text(object, "/metadata/name"), &annotations);
    })
}

fn audit_annotations(errors: &mut Errors, policy: &str, annotations: &Field<'_>) {
    if annotations.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(annotations, why);
    }
    let mut seen = Unique::new();
    for annotation in annotations.items() {
        let (key, asked) = (annotation.child("key"), annotation.child("valueExpression"));
        match policy {
            "" => errors.invalid(&key, "requires metadata.name be non-empty"),
            _ => {
                let full = format!("{policy}/{}", key.text());
                for why in names::qualified_name(&full) {
                    errors.invalid_as(&key, &full.as_str().into(), &why);
                }
            }
        }
        match asked.text().trim().len() {
            0 => errors.required(&asked, "valueExpression is not specified"),
            length if length > ANNOTATION_MAX => {
                errors
                    .required(&asked, &format!("must not exceed {ANNOTATION_MAX} bytes in length"));
            }
            _ => {}
        }
        seen.check(errors, &key);
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What both kinds of policy start with.
fn policy_head(errors: &mut Errors, spec: &Field<'_>) {
    errors.one_of_if_set(&spec.child("failurePolicy"), &FAILURE_POLICIES);
    param_kind(errors, &spec.child("paramKind"));
    let constraints = spec.child("matchConstraints");
    if !constraints.is_set() {
        errors.required(&constraints, "");
        return;
    }
    match_resources(errors, &constraints);
    if constraints.child("resourceRules").is_empty() {
        errors.required(&constraints.child("resourceRules"), "");
    }
}

fn param_kind(errors: &mut Errors, param: &Field<'_>) {
    if !param.is_set() {
        return;
    }
    let (version, kind) = (param.child("apiVersion"), param.child("kind"));
    match version.text().split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.required(&version, ""),
        [number] => group_version(errors, &version, "", number),
        [group, number] => group_version(errors, &version, group, number),
        _ => {
            let why = format!("unexpected GroupVersion string: {}", version.text());
            errors.invalid(&version, why);
        }
    }
    if kind.is_empty() {
        errors.required(&kind, "");
        return;
    }
    let wrong = names::dns1035_label(&kind.text().to_lowercase());
    if !wrong.is_empty() {
        let why = "may have mixed case, but should otherwise match: ";
        errors.invalid(&kind, format!("{why}{}", wrong.join(",")));
    }
}

fn group_version(errors: &mut Errors, field: &Field<'_>, group: &str, version: &str) {
    if !group.is_empty() {
        let wrong = names::dns1123_subdomain(group);
        if !wrong.is_empty() {
            errors.invalid_as(field, &group.into(), &wrong.join(","));
        }
    }
    if version.is_empty() {
        errors.invalid(field, "version must be specified");
        return;
    }
    let wrong = names::dns1035_label(version);
    if !wrong.is_empty() {
        errors.invalid_as(field, &version.into(), &wrong.join(","));
    }
}

fn match_resources(errors: &mut Errors, resources: &Field<'_>) {
    errors.one_of_if_set(&resources.child("matchPolicy"), &MATCH_POLICIES);
    for selector in ["namespaceSelector", "objectSelector"] {
        parts::selector(errors, &resources.child(selector));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.child(list).items() {
            let mut seen = Unique::new();
            for name in rule.child("resourceNames").items() {
                errors.all_invalid(&name, names::path_segment(name.text(), false));
                seen.check(errors, &name);
            }
            rule_with_operations(errors, &rule);
        }
    }
}

fn variables(errors: &mut Errors, variables: &Field<'_>) {
    for variable in variables.items() {
        let (name, expression) = (variable.child("name"), variable.child("expression"));
        if name.text().trim().is_empty() {
            errors.required(&name, "name is not specified");
        } else if !names::c_identifier(name.text()).is_empty() {
            errors.invalid(&name, "name is not a valid CEL identifier");
        }
        if expression.text().trim().is_empty() {
            errors.required(&expression, "expression is not specified");
        }
    }
}

fn check_validation(errors: &mut Errors, validation: &Field<'_>) {
    let (expression, message) = (validation.child("expression"), validation.child("message"));
    if expression.text().trim().is_empty() {
        errors.required(&expression, "expression is not specified");
    }
    let asked = validation.child("messageExpression");
    if !asked.is_empty() && asked.text().trim().is_empty() {
        errors.invalid(&asked, "must be non-empty if specified");
    }
    let said = message.text().trim();
    if !message.is_empty() && said.is_empty() {
        errors.invalid(&message, "message must be non-empty if specified");
    } else if said.contains(['\n', '\r']) {
        errors.invalid(&message, "message must not contain line breaks");
    }
    errors.one_of_if_set(&validation.child("reason"), &REASONS);
}

/// A MutatingAdmissionPolicy.
pub fn mutating_policy(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        policy_head(errors, &spec);
        for rule in spec.descend(&["matchConstraints", "resourceRules"]).items() {
            for operation in rule.child("operations").items() {
                if !MUTABLE_OPERATIONS.contains(&operation.text()) {
                    let path = "spec.matchConstraints.resourceRules.operations";
                    errors.not_supported(&Field::at(operation.value, path), &MUTABLE_OPERATIONS);
                }
            }
        }
        match_conditions(errors, &spec.child("matchConditions"));
        variables(errors, &spec.child("variables"));
        let mutations = spec.child("mutations");
        if mutations.is_empty() {
            errors.required(&mutations, "mutations must contain at least one item");
        }
        for mutation in mutations.items() {
            check_mutation(errors, &mutation);
        }
        errors.one_of(&spec.child("reinvocationPolicy"), &REINVOCATION);
    })
}

fn check_mutation(errors: &mut Errors, mutation: &Field<'_>) {
    const FORMS: [(&str, &str); 2] =
        [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
    let kind = mutation.child("patchType");
    if kind.is_empty() {
        errors.required(&kind, "");
        return;
    }
    let Some((_, own)) = FORMS.into_iter().find(|(name, _)| *name == kind.text()) else {
        errors.not_supported(&kind, &FORMS.map(|(name, _)| name));
        return;
    };
    let body = mutation.child(own);
    if !body.is_set() {
        errors.required(&body, &format!("must be specified when patchType is {}", kind.text()));
    } else if body.child("expression").text().trim().is_empty() {
        errors.required(&body.child("expression"), "");
    }
    for (_, other) in FORMS.into_iter().filter(|(_, field)| *field != own) {
        if mutation.child(other).is_set() {
            let why = format!("must not be specified when patchType is {}", kind.text());
            errors.forbidden(&mutation.child(other), why);
        }
    }
}

/// A ValidatingAdmissionPolicyBinding.
pub fn validating_binding(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        let spec = Field::root(object).child("spec");
        binding(errors, &spec);
        let actions = spec.child("validationActions");
        let mut seen = Unique::new();
        for action in actions.items() {
            errors.one_of_if_set(&action, &ACTIONS);
            seen.check(errors, &action);
        }
        if seen.has("Deny") && seen.has("Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.invalid(&actions, why);
        }
        if actions.is_empty() {
            errors.required(&actions, "at least one validation action is required");
        }
    })
}

/// A MutatingAdmissionPolicyBinding.
pub fn mutating_binding(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| binding(errors, &Field::root(object).child("spec")))
}

fn binding(errors: &mut Errors, spec: &Field<'_>) {
    let policy = spec.child("policyName");
    if policy.is_empty() {
        errors.required(&policy, "");
    } else {
        parts::dns_subdomain(errors, &policy);
    }
    let param = spec.child("paramRef");
    if param.is_set() {
        param_ref(errors, &param);
    }
    match_resources(errors, &spec.child("matchResources"));
}

fn param_ref(errors: &mut Errors, param: &Field<'_>) {
    let (name, selector) = (param.child("name"), param.child("selector"));
    match (!name.is_empty(), selector.is_set()) {
        (true, true) => {
            let why = "name and selector are mutually exclusive";
            errors.forbidden(&name, why);
            errors.forbidden(&selector, why);
        }
        (false, false) => errors.required(param, "one of name or selector must be specified"),
        (true, false) => errors.all_invalid(&name, names::path_segment(name.text(), false)),
        (false, true) => parts::selector(errors, &selector),
    }
    errors.one_of(&param.child("parameterNotFoundAction"), &["Allow", "Deny"]);
}
