//! `matchLabelKeys` and `mismatchLabelKeys` of a new pod: a rule about other pods means those that have
//! the same value of a label as this one, or another one. As upstream, what the pod has is written
//! into the rule's selector when it is made: later labels change nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Writes the pod's own labels into the selectors of its rules.
pub(super) fn apply(pod: &mut Value) {
    let labels: BTreeMap<String, String> = match pod["metadata"]["labels"].as_object() {
        Some(labels) => labels
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        None => return,
    };
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in items(spec.get_mut("topologySpreadConstraints")) {
        let is_said = constraint.get("matchLabelKeys").is_some();
        if is_said && constraint["labelSelector"].is_null() {
            constraint["labelSelector"] = json!({});
        }
        merge(constraint, &labels);
    }
    for rules in ["podAffinity", "podAntiAffinity"] {
        let rules = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(rules));
        let Some(rules) = rules else { continue };
        items(rules.get_mut(REQUIRED)).for_each(|term| merge(term, &labels));
        let preferred = items(rules.get_mut(PREFERRED));
        preferred
            .filter_map(|one| one.get_mut("podAffinityTerm"))
            .for_each(|term| merge(term, &labels));
    }
}

fn items(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

/// A rule without a selector means nobody, whatever labels it names.
fn merge(rule: &mut Value, labels: &BTreeMap<String, String>) {
    let mut more = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = rule.get(field).and_then(Value::as_array).into_iter().flatten();
        let known = keys.filter_map(|key| labels.get_key_value(key.as_str()?));
        more.extend(
            known.map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]})),
        );
    }
    let Some(selector) = rule.get_mut("labelSelector").and_then(Value::as_object_mut) else {
        return;
    };
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let mut all = expressions.cloned().unwrap_or_default();
    // What is said already is not said again: a pod that was read from a cluster is created anew.
    more.retain(|one| !all.contains(one));
    if !more.is_empty() {
        all.extend(more);
        selector.insert("matchExpressions".to_owned(), all.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_labels_are_written_into_the_rules() {
        let rule = |keys: Value, others: Value| {
            json!({
                "labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "zone",
                "matchLabelKeys": keys, "mismatchLabelKeys": others,
            })
        };
        let mut pod = json!({
            "metadata": {"labels": {"app": "a", "hash": "1", "tenant": "x"}},
            "spec": {
                "topologySpreadConstraints": [
                    {"labelSelector": {}, "matchLabelKeys": ["hash", "none"]},
                    {"matchLabelKeys": ["hash"]}, {"labelSelector": null}],
                "affinity": {
                    "podAffinity": {REQUIRED: [rule(json!(["hash"]), json!([]))]},
                    "podAntiAffinity": {PREFERRED:
                        [{"podAffinityTerm": rule(json!([]), json!(["tenant"]))}]},
                },
            },
        });
        apply(&mut pod);
        let same = json!([{"key": "hash", "operator": "In", "values": ["1"]}]);
        let other = json!([{"key": "tenant", "operator": "NotIn", "values": ["x"]}]);
        let spec = &pod["spec"];
        let spread = &spec["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"]["matchExpressions"], same);
        assert_eq!(spread[1]["labelSelector"]["matchExpressions"], same);
        assert!(spread[2]["labelSelector"].is_null());
        let required = &spec["affinity"]["podAffinity"][REQUIRED][0];
        assert_eq!(required["labelSelector"]["matchExpressions"], same);
        let preferred = &spec["affinity"]["podAntiAffinity"][PREFERRED][0]["podAffinityTerm"];
        assert_eq!(preferred["labelSelector"]["matchExpressions"], other);
        let before = pod.clone();
        apply(&mut pod);
        assert_eq!(pod, before);
    }

    #[test]
    fn malformed_rules_are_left_to_validation() {
        for spec in [
            json!(null),
            json!({"topologySpreadConstraints": {"a": 1}, "affinity": 3}),
            json!({"topologySpreadConstraints": [1, null, {"matchLabelKeys": "x"}]}),
            json!({"affinity": {"podAffinity": [], "podAntiAffinity": {REQUIRED: [[], {}]}}}),
        ] {
            apply(&mut json!({"metadata": {"labels": {"a": "b"}}, "spec": spec}));
        }
    }
}
