//! Why things are as they are: the last reason of every decision, for `coracle why`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::{Key, Timestamp};
use coracle_controllers::{Because, status_reason};
use coracle_store::Snapshot;

/// How many links a chain of reasons has at most.
const LINKS_MAX: usize = 16;

/// One link of the chain: what an object waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The object.
    pub key: Key,
    /// Who says so: `statefulset-controller`, or `status` when the object's own status does.
    pub source: &'static str,
    /// `web-1 is not ready`
    pub sentence: String,
    /// Since when it has been said, without a change; unknown for a status.
    pub since: Option<Timestamp>,
}

/// The last reasons of all decisions. A handle: cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    last: Arc<Mutex<HashMap<Key, Vec<Said>>>>,
}

#[derive(Clone, Debug)]
struct Said {
    source: &'static str,
    because: Because,
    since: Timestamp,
}

impl Reasons {
    /// What `source` says of the object now; nothing when it waits for nothing.
    pub(crate) fn say(
        &self,
        source: &'static str,
        key: &Key,
        because: Option<Because>,
        now: Timestamp,
    ) {
        let mut last = self.lock();
        let said = last.entry(key.clone()).or_default();
        let old = said.iter().position(|said| said.source == source).map(|at| said.remove(at));
        if let Some(because) = because {
            let since = old.filter(|old| old.because == because).map_or(now, |old| old.since);
            said.push(Said { source, because, since });
        }
        if said.is_empty() {
            last.remove(key);
        }
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// What the object at `key` waits for, what that waits for, and so on.
    pub fn why(&self, snapshot: &Snapshot, key: &Key) -> Vec<Reason> {
        let mut chain: Vec<Reason> = Vec::new();
        let mut next = Some(key.clone());
        while let Some(key) = next.take() {
            if chain.len() >= LINKS_MAX || chain.iter().any(|reason| reason.key == key) {
                break;
            }
            let said = self.lock().get(&key).cloned().unwrap_or_default();
            for Said { source, because, since } in said {
                next = next.or(because.whom.filter(|whom| *whom != key));
                let sentence = because.sentence;
                chain.push(Reason { key: key.clone(), source, sentence, since: Some(since) });
            }
            let status = snapshot.get(&key).and_then(|object| status_reason(snapshot, object));
            chain.extend(status.map(|because| {
                next = next.take().or(because.whom);
                Reason { key, source: "status", sentence: because.sentence, since: None }
            }));
        }
        chain
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Said>>> {
        // No code of ours leaves the map half changed.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
