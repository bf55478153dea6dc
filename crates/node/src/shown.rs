//! What runs of each pod, for whoever is no task of it: logs, exec, attach, what looks after volumes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;

use crate::lock::locked;
use crate::planner::Instance;
use crate::worker::Worker;

/// What runs of all pods, by their UIDs.
#[derive(Default)]
pub(crate) struct ShownPods(Mutex<HashMap<String, Shown>>);

/// What runs of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub containers: BTreeMap<String, ShownContainer>,
    pub netns: Option<PathBuf>,
}

/// The last two runs of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownContainer {
    pub current: Option<ShownRun>,
    pub previous: Option<ShownRun>,
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct ShownRun {
    pub id: String,
    pub attempt: u32,
    pub running: bool,
}

impl ShownRun {
    fn of(instance: &Instance) -> Self {
        let (id, attempt) = (instance.id.clone(), instance.attempt);
        Self { id, attempt, running: instance.is_running() }
    }
}

impl ShownPods {
    pub fn get(&self, uid: &str) -> Option<Shown> {
        locked(&self.0).get(uid).cloned()
    }

    /// What the pod's worker sees now.
    pub fn set(&self, worker: &Worker) {
        let containers = worker.seen().containers.iter().map(|(name, seen)| {
            let current = seen.current.as_ref().map(ShownRun::of);
            let previous = seen.previous.as_ref().map(ShownRun::of);
            (name.clone(), ShownContainer { current, previous })
        });
        let shown = Shown { containers: containers.collect(), netns: worker.netns().cloned() };
        locked(&self.0).insert(worker.id().uid.clone(), shown);
    }

    pub fn forget(&self, uid: &str) {
        locked(&self.0).remove(uid);
    }
}
