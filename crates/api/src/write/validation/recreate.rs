//! The strategy `Recreate` of StatefulSets, where its gate is off: nobody may choose it, and a set that
//! has it from before keeps it, and rolls.

use serde_json::Value;

use super::cursor::{Errors, Field};
use super::workload::{
    NO_RECREATE, RECREATE, stateful_set_create, stateful_set_update, stateful_set_warnings,
};
use crate::FieldError;
use crate::gates::Gate;

/// A new StatefulSet.
pub fn fixed_set_create(object: &Value) -> Vec<FieldError> {
    let mut errors = stateful_set_create(object);
    errors.extend(refused(object));
    errors
}

/// A change of a StatefulSet.
pub fn fixed_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = stateful_set_update(new, old);
    if !recreates(old) {
        errors.extend(refused(new));
    }
    errors
}

/// Sentences for who writes a StatefulSet.
pub fn fixed_set_warnings(new: &Value, old: &Value) -> Vec<String> {
    let mut warnings = stateful_set_warnings(new, old);
    if recreates(new) {
        let gate = Gate::StatefulSetRecreateStrategy.name();
        warnings.push(format!(
            "spec.updateStrategy.type: {RECREATE} is acted on as RollingUpdate: the feature gate \
             {gate} is off"
        ));
    }
    warnings
}

fn refused(object: &Value) -> Vec<FieldError> {
    Errors::of(|errors| {
        if recreates(object) {
            let strategy = Field::root(object).descend(&["spec", "updateStrategy"]);
            errors.invalid(&strategy, NO_RECREATE);
        }
    })
}

fn recreates(object: &Value) -> bool {
    object["spec"]["updateStrategy"]["type"] == RECREATE
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Gates, Kinds};

    fn set(kind: &str) -> Value {
        json!({"spec": {"updateStrategy": {"type": kind}}})
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn recreate_is_chosen_only_where_its_gate_is_on_and_kept_where_it_was() {
        let no = "spec.updateStrategy: Invalid value: {\"type\":\"Recreate\"}: must be \
                  'RollingUpdate' or 'OnDelete'";
        let (rolls, recreates) = (set("RollingUpdate"), set("Recreate"));
        for (gates, refused) in
            [(Gates::default(), true), (Gates::on([Gate::StatefulSetRecreateStrategy]), false)]
        {
            let kinds = Kinds::gated(&gates);
            let kind = kinds.stored("statefulsets.apps").unwrap();
            let of = |errors: Vec<FieldError>| {
                let said = texts(&errors);
                said.into_iter().filter(|it| it.contains("updateStrategy")).collect::<Vec<_>>()
            };
            let expected = if refused { vec![no.to_owned()] } else { Vec::new() };
            assert_eq!(of((kind.strategy.validate_create)(&recreates)), expected);
            assert_eq!(of((kind.strategy.validate_update)(&recreates, &rolls)), expected);
            for new in [&recreates, &rolls] {
                let update = (kind.strategy.validate_update)(new, &recreates);
                assert!(of(update).is_empty() && of((kind.strategy.validate)(new)).is_empty());
            }
            let warns = !(kind.strategy.warnings)(&recreates, &recreates).is_empty();
            assert_eq!(warns, refused);
        }
    }

    #[test]
    fn recreate_has_no_parameters_of_a_rolling_update() {
        let kinds = Kinds::gated(&Gates::on([Gate::StatefulSetRecreateStrategy]));
        let kind = kinds.stored("statefulsets.apps").unwrap();
        let of = |strategy: Value| {
            let said =
                texts(&(kind.strategy.validate)(&json!({"spec": {"updateStrategy": strategy}})));
            said.into_iter().find(|it| it.contains("updateStrategy")).unwrap()
        };
        assert_eq!(
            of(json!({"type": "Recreate", "rollingUpdate": {"partition": 0}})),
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":0}: only allowed for \
             updateStrategy 'RollingUpdate'"
        );
        let other = of(json!({"type": "Other"}));
        assert!(other.ends_with("must be 'RollingUpdate', 'OnDelete' or 'Recreate'"), "{other}");
    }
}
