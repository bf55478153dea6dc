//! Why things are as they are: the last reason of every decision, for `coracle why`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::{Key, Timestamp};
use coracle_controllers::{Because, status_reason};
use coracle_store::Snapshot;

use crate::journal::{Entry, Journal};

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
    journal: Journal,
}

#[derive(Clone, Debug)]
struct Said {
    source: &'static str,
    because: Because,
    since: Timestamp,
}

impl Reasons {
    /// Reasons that are kept in `journal`, and go on where it left off.
    pub fn kept_in(journal: Journal) -> Self {
        Self { journal, ..Self::default() }
    }

    /// What was decided on the object at `key`, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn history(&self, key: &Key) -> std::io::Result<Vec<Entry>> {
        self.journal.history(key)
    }

    /// What `source` has done about the object, and says of it now; nothing when it waits for
    /// nothing.
    pub(crate) fn say(
        &self,
        source: &'static str,
        key: &Key,
        did: Vec<String>,
        because: Option<Because>,
        now: Timestamp,
    ) {
        let mut last = self.lock();
        let said = last.entry(key.clone()).or_default();
        let old = said.iter().position(|said| said.source == source).map(|at| said.remove(at));
        let sentence = because.as_ref().map(|because| because.sentence.clone());
        let kept = |sentence: &String| self.journal.since(key, source, sentence);
        let known = match (&old, &sentence) {
            (Some(old), Some(now)) if old.because.sentence == *now => Some(old.since),
            (None, Some(sentence)) => kept(sentence),
            _ => None,
        };
        let since = known.unwrap_or(now);
        let is_news = !did.is_empty() || (known.is_none() && (old.is_some() || sentence.is_some()));
        if let Some(because) = because {
            said.push(Said { source, because, since });
        }
        if said.is_empty() {
            last.remove(key);
        }
        drop(last);
        if is_news {
            let (controller, key) = (source.to_owned(), key.clone());
            self.journal.note(Entry { time: now, controller, key, did, because: sentence, since });
        }
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key, now: Timestamp) {
        self.lock().remove(key);
        self.journal.forget(key, now);
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
