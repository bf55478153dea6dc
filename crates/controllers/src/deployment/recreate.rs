//! Recreate: nothing new runs before the last old pod has ended.

use coracle_api::resources::PODS;

use super::draft::Draft;
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
        self.old().into_iter().any(|index| {
            let set = &self.sets[index];
            set.counted("replicas") > 0
                || set.stored.as_ref().is_some_and(|object| {
                    let owner = Owner::of(object);
                    let pods = owner.controlled(self.snapshot, PODS).filter_map(Replica::read);
                    let mut running = pods.filter(|pod| pod.is_active() || pod.is_ending());
                    running.next().is_some()
                })
        })
    }
}
