//! Where a pod may run: affinity, tolerations, spreading.

use std::collections::BTreeSet;

use super::cursor::{Errors, Field};
use super::parts::{self, label_name};
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `spec.affinity`.
pub(super) fn affinity(errors: &mut Errors, affinity: &Field<'_>) {
    let node = affinity.child("nodeAffinity");
    let required = node.child(REQUIRED);
    if required.is_set() {
        node_selector(errors, &required);
    }
    for term in node.child(PREFERRED).items() {
        weight(errors, &term.child("weight"));
        preferred_term(errors, &term.child("preference"));
    }
    for kind in ["podAffinity", "podAntiAffinity"].map(|kind| affinity.child(kind)) {
        kind.child(REQUIRED).items().for_each(|term| pod_term(errors, &term));
        for term in kind.child(PREFERRED).items() {
            weight(errors, &term.child("weight"));
            pod_term(errors, &term.child("podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut Errors, weight: &Field<'_>) {
    if !(1..=100).contains(&weight.int()) {
        errors.invalid(weight, "must be in the range 1-100");
    }
}

/// A `NodeSelector`, of a pod or a volume.
pub(super) fn node_selector(errors: &mut Errors, selector: &Field<'_>) {
    let terms = selector.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&terms, "must have at least one node selector term");
    }
    for term in terms.items() {
        preferred_term(errors, &term);
        for expression in term.child("matchExpressions").items() {
            for value in expression.child("values").items() {
                errors.all_invalid(&value, names::label_value(value.text()));
            }
        }
    }
}

/// A term that only weighs: upstream asks nothing of its values.
fn preferred_term(errors: &mut Errors, term: &Field<'_>) {
    for expression in term.child("matchExpressions").items() {
        let (operator, values) = (expression.child("operator"), expression.child("values"));
        match operator.text() {
            "Gt" | "Lt" if values.len() != 1 => errors.required(
                &values,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ),
            "Gt" | "Lt" => {}
            text if parts::set_values(errors, text, &values) => {}
            _ => errors.invalid(&operator, "not a valid selector operator"),
        }
        label_name(errors, &expression.child("key"));
    }
}

fn pod_term(errors: &mut Errors, term: &Field<'_>) {
    parts::selector(errors, &term.child("labelSelector"));
    parts::selector(errors, &term.child("namespaceSelector"));
    term.child("namespaces").items().for_each(|name| parts::dns_label(errors, &name));
    let key = term.child("topologyKey");
    if key.is_empty() {
        errors.required(&key, "can not be empty");
    } else {
        label_name(errors, &key);
    }
}

/// `spec.tolerations`.
pub(super) fn tolerations(errors: &mut Errors, list: &Field<'_>) {
    for toleration in list.items() {
        let (key, operator) = (toleration.child("key"), toleration.child("operator"));
        let (value, effect) = (toleration.child("value"), toleration.child("effect"));
        if !key.is_empty() {
            label_name(errors, &key);
        } else if operator.text() != "Exists" {
            errors.invalid_as(
                &operator,
                &operator.text().into(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.child("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            errors.invalid_as(
                &effect,
                &effect.text().into(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator.text() {
            "" | "Equal" => {
                let sentences = names::label_value(value.text());
                if !sentences.is_empty() {
                    errors.invalid_as(&operator, value.value, &sentences.join(";"));
                }
            }
            "Exists" if !value.is_empty() => errors.invalid_as(
                &operator,
                value.value,
                "value must be empty when `operator` is 'Exists'",
            ),
            "Exists" => {}
            _ => errors.not_supported(&operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            errors.one_of_if_set(&effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

/// `spec.topologySpreadConstraints`.
pub(super) fn spread(errors: &mut Errors, list: &Field<'_>) {
    let mut seen = BTreeSet::new();
    for constraint in list.items() {
        let skew = constraint.child("maxSkew");
        if skew.int() <= 0 {
            errors.invalid(&skew, "must be greater than zero");
        }
        let (key, when) = (constraint.child("topologyKey"), constraint.child("whenUnsatisfiable"));
        // Upstream asks no more of the key.
        if key.is_empty() {
            errors.required(&key, "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&when.text()) {
            errors.not_supported(&when, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let pair = format!("{{{}, {}}}", key.text(), when.text());
        if !seen.insert(pair.clone()) {
            let path = format!("{}.{{topologyKey, whenUnsatisfiable}}", constraint.path);
            errors.duplicate_as(&path, &pair);
        }
        let domains = constraint.child("minDomains");
        if domains.is_set() && domains.int() <= 0 {
            errors.invalid(&domains, "must be greater than zero");
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            errors.one_of_if_set(&constraint.child(policy), &["Honor", "Ignore"]);
        }
        parts::selector(errors, &constraint.child("labelSelector"));
    }
}
