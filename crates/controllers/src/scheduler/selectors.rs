//! Which nodes a pod or a volume may be on, and which taints a pod bears.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration,
};

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// Whether the pod's `nodeSelector` and required node affinity allow the node.
pub(crate) fn allows_node(pod: &Pod, labels: &Labels, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|selector| matches_node(selector, labels, name))
}

/// The only nodes that can be meant, when each term of the required node affinity names some; `None`
/// when all can be.
pub(super) fn named_nodes(pod: &Pod) -> Option<BTreeSet<String>> {
    let required = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms =
        &required.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut all = BTreeSet::new();
    for term in terms {
        let fields = term.match_fields.iter().flatten();
        let names = fields.filter(|rule| rule.key == "metadata.name" && rule.operator == "In");
        let named = names.map(|rule| rule.values.iter().flatten().cloned().collect());
        all.extend(named.reduce(|a: BTreeSet<String>, b| &a & &b)?);
    }
    Some(all)
}

/// Whether one of the selector's terms holds for the node.
pub(super) fn matches_node(selector: &NodeSelector, labels: &Labels, name: &str) -> bool {
    selector.node_selector_terms.iter().any(|term| holds(term, labels, name))
}

/// A term holds when all of it does; one that says nothing holds for no node.
pub(super) fn holds(term: &NodeSelectorTerm, labels: &Labels, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label =
        |rule: &NodeSelectorRequirement| satisfies(rule, labels.get(&rule.key).map(String::as_str));
    let field =
        |rule: &NodeSelectorRequirement| rule.key == "metadata.name" && satisfies(rule, Some(name));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(label)
        && fields.iter().all(field)
}

fn satisfies(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let among = value.is_some_and(|value| values.iter().any(|one| one == value));
    let compare = |holds: fn(i64, i64) -> bool| {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        number(value)
            .zip(number(values.first().map(String::as_str)))
            .is_some_and(|(found, wanted)| holds(found, wanted))
    };
    match rule.operator.as_str() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|found, wanted| found > wanted),
        "Lt" => compare(|found, wanted| found < wanted),
        _ => false,
    }
}

/// Whether one of the tolerations bears the taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let any = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let effect = any(&toleration.effect) || toleration.effect.as_ref() == Some(&taint.effect);
        let key = any(&toleration.key) || toleration.key.as_ref() == Some(&taint.key);
        let value = match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => {
                toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
            }
        };
        effect && key && value
    })
}
