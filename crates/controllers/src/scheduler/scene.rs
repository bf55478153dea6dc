//! A node as it would be for one pod: with pods that are to come, without pods that would have to go.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::pods::AnyPod;
use coracle_api::{Key, Object};

use super::ask::Ask;
use super::company::Others;
use super::nodes::{Nodes, Place};
use super::request::{Amounts, Request};
use super::spread::Counts;

/// A node, and what one pod finds there.
#[derive(Clone)]
pub(super) struct Scene<'a> {
    pub place: &'a Place,
    pub used: Cow<'a, Amounts>,
    pub others: Cow<'a, Others>,
    pub counts: Cow<'a, Counts>,
    /// Pods that are there and would go.
    pub gone: BTreeSet<Key>,
    /// Pods that are to come.
    pub coming: Vec<Arc<Object>>,
}

impl<'a> Scene<'a> {
    /// The node as it is.
    pub fn of(place: &'a Place, ask: &'a Ask<'_>) -> Self {
        Self {
            place,
            used: Cow::Borrowed(&place.used),
            others: Cow::Borrowed(&ask.others),
            counts: Cow::Borrowed(&ask.counts),
            gone: BTreeSet::new(),
            coming: Vec::new(),
        }
    }

    /// The node with the pods that it is kept free for, and that matter as much as this one; `None`
    /// when there are none.
    pub fn crowded(nodes: &Nodes, place: &'a Place, ask: &'a Ask<'_>) -> Option<Self> {
        let own = ask.object.key();
        let kept = |pod: &Arc<Object>| pod.key() != own && pod.priority() >= ask.priority;
        let coming: Vec<_> = nodes.nominated(place.name()).into_iter().filter(kept).collect();
        if coming.is_empty() {
            return None;
        }
        let mut scene = Self::of(place, ask);
        for pod in &coming {
            scene.change(nodes, ask, pod, 1);
        }
        scene.coming = coming;
        Some(scene)
    }

    /// A pod would go.
    pub fn take(&mut self, nodes: &Nodes, ask: &Ask<'_>, pod: &Object) {
        self.gone.insert(pod.key().clone());
        self.change(nodes, ask, pod, -1);
    }

    /// It stays after all.
    pub fn give_back(&mut self, nodes: &Nodes, ask: &Ask<'_>, pod: &Object) {
        self.gone.remove(pod.key());
        self.change(nodes, ask, pod, 1);
    }

    fn change(&mut self, nodes: &Nodes, ask: &Ask<'_>, pod: &Object, by: i64) {
        let used = self.used.to_mut();
        for (name, amount) in &Request::of(pod).amounts {
            let sum = used.entry(name.clone()).or_default();
            *sum = sum.saturating_add(amount.saturating_mul(by));
        }
        ask.company.change(self.others.to_mut(), nodes, self.place, pod, by);
        ask.spread.change(self.counts.to_mut(), self.place, pod, by);
    }
}
