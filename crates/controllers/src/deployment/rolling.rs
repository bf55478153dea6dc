//! RollingUpdate: the newest set grows into the room there is, the old ones shrink by what need not
//! be available.

use super::draft::Draft;
use crate::workload::owner::Owner;
use crate::workload::replica::Replica;
use crate::workload::status;

impl Draft<'_> {
    /// One step of the roll-out.
    pub fn roll(&mut self) {
        self.find_or_make_newest();
        if !self.grow() && !self.shrink() && self.was_complete() {
            self.clean_up();
        }
    }

    /// Sets the size of the newest set; whether it was another.
    fn grow(&mut self) -> bool {
        let Some(newest) = self.newest else { return false };
        let set = &self.sets[newest];
        if set.stored.is_none() {
            return true;
        }
        let (size, wanted) = (set.size(), self.deployment.replicas);
        let size = if size > wanted { wanted } else { self.room(size) };
        self.resize(newest, size)
    }

    /// Takes pods from old sets; whether there were any to take.
    fn shrink(&mut self) -> bool {
        let old = self.old();
        if old.iter().all(|index| self.sets[*index].size() == 0) {
            return false;
        }
        let unavailable = self
            .newest
            .map_or(0, |index| self.sets[index].size().saturating_sub(self.available(index)));
        let least = self.deployment.least_available();
        let most = self.total().saturating_sub(least).saturating_sub(unavailable);
        if most <= 0 {
            return false;
        }
        let unhealthy = self.shrink_unhealthy(&old, most);
        let healthy = self.shrink_available(&old, least);
        unhealthy || healthy
    }

    /// How many pods of a set are available and stay, whatever its status says: that may be of before
    /// its last change of size, or of before pods became available.
    fn available(&self, index: usize) -> i64 {
        let set = &self.sets[index];
        let Some(owner) = set.stored.as_ref().map(Owner::of) else { return 0 };
        let seconds = owner.spec_number("minReadySeconds").unwrap_or(0);
        let pods = Replica::of(self.snapshot, &owner).into_iter();
        let available =
            pods.filter(|pod| pod.is_active() && pod.is_available(seconds, self.now)).count();
        status::len(available).min(set.size())
    }

    /// Old pods that serve nobody go first.
    fn shrink_unhealthy(&mut self, old: &[usize], most: i64) -> bool {
        let mut left = most;
        let mut changed = false;
        for index in old {
            let size = self.sets[*index].size();
            let broken = size.saturating_sub(self.available(*index));
            let taken = broken.min(left);
            if taken > 0 {
                left = left.saturating_sub(taken);
                let size = size.saturating_sub(taken);
                changed |= self.resize(*index, size);
            }
        }
        changed
    }

    fn shrink_available(&mut self, old: &[usize], least: i64) -> bool {
        let available = (0..self.sets.len())
            .fold(0_i64, |sum, index| sum.saturating_add(self.available(index)));
        let mut left = available.saturating_sub(least);
        let mut changed = false;
        for index in old {
            let size = self.sets[*index].size();
            let taken = size.min(left);
            if taken > 0 {
                left = left.saturating_sub(taken);
                changed |= self.resize(*index, size.saturating_sub(taken));
            }
        }
        changed
    }
}
