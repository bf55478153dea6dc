//! What the tasks of pods tell each other and the node, by pods' UIDs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use crate::ledger::Ledger;
use crate::letters::Outbox;
use crate::lock::locked;
use crate::names::Names;
use crate::pods::PodId;
use crate::worker::Message;

/// Which pods have a task, and which have their name for themselves.
#[derive(Default)]
pub(crate) struct Board {
    workers: Mutex<HashMap<String, Outbox>>,
    names: Mutex<Names>,
    rejected: Mutex<BTreeSet<String>>,
    ledger: Mutex<Ledger>,
}

impl Board {
    /// Messages to the pod's task go there from now on.
    pub fn enlist(&self, uid: &str, worker: Outbox) {
        locked(&self.workers).insert(uid.to_owned(), worker);
    }

    /// The pods that have a task.
    pub fn enlisted(&self) -> Vec<String> {
        locked(&self.workers).keys().cloned().collect()
    }

    pub fn is_enlisted(&self, uid: &str) -> bool {
        locked(&self.workers).contains_key(uid)
    }

    /// The pod has a task that only tells that it may not run here.
    pub fn reject(&self, uid: &str) {
        locked(&self.rejected).insert(uid.to_owned());
    }

    pub fn is_rejected(&self, uid: &str) -> bool {
        locked(&self.rejected).contains(uid)
    }

    /// What the node has promised to its pods.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// The pod's task has ended, and nothing of the pod is left.
    pub fn strike(&self, id: &PodId) {
        locked(&self.workers).remove(&id.uid);
        locked(&self.rejected).remove(&id.uid);
        self.ledger().forget(&id.uid);
        self.release_name(id);
    }

    /// Whether the pod has its name for itself; if not, it is told when to ask again.
    pub fn take_name(&self, id: &PodId) -> bool {
        locked(&self.names).take(&id.namespace, &id.name, &id.uid)
    }

    /// What runs has its name, as long as something of it is left.
    pub fn hold_name(&self, id: &PodId) {
        locked(&self.names).hold(&id.namespace, &id.name, &id.uid);
    }

    /// Another pod of its name may begin.
    fn release_name(&self, id: &PodId) {
        let waiting = locked(&self.names).release(&id.namespace, &id.name, &id.uid);
        // Only those that are told in this order take it: the first one.
        for uid in waiting {
            let has_it = locked(&self.names).take(&id.namespace, &id.name, &uid);
            self.send(&uid, Message::Predecessor(!has_it));
        }
    }

    pub fn send(&self, uid: &str, message: Message) {
        let workers = locked(&self.workers);
        if let Some(worker) = workers.get(uid) {
            worker.send(message);
        }
    }
}
