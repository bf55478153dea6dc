//! What pods would like of the company of other pods: those that wait, and those that are there.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::resources::PODS;
use coracle_api::{Index, Object, index};
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};

use super::ask::Ask;
use super::nodes::{Nodes, Place, running_on};
use super::terms::{Term, affinity, disliked, liked};

/// What it weighs that a pod is there that requires this one around.
const REQUIRED_WEIGHT: i64 = 1;

/// How much each domain is liked: label of nodes, its value.
type Liking = BTreeMap<(String, String), i64>;

/// How much the pod and the others would like it on each of `places`; nothing when nobody cares.
pub(super) fn likings(nodes: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Option<Vec<i64>> {
    let mut liking = Liking::new();
    own(&mut liking, nodes, ask);
    those_of_others(&mut liking, nodes, ask.object);
    let of_place = |place: &&Place| {
        let here =
            |((key, value), _): &(&(String, String), &i64)| place.labels.get(key) == Some(value);
        liking.iter().filter(here).fold(0_i64, |sum, (_, weight)| sum.saturating_add(*weight))
    };
    (!liking.is_empty()).then(|| places.iter().map(of_place).collect())
}

/// What the pod itself would like.
fn own(liking: &mut Liking, nodes: &Nodes, ask: &Ask<'_>) {
    let with = liked(ask.pod).iter().map(|one| (&one.pod_affinity_term, i64::from(one.weight)));
    let without =
        disliked(ask.pod).iter().map(|one| (&one.pod_affinity_term, -i64::from(one.weight)));
    for (term, weight) in with.chain(without) {
        let term = Term::of(nodes.snapshot(), ask.object, term);
        for other in term.found(nodes.snapshot()) {
            if let Some(place) = running_on(other).and_then(|node| nodes.get(&node)) {
                add(liking, &term, place, weight);
            }
        }
    }
}

/// What those that are there think of the pod.
fn those_of_others(liking: &mut Liking, nodes: &Nodes, object: &Object) {
    let demands = index::demands_on(&object.metadata().labels);
    let caring = |term: String| nodes.snapshot().indexed(Index::PodPrefers, &term, PODS, None);
    let mut seen = BTreeSet::new();
    for other in demands.flat_map(caring).filter(|other| seen.insert(other.key())) {
        let Some(place) = running_on(other).and_then(|node| nodes.get(&node)) else { continue };
        let Ok(pod) = other.view::<Pod>() else { continue };
        let mut weigh = |term: &PodAffinityTerm, weight: i64| {
            let term = Term::of(nodes.snapshot(), other, term);
            if term.means(object) {
                add(liking, &term, place, weight);
            }
        };
        affinity(&pod).iter().for_each(|term| weigh(term, REQUIRED_WEIGHT));
        liked(&pod).iter().for_each(|one| weigh(&one.pod_affinity_term, one.weight.into()));
        disliked(&pod).iter().for_each(|one| weigh(&one.pod_affinity_term, -i64::from(one.weight)));
    }
}

fn add(liking: &mut Liking, term: &Term<'_>, place: &Place, weight: i64) {
    if let Some(value) = place.labels.get(term.key) {
        let sum = liking.entry((term.key.to_owned(), value.clone())).or_default();
        *sum = sum.saturating_add(weight);
    }
}
