//! A term of a pod's affinity or anti-affinity: which pods it means.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::resources::{NAMESPACES, PODS};
use coracle_api::{Object, Selector};
use coracle_store::Snapshot;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};

/// A term, read once.
pub(super) struct Term<'a> {
    /// The label of nodes that tells domains apart.
    pub key: &'a str,
    selector: Selector,
    /// `None` for all.
    namespaces: Option<BTreeSet<String>>,
}

impl<'a> Term<'a> {
    /// `term` of the pod `owner`.
    pub fn of(snapshot: &Snapshot, owner: &Object, term: &'a PodAffinityTerm) -> Self {
        let selector = Selector::from_typed(term.label_selector.as_ref());
        Self {
            key: &term.topology_key,
            selector: selector.unwrap_or_else(|_| Selector::nothing()),
            namespaces: namespaces(snapshot, owner, term),
        }
    }

    /// Whether it means `other`.
    pub fn means(&self, other: &Object) -> bool {
        let metadata = other.metadata();
        let here = |all: &BTreeSet<String>| all.contains(&metadata.namespace);
        self.namespaces.as_ref().is_none_or(here) && self.selector.matches(&metadata.labels)
    }

    /// All pods that it means.
    pub fn found<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Arc<Object>> {
        match &self.namespaces {
            None => snapshot.selected(PODS, None, &self.selector),
            Some(namespaces) => {
                let each = namespaces.iter();
                each.flat_map(|name| snapshot.selected(PODS, Some(name), &self.selector)).collect()
            }
        }
    }
}

/// The namespaces that `term` of `owner` is about; `None` for all.
fn namespaces(
    snapshot: &Snapshot,
    owner: &Object,
    term: &PodAffinityTerm,
) -> Option<BTreeSet<String>> {
    let mut names: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    let by_label = term.namespace_selector.as_ref();
    if names.is_empty() && by_label.is_none() {
        names.insert(owner.metadata().namespace.clone());
    }
    let selector = Selector::from_typed(by_label).unwrap_or_else(|_| Selector::nothing());
    if selector.is_everything() {
        return None;
    }
    let selected = snapshot.selected(NAMESPACES, None, &selector);
    names.extend(selected.into_iter().map(|namespace| namespace.metadata().name.clone()));
    Some(names)
}

/// The terms of a pod's affinity that must hold.
pub(super) fn affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let rules = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
    let required = rules
        .and_then(|rules| rules.required_during_scheduling_ignored_during_execution.as_deref());
    required.unwrap_or_default()
}

/// The terms of its anti-affinity that must hold.
pub(super) fn anti_affinity(pod: &Pod) -> &[PodAffinityTerm] {
    let spec = pod.spec.as_ref();
    let rules = spec.and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
    let required = rules
        .and_then(|rules| rules.required_during_scheduling_ignored_during_execution.as_deref());
    required.unwrap_or_default()
}

/// The terms that it would like to hold.
pub(super) fn liked(pod: &Pod) -> &[WeightedPodAffinityTerm] {
    let rules = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
    let preferred = rules
        .and_then(|rules| rules.preferred_during_scheduling_ignored_during_execution.as_deref());
    preferred.unwrap_or_default()
}

/// The terms that it would like not to hold.
pub(super) fn disliked(pod: &Pod) -> &[WeightedPodAffinityTerm] {
    let spec = pod.spec.as_ref();
    let rules = spec.and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
    let preferred = rules
        .and_then(|rules| rules.preferred_during_scheduling_ignored_during_execution.as_deref());
    preferred.unwrap_or_default()
}
