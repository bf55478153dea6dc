//! Whose place a pod takes that finds none: as few and as unimportant pods as possible.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::conditions;
use coracle_api::pods::AnyPod;
use coracle_api::{Object, Timestamp};

use super::ask::Ask;
use super::budgets;
use super::filters::{self, Objection};
use super::nodes::{Nodes, Place};
use super::scene::Scene;
use crate::pod_conditions::DISRUPTION_TARGET;

/// What the condition of a pod says that makes room for another.
pub(super) const REASON: &str = "PreemptionByScheduler";

/// A node, and the pods that would have to go.
pub(super) struct Candidate {
    pub node: String,
    /// The most important first.
    pub victims: Vec<Arc<Object>>,
    /// How many of them a budget guards.
    violations: usize,
}

/// Why nobody goes.
pub(super) enum Futile {
    /// It may not, or not yet: the node that is kept free for it stays.
    NotEligible(&'static str),
    /// By reason, of how many nodes it would not help.
    NoCandidate(BTreeMap<String, usize>),
}

/// What the filters said of each node that cannot take the pod.
pub(super) type Objections<'a> = BTreeMap<&'a str, Objection>;

/// The node that costs the least, and who must go there.
///
/// # Errors
/// Why there is none.
pub(super) fn candidate(
    nodes: &Nodes,
    ask: &Ask<'_>,
    objections: &Objections<'_>,
) -> Result<Candidate, Futile> {
    if ask.never_preempts() {
        return Err(Futile::NotEligible("not eligible due to preemptionPolicy=Never."));
    }
    if waits_for_victims(nodes, ask, objections) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return Err(Futile::NotEligible(why));
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    for place in nodes.iter() {
        let is_curable = objections.get(place.name()).is_some_and(|it| it.is_curable);
        let found = match is_curable {
            true => on_node(nodes, ask, place),
            false => Err(vec!["Preemption is not helpful for scheduling".to_owned()]),
        };
        match found {
            Ok(candidate) => candidates.push(candidate),
            Err(whys) => whys.into_iter().for_each(|why| {
                let count = reasons.entry(why).or_default();
                *count = count.saturating_add(1);
            }),
        }
    }
    candidates.into_iter().min_by_key(cost).ok_or(Futile::NoCandidate(reasons))
}

/// Whether pods that make room for this one have not gone yet.
fn waits_for_victims(nodes: &Nodes, ask: &Ask<'_>, objections: &Objections<'_>) -> bool {
    let Some(node) = ask.nominated() else { return false };
    if objections.get(node).is_none_or(|objection| !objection.is_curable) {
        return false;
    }
    let makes_room = |pod: &Arc<Object>| {
        let condition = conditions::find(pod.value(), DISRUPTION_TARGET);
        let is_victim =
            condition.is_some_and(|it| it["status"] == "True" && it["reason"] == REASON);
        pod.metadata().is_deleting() && is_victim
    };
    let below = nodes.below(node, ask.priority);
    below.iter().any(|(priority, _)| nodes.of_rank(node, *priority).any(makes_room))
}

/// The pods that must go from a node. All that are less important would; then as many as can be are
/// kept, first those that a budget guards, the most important first.
fn on_node(nodes: &Nodes, ask: &Ask<'_>, place: &Place) -> Result<Candidate, Vec<String>> {
    let below = nodes.below(place.name(), ask.priority);
    if below.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    let mut crowded = Scene::crowded(nodes, place, ask);
    let mut alone = Scene::of(place, ask);
    // What all of them have is added up already: where it is not enough, none need be looked at.
    let mut used = crowded.as_ref().unwrap_or(&alone).used.clone().into_owned();
    for (name, amount) in below.iter().flat_map(|(_, amounts)| amounts) {
        let sum = used.entry(name.clone()).or_default();
        *sum = sum.saturating_sub(*amount);
    }
    if let Some(objection) = filters::lacks(&place.allocatable, &used, &ask.request) {
        return Err(objection.reasons);
    }
    let ranks = below.iter().flat_map(|(rank, _)| nodes.of_rank(place.name(), *rank));
    let mut all: Vec<_> = ranks.cloned().collect();
    for pod in &all {
        alone.take(nodes, ask, pod);
        crowded.iter_mut().for_each(|scene| scene.take(nodes, ask, pod));
    }
    if let Some(objection) = filters::why_not(nodes, ask, crowded.as_ref(), &alone) {
        return Err(objection.reasons);
    }
    all.sort_by_cached_key(|pod| importance(pod));
    let (guarded, free) = budgets::split(nodes.snapshot(), all);
    let (mut victims, mut violations) = (Vec::new(), 0_usize);
    let guarded = guarded.into_iter().map(|pod| (pod, 1));
    for (pod, violation) in guarded.chain(free.into_iter().map(|pod| (pod, 0))) {
        alone.give_back(nodes, ask, &pod);
        crowded.iter_mut().for_each(|scene| scene.give_back(nodes, ask, &pod));
        if filters::why_not(nodes, ask, crowded.as_ref(), &alone).is_none() {
            continue;
        }
        alone.take(nodes, ask, &pod);
        crowded.iter_mut().for_each(|scene| scene.take(nodes, ask, &pod));
        violations = violations.saturating_add(violation);
        victims.push(pod);
    }
    if victims.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    victims.sort_by_cached_key(|pod| importance(pod));
    Ok(Candidate { node: place.name().to_owned(), victims, violations })
}

/// Ascending, the most important pod first: by priority, and then the one that has run longest.
fn importance(pod: &Object) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority()), started(pod))
}

/// When the pod was started; as late as can be when it was not yet.
fn started(pod: &Object) -> Timestamp {
    let said = pod.str_at("/status/startTime").and_then(|time| time.parse().ok());
    said.unwrap_or(Timestamp::MAX)
}

/// What a candidate costs: budgets, the most important victim, all priorities together, how many
/// pods, and how long the most important have run.
fn cost(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let priorities = candidate.victims.iter().map(AnyPod::priority);
    let most = priorities.clone().max().unwrap_or(i32::MIN);
    // None of them is below zero then: fewer pods are never worse than more of the same.
    let shifted = priorities.map(|one| i64::from(one).saturating_add(1 << 31));
    let sum = shifted.fold(0_i64, i64::saturating_add);
    let highest = candidate.victims.iter().filter(|pod| pod.priority() == most);
    let earliest = highest.map(|pod| started(pod)).min().unwrap_or(Timestamp::MAX);
    (candidate.violations, most, sum, candidate.victims.len(), Reverse(earliest))
}
