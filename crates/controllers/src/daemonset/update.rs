//! Pods come to the newest template: so many nodes at a time as may be without an available pod, or
//! as may have one more.

use super::draft::Draft;
use crate::workload::replica::Replica;

/// The live pods of a node: of the newest template, and of an older one.
enum Pair {
    /// At most one of each.
    Of(Option<Replica>, Option<Replica>),
    /// More: the next decision cleans up first.
    Crowded,
}

impl Draft<'_> {
    /// Goes as far as the strategy allows.
    pub fn update(&mut self) {
        if !self.set.rolls {
            return;
        }
        let desired = self.places.iter().filter(|place| place.should_run).count();
        let (surge, unavailable) = self.set.limits(desired);
        if surge == 0 {
            self.replace(unavailable);
        } else {
            self.surge(surge, desired);
        }
    }

    fn pair(&self, pods: &[Replica]) -> Pair {
        let (mut new, mut old) = (None, None);
        for pod in pods.iter().filter(|pod| !pod.is_deleting()) {
            let place = if self.is_updated(pod) { &mut new } else { &mut old };
            if place.replace(pod.clone()).is_some() {
                return Pair::Crowded;
            }
        }
        Pair::Of(new, old)
    }

    /// Old pods are deleted, and new ones made in their place when they are gone. Those that serve
    /// nobody go without limit.
    fn replace(&mut self, most: usize) {
        let mut unavailable: usize = 0;
        let (mut futile, mut serving) = (Vec::new(), Vec::new());
        for pods in self.members.values() {
            match self.pair(pods) {
                Pair::Of(Some(new), None) if self.is_available(&new) => continue,
                Pair::Of(None, Some(old)) if self.is_available(&old) => {
                    serving.push(old);
                    continue;
                }
                Pair::Of(None, Some(old)) => futile.push(old),
                _ => {}
            }
            unavailable = unavailable.saturating_add(1);
        }
        let left = most.saturating_sub(unavailable);
        for pod in futile.iter().chain(serving.iter().take(left)) {
            self.delete(pod);
        }
    }

    /// New pods are made beside the old ones, which go when the new ones are available.
    fn surge(&mut self, most: usize, desired: usize) {
        let mut surged: usize = 0;
        let (mut at_once, mut in_turn) = (Vec::new(), Vec::new());
        let (mut replaced, mut misplaced) = (Vec::new(), Vec::new());
        for (node, pods) in &self.members {
            let should_run =
                self.places.iter().any(|place| place.name == *node && place.should_run);
            match self.pair(pods) {
                Pair::Crowded => surged = surged.saturating_add(1),
                Pair::Of(_, None) => {}
                Pair::Of(None, Some(old)) => match (self.is_available(&old), should_run) {
                    (true, true) => in_turn.push(node.clone()),
                    (true, false) => misplaced.push(old),
                    (false, true) => at_once.push(node.clone()),
                    (false, false) => replaced.push(old),
                },
                Pair::Of(Some(new), Some(old)) if self.is_available(&new) => replaced.push(old),
                Pair::Of(Some(_), Some(_)) => surged = surged.saturating_add(1),
            }
        }
        let available = self.members.values().flatten().filter(|pod| self.is_available(pod));
        let spare = available.count().saturating_sub(desired);
        for pod in replaced.iter().chain(misplaced.iter().take(spare)) {
            self.delete(pod);
        }
        let left = most.saturating_sub(surged);
        for node in at_once.iter().chain(in_turn.iter().take(left)) {
            self.create(node, 0);
        }
    }
}
