//! Another number of replicas in the middle of a roll-out: every set gets its share.

use super::draft::Draft;
use super::sets::{DESIRED, MOST, Set};
use super::spec::Strategy;

impl Draft<'_> {
    /// Whether the deployment's wish has changed since a set got its size.
    pub fn is_resized(&self) -> bool {
        let wanted = self.deployment.replicas;
        let differs = |set: &Set| set.number(DESIRED).is_some_and(|desired| desired != wanted);
        self.sets.iter().any(|set| set.size() > 0 && differs(set))
    }

    /// Spreads the wanted replicas over the sets.
    pub fn scale(&mut self) {
        let wanted = self.deployment.replicas;
        if let Some(only) = self.only_active() {
            return self.size_of(only, wanted);
        }
        if self.is_saturated() {
            for index in self.old() {
                self.size_of(index, 0);
            }
            return;
        }
        if matches!(self.deployment.strategy, Strategy::Rolling { .. }) {
            self.scale_in_proportion();
        }
    }

    /// The set that has all pods; the newest when no set has any.
    fn only_active(&self) -> Option<usize> {
        let mut active = (0..self.sets.len()).filter(|index| self.sets[*index].size() > 0);
        match (active.next(), active.next()) {
            (None, _) => self.newest.or_else(|| self.sets.len().checked_sub(1)),
            (one, None) => one,
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.deployment.replicas;
        let newest = self.newest.and_then(|index| self.sets.get(index));
        newest.is_some_and(|set| {
            set.size() == wanted
                && set.number(DESIRED) == Some(wanted)
                && set.counted("availableReplicas") == wanted
        })
    }

    fn scale_in_proportion(&mut self) {
        let most = if self.deployment.replicas > 0 { self.deployment.most() } else { 0 };
        let to_add = most.saturating_sub(self.total());
        let mut order: Vec<usize> =
            (0..self.sets.len()).filter(|index| self.sets[*index].size() > 0).collect();
        // Bigger ones first; of two alike the younger one grows first, and the older one shrinks.
        order.sort_by_key(|index| {
            let age = if to_add > 0 { self.sets.len().saturating_sub(*index) } else { *index };
            (std::cmp::Reverse(self.sets[*index].size()), age)
        });
        let mut added: i64 = 0;
        let mut sizes = Vec::new();
        for index in order {
            let share = self.share(&self.sets[index], to_add, added);
            added = added.saturating_add(share);
            sizes.push((index, self.sets[index].size().saturating_add(share)));
        }
        let left = to_add.saturating_sub(added);
        for (place, (index, size)) in sizes.into_iter().enumerate() {
            let more = if place == 0 { left } else { 0 };
            self.size_of(index, size.saturating_add(more).max(0));
        }
    }

    /// What a set gets of what is to be added, or taken away.
    fn share(&self, set: &Set, to_add: i64, added: i64) -> i64 {
        let rest = to_add.saturating_sub(added);
        if rest == 0 {
            return 0;
        }
        // A set whose size somebody else has changed may seem to be due the opposite. Upstream gives it
        // that, and the others pay for it: then there are more pods than the surge allows.
        self.fraction(set).clamp(rest.min(0), rest.max(0))
    }

    /// How much bigger the set must be to have the same share of the pods as before.
    fn fraction(&self, set: &Set) -> i64 {
        if self.deployment.replicas == 0 {
            return set.size().saturating_neg();
        }
        let before = set.number(MOST).filter(|most| *most != 0);
        let before = before.unwrap_or_else(|| self.deployment.counted("replicas"));
        if before <= 0 {
            return 0;
        }
        let (size, most) = (i128::from(set.size()), i128::from(self.deployment.most()));
        // Half is rounded away from zero; nothing here is negative.
        let doubled = size.saturating_mul(most).saturating_mul(2);
        let halves = doubled.saturating_add(i128::from(before));
        let whole = halves.checked_div(i128::from(before).saturating_mul(2)).unwrap_or(0);
        i64::try_from(whole.saturating_sub(size)).unwrap_or(i64::MAX)
    }

    /// Gives a set its size, and notes for which wish that was even when it is the same.
    fn size_of(&mut self, index: usize, size: i64) {
        let deployment = self.deployment;
        if let Some(set) = self.sets.get_mut(index) {
            set.resize(size, deployment);
        }
    }
}
