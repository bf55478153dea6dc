//! Watches: every write once, in order, with nothing left out; also for one that resumes.

use std::collections::VecDeque;

use coracle_store::{Snapshot, Store, Watch};

use super::Change;

/// Events that resumed watches are compared with.
const KEPT: usize = 300;

#[derive(Default)]
pub(super) struct Watches {
    last: u64,
    /// Revision and key of the last events.
    log: VecDeque<(u64, String)>,
}

impl Watches {
    pub fn begin(&mut self, revision: u64) {
        self.last = revision;
        self.log.clear();
    }

    /// Everything between two states, as the watch tells it.
    pub fn read(
        &mut self,
        watch: &mut Watch,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<Vec<Change>, String> {
        let mut changes: Vec<Change> = Vec::new();
        loop {
            let event = match watch.try_next() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => return Err(format!("a watch that keeps up was cut off: {error}")),
            };
            if event.revision != self.last + 1 {
                return Err(format!("revision {} after {}", event.revision, self.last));
            }
            self.last = event.revision;
            let earlier = changes.iter().rev().find(|it| it.key == event.key);
            let known = match earlier {
                Some(change) => change.new.as_ref(),
                None => before.get(&event.key),
            };
            let revision = |it: Option<u64>| it.unwrap_or(0);
            let (old, was) = (event.old.as_ref(), known.map(|it| it.revision()));
            if revision(old.map(|it| it.revision())) != revision(was) {
                return Err(format!("{}: an event does not follow the one before", event.key));
            }
            if self.log.len() == KEPT {
                self.log.pop_front();
            }
            self.log.push_back((event.revision, event.key.to_string()));
            let (key, old, new) = (event.key.clone(), event.old.clone(), event.new.clone());
            changes.push(Change { key, old, new });
        }
        if self.last != after.revision() {
            let newest = after.revision();
            return Err(format!("the watch ends at {}, the state is at {newest}", self.last));
        }
        Ok(changes)
    }

    /// A watch that begins at a past revision sees the same as one that was there all the time.
    pub fn resume(&self, store: &Store, at: u64) -> Result<(), String> {
        let Ok(mut watch) = store.watch(at) else { return Ok(()) };
        for (revision, key) in self.log.iter().filter(|(revision, _)| *revision > at) {
            match watch.try_next() {
                Ok(Some(event)) if event.revision == *revision && event.key.to_string() == *key => {
                }
                other => {
                    let found = other.map(|event| event.map(|it| it.revision));
                    return Err(format!("resumed at {at}: {found:?} instead of {revision} {key}"));
                }
            }
        }
        Ok(())
    }
}
