//! Resizing a pod: the node's ledger, the file that remembers what it promised, control groups.

use std::path::PathBuf;
use std::{fs, io};

use coracle_api::Object;
use coracle_store::files;

use super::{Hands, machine};
use crate::context::Context;
use crate::ledger::{Ledger, Room};
use crate::planner::{Changes, Record, Verdict};
use crate::tasks::blocking;
use crate::volumes::Places;
use crate::worker::{Allocate, End, Message};

impl Hands {
    /// Asks the ledger. What it promises is on the disk before anybody hears of it.
    pub(super) async fn allocate(&self, allocate: Allocate) -> End {
        let Allocate { asking, record } = allocate;
        let verdict = self.context.ask_ledger(|ledger, room| ledger.ask(asking, room));
        if verdict == Verdict::Granted
            && let Err(error) = self.remember(record).await
        {
            // The promise stands in the ledger, and is asked for again.
            self.warn(&error, "the resize is not remembered");
            return End::Broken;
        }
        // Others may have waited for what this pod gave up, or for what it was thought to get.
        self.context.tell_of_room();
        End::Allocated(verdict)
    }

    pub(super) async fn resize(&self, changes: &Changes) -> End {
        let done = machine::resize(&*self.context.runtime, &self.id.uid, changes).await;
        if done.is_ok()
            && let Err(error) = self.remember(changes.record.clone()).await
        {
            // Then the next engine does it once more.
            self.warn(&error, "that the pod is resized is not remembered");
        }
        End::Resized(done)
    }

    async fn remember(&self, record: Record) -> Result<(), String> {
        let file = file(&self.context.places, &self.id.uid);
        let write = move || write(&file, &record);
        blocking(write).await.map_err(|error| error.to_string())
    }
}

impl Context {
    fn ask_ledger<T>(&self, question: impl FnOnce(&mut Ledger, &Room) -> T) -> T {
        let mut ledger = self.board.ledger();
        // Looked at under the lock: whoever is next sees what this one leaves.
        let snapshot = self.client.api.snapshot();
        let counted = |pod: &Object| !self.board.is_rejected(&pod.metadata().uid);
        question(&mut ledger, &Room::of(&snapshot, &self.config.name, counted))
    }

    /// Tells those that wait for room and have it now.
    pub fn tell_of_room(&self) {
        if self.board.ledger().is_idle() {
            return;
        }
        let lucky = self.ask_ledger(|ledger, room| ledger.retry(room));
        lucky.iter().for_each(|uid| self.board.send(uid, Message::Room));
    }
}

/// What an earlier engine remembered of a pod's resize; nothing where there is no such file, or one
/// that cannot be read: then the pod's status tells.
pub(super) fn remembered(places: &Places, uid: &str) -> Option<Record> {
    serde_json::from_slice(&fs::read(file(places, uid)).ok()?).ok()
}

fn file(places: &Places, uid: &str) -> PathBuf {
    places.pod(uid).join("resize.json")
}

fn write(file: &std::path::Path, record: &Record) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    files::replace(file, &serde_json::to_vec(record)?, 0o600)
}
