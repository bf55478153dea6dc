//! What pods require of the company of other pods, by affinity and anti-affinity.
//!
//! Which pods are meant is asked of the indexes once a pod, not once a node: what is kept is how many
//! of them each domain has, which one pod more or less changes.

use std::collections::BTreeMap;

use coracle_api::resources::PODS;
use coracle_api::{Index, Object, index};
use k8s_openapi::api::core::v1::Pod;

use super::nodes::{Nodes, Place, running_on};
use super::terms::{Term, affinity, anti_affinity};

/// How many pods are in each domain: label of nodes, its value.
pub(super) type Domains = BTreeMap<(String, String), i64>;

/// What a pod requires.
pub(super) struct Company<'a> {
    object: &'a Object,
    wanted: Vec<Term<'a>>,
    avoided: Vec<Term<'a>>,
}

/// Where others are.
#[derive(Clone, Default)]
pub(super) struct Others {
    /// Those that it wants around: that all of its terms mean.
    wanted: Domains,
    /// Those that it does not want around.
    avoided: Domains,
    /// Those that do not want it around.
    unwelcome: Domains,
}

/// Why the company on and around a node is wrong, and whether it would help if pods went.
pub(super) type Wrong = (&'static str, bool);

impl<'a> Company<'a> {
    pub fn of(nodes: &Nodes, object: &'a Object, pod: &'a Pod) -> (Self, Others) {
        let terms = |terms: &'a [_]| {
            terms.iter().map(|term| Term::of(nodes.snapshot(), object, term)).collect()
        };
        let company =
            Self { object, wanted: terms(affinity(pod)), avoided: terms(anti_affinity(pod)) };
        let others = company.others(nodes);
        (company, others)
    }

    fn others(&self, nodes: &Nodes) -> Others {
        let mut others = Others::default();
        let place = |other: &Object| nodes.get(&running_on(other)?);
        if let Some(first) = self.wanted.first() {
            for other in first.found(nodes.snapshot()) {
                if let Some(place) = place(other) {
                    self.count_wanted(&mut others, place, other, 1);
                }
            }
        }
        for term in &self.avoided {
            for other in term.found(nodes.snapshot()) {
                if let Some(place) = place(other) {
                    count(&mut others.avoided, term.key, place, 1);
                }
            }
        }
        let demands = index::demands_on(&self.object.metadata().labels);
        let avoiding = |term: String| nodes.snapshot().indexed(Index::PodAvoids, &term, PODS, None);
        let mut seen = std::collections::BTreeSet::new();
        for other in demands.flat_map(avoiding) {
            if seen.insert(other.key())
                && let Some(place) = place(other)
            {
                self.count_unwelcome(&mut others, nodes, place, other, 1);
            }
        }
        others
    }

    /// `other` comes to the node of `place` (1), or goes (-1).
    pub fn change(
        &self,
        others: &mut Others,
        nodes: &Nodes,
        place: &Place,
        other: &Object,
        by: i64,
    ) {
        self.count_wanted(others, place, other, by);
        for term in self.avoided.iter().filter(|term| term.means(other)) {
            count(&mut others.avoided, term.key, place, by);
        }
        self.count_unwelcome(others, nodes, place, other, by);
    }

    fn count_wanted(&self, others: &mut Others, place: &Place, other: &Object, by: i64) {
        if !self.wanted.is_empty() && self.wanted.iter().all(|term| term.means(other)) {
            for term in &self.wanted {
                count(&mut others.wanted, term.key, place, by);
            }
        }
    }

    fn count_unwelcome(
        &self,
        others: &mut Others,
        nodes: &Nodes,
        place: &Place,
        other: &Object,
        by: i64,
    ) {
        let Ok(pod) = other.view::<Pod>() else { return };
        for term in anti_affinity(&pod) {
            let term = Term::of(nodes.snapshot(), other, term);
            if term.means(self.object) {
                count(&mut others.unwelcome, term.key, place, by);
            }
        }
    }

    /// Why the company is wrong.
    pub fn why_not(&self, others: &Others, place: &Place) -> Option<Wrong> {
        if !self.has_wanted(others, place) {
            return Some(("node(s) didn't match pod affinity rules", false));
        }
        if self.avoided.iter().any(|term| others.avoided.has(term.key, place)) {
            return Some(("node(s) didn't match pod anti-affinity rules", true));
        }
        let here = |(key, value): &(String, String)| place.labels.get(key) == Some(value);
        let unwelcome = others.unwelcome.keys().any(here);
        unwelcome.then_some(("node(s) didn't satisfy existing pods anti-affinity rules", true))
    }

    /// The first of a group whose pods want each other goes anywhere.
    fn has_wanted(&self, others: &Others, place: &Place) -> bool {
        let is_domain = self.wanted.iter().all(|term| place.labels.contains_key(term.key));
        let is_there = self.wanted.iter().all(|term| others.wanted.has(term.key, place));
        let is_first =
            || others.wanted.is_empty() && self.wanted.iter().all(|term| term.means(self.object));
        is_domain && (is_there || is_first())
    }
}

trait Has {
    /// Whether somebody is in the domain of the node.
    fn has(&self, key: &str, place: &Place) -> bool;
}

impl Has for Domains {
    fn has(&self, key: &str, place: &Place) -> bool {
        domain(key, place).is_some_and(|domain| self.contains_key(&domain))
    }
}

/// The domain of a node.
fn domain(key: &str, place: &Place) -> Option<(String, String)> {
    Some((key.to_owned(), place.labels.get(key)?.clone()))
}

/// Counts, and forgets domains where nobody is.
fn count(domains: &mut Domains, key: &str, place: &Place, by: i64) {
    let Some(domain) = domain(key, place) else { return };
    let left = domains.get(&domain).copied().unwrap_or(0).saturating_add(by);
    if left > 0 {
        domains.insert(domain, left)
    } else {
        domains.remove(&domain)
    };
}
