//! Expressions in CEL: those of definitions, webhooks and policies when they are written, and what a
//! definition's rules say of its objects.

use coracle_api::kinds::rules::Judged;
use coracle_api::resources::{
    MUTATING_ADMISSION_POLICIES, MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use coracle_api::{FieldError, FieldErrorKind, Kind, resources};
use coracle_cel::admission::{self, conditions};
use coracle_cel::rules::{Rules, has_rules};
use serde_json::Value;

const WEBHOOKS: [&str; 2] = [MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS];

const POLICIES: [&str; 2] = [MUTATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICIES];

/// What rules say of `value`, in which `errors` were found before.
pub(super) fn judged(
    kind: &Kind,
    value: &Value,
    old: Option<&Value>,
    errors: &[FieldError],
) -> Judged {
    if kind.is(resources::CUSTOM_RESOURCE_DEFINITIONS) {
        // A schema that is none is mended before its rules are.
        let errors = if errors.is_empty() { of_definition(value, old) } else { Vec::new() };
        return Judged { errors, ..Judged::default() };
    }
    if WEBHOOKS.iter().any(|resource| kind.is(resource)) {
        return Judged { errors: of_webhooks(value, old), ..Judged::default() };
    }
    if POLICIES.iter().any(|resource| kind.is(resource)) {
        return Judged { errors: of_policy(kind, value, old), ..Judged::default() };
    }
    let Some(rules) = &kind.rules else { return Judged::default() };
    if !errors.iter().any(hides_rules) {
        return rules.judge(value, old);
    }
    let why = "some validation rules were not checked because the object was invalid; correct the \
               existing errors to complete validation";
    let error = FieldError::invalid("<nil>", &Value::Null, why);
    Judged { errors: vec![error], ..Judged::default() }
}

/// Whether a rule could fail for no other reason than this error.
fn hides_rules(error: &FieldError) -> bool {
    matches!(
        error.kind,
        FieldErrorKind::NotSupported { .. }
            | FieldErrorKind::Required
            | FieldErrorKind::TooLong(_)
            | FieldErrorKind::TooMany(..)
            | FieldErrorKind::TypeInvalid(_)
    )
}

/// What is wrong with the rules of a definition, but for those of schemas that stay as they were.
fn of_definition(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let schemas: Vec<(&Value, &Value)> = schemas(definition).collect();
    let first = schemas.first().map(|(_, schema)| *schema);
    // Where all versions have the same schema upstream speaks as if it stood in the spec itself.
    let are_same = schemas.iter().all(|(_, schema)| Some(*schema) == first);
    let shown = if are_same { schemas.get(..1).unwrap_or_default() } else { &schemas };
    let is_old = |(name, schema): &(&Value, &Value)| {
        old.is_some_and(|old| self::schemas(old).any(|known| known == (name, schema)))
    };
    let mut errors = Vec::new();
    for (index, version) in shown.iter().enumerate() {
        if is_old(version) || !has_rules(version.1) {
            continue;
        }
        let path = match are_same {
            true => "spec.validation.openAPIV3Schema".to_owned(),
            false => format!("spec.versions[{index}].schema.openAPIV3Schema"),
        };
        errors.extend(Rules::compile(version.1, &path).1);
    }
    errors
}

/// Names and schemas of the versions of a definition.
fn schemas(definition: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.map(|version| (&version["name"], &version["schema"]["openAPIV3Schema"]))
}

/// What is wrong with the expressions of a policy, unless they stay as they were.
fn of_policy(kind: &Kind, policy: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (spec, old) = (&policy["spec"], old.map(|old| &old["spec"]));
    match old {
        Some(old) if old == spec => Vec::new(),
        old if kind.is(MUTATING_ADMISSION_POLICIES) => admission::mutating_mistakes(spec, old),
        old => admission::validating_mistakes(spec, old),
    }
}

/// What is wrong with the conditions of webhooks, but for lists that stay as they were.
fn of_webhooks(configuration: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let hooks = |value| Value::as_array(value).into_iter().flatten();
    let before = |hook: &Value| {
        let mut before = hooks(&old?["webhooks"]);
        before.find(|it| it["name"] == hook["name"]).map(|it| &it["matchConditions"])
    };
    let mut errors = Vec::new();
    for (index, hook) in hooks(&configuration["webhooks"]).enumerate() {
        let list = &hook["matchConditions"];
        if before(hook) != Some(list) {
            let path = format!("webhooks[{index}].matchConditions");
            errors.extend(conditions::mistakes(list, &path, false));
        }
    }
    errors
}
