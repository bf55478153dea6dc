//! Recreate: nothing new runs before the last old pod has ended.

use coracle_api::resources::PODS;

use super::draft::Draft;
use crate::plan::Because;
use crate::workload::owner::Owner;
use crate::workload::replica::Replica;

impl Draft<'_> {
    /// One step of the roll-out.
    pub fn recreate(&mut self) {
        self.adjust_newest();
        let mut changed = false;
        for index in self.old() {
            changed |= self.resize(index, 0);
        }
        if changed || self.old_pods_run() {
            return;
        }
        self.find_or_make_newest();
        if let Some(newest) = self.newest {
            self.resize(newest, self.deployment.replicas);
        }
        if self.was_complete() {
            self.clean_up();
        }
    }

    /// Whether a pod of an old set has not ended, one that is being deleted among them.
    fn old_pods_run(&self) -> bool {
        let counts = |index: usize| self.sets[index].counted("replicas") > 0;
        self.old().into_iter().any(counts) || self.old_pod().is_some()
    }

    /// A pod of an old set that has not ended.
    fn old_pod(&self) -> Option<Replica> {
        let old = self.old();
        let mut stored = old.iter().filter_map(|index| self.sets[*index].stored.as_ref());
        stored.find_map(|object| {
            let owner = Owner::of(object);
            let pods = owner.controlled(self.snapshot, PODS).filter_map(Replica::read);
            pods.into_iter().find(|pod| pod.is_active() || pod.is_ending())
        })
    }

    /// What is old and has to go before the roll-out is over, or before anything new runs.
    pub fn waits_for_old(&self) -> Option<Because> {
        let pod = self.old_pod()?;
        let state = if pod.is_ending() { "has not ended yet" } else { "is still there" };
        let sentence = format!("{}, which is of an older template, {state}", pod.name());
        Some(Because::of(pod.object.key().clone(), sentence))
    }
}
