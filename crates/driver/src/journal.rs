//! What was decided, and why: a ring of lines on disk, for `coracle why --history`.
//!
//! A decision that changed something, or whose reason is another than before, is one line of JSON.
//! When the newer of the two files is full it becomes the older one, and the new one begins with the
//! reasons that hold, so that a reason keeps its since-when for as long as it holds. Nothing rests on
//! the journal: what cannot be written to it is lost, and it is not flushed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::{Key, Timestamp};
use serde_json::{Value, json};

/// Bytes of each of the two files.
const BYTES_MAX: u64 = 4 << 20;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was decided.
    pub time: Timestamp,
    /// `statefulset-controller`
    pub controller: String,
    /// What was decided on.
    pub key: Key,
    /// `create Pod web-0`
    pub did: Vec<String>,
    /// Why nothing more happened; none when there is nothing to wait for.
    pub because: Option<String>,
    /// Since when that is so.
    pub since: Timestamp,
}

/// The journal. A handle: cloning it is cheap. Without a directory it keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    inner: Option<Arc<Mutex<Ring>>>,
}

#[derive(Debug)]
struct Ring {
    directory: PathBuf,
    newer: File,
    bytes: u64,
    /// The last line of each that still waits for something.
    holding: BTreeMap<(Key, String), Entry>,
}

impl Journal {
    /// The journal in `directory`, which is made.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut holding = BTreeMap::new();
        read(directory, |entry| hold(&mut holding, entry))?;
        let newer = append_to(&newer(directory))?;
        let bytes = newer.metadata()?.len();
        let ring = Ring { directory: directory.to_owned(), newer, bytes, holding };
        Ok(Self { inner: Some(Arc::new(Mutex::new(ring))) })
    }

    /// Since when `controller` gives this reason for `key`, if it is the last one that it gave.
    pub(crate) fn since(&self, key: &Key, controller: &str, because: &str) -> Option<Timestamp> {
        let ring = self.inner.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = ring.holding.get(&(key.clone(), controller.to_owned()))?;
        (entry.because.as_deref() == Some(because)).then_some(entry.since)
    }

    /// Appends a line.
    pub(crate) fn note(&self, entry: Entry) {
        let Some(ring) = &self.inner else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ring.append(entry) {
            tracing::debug!(%error, "a line of the journal was lost");
        }
    }

    /// The object is gone, and so are the reasons of its waiting.
    pub(crate) fn forget(&self, key: &Key, now: Timestamp) {
        let Some(ring) = &self.inner else { return };
        let of_it = |ring: &Ring| -> Vec<Entry> {
            let all = ring.holding.range((key.clone(), String::new())..);
            all.take_while(|((of, _), _)| of == key).map(|(_, entry)| entry.clone()).collect()
        };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in of_it(&ring) {
            let gone = Entry { time: now, did: Vec::new(), because: None, since: now, ..entry };
            if let Err(error) = ring.append(gone) {
                tracing::debug!(%error, "a line of the journal was lost");
            }
        }
    }

    /// What was decided on `key`, oldest first, as far as the journal reaches back.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn history(&self, key: &Key) -> io::Result<Vec<Entry>> {
        let Some(ring) = &self.inner else { return Ok(Vec::new()) };
        let directory = ring.lock().unwrap_or_else(PoisonError::into_inner).directory.clone();
        let mut found: Vec<Entry> = Vec::new();
        read(&directory, |entry| {
            // A reason that was written down anew at the beginning of a file is no news.
            let repeats = entry.did.is_empty()
                && found
                    .iter()
                    .rfind(|it| it.controller == entry.controller)
                    .is_some_and(|it| (&it.because, it.since) == (&entry.because, entry.since));
            if entry.key == *key && !repeats {
                found.push(entry);
            }
        })?;
        Ok(found)
    }
}

impl Ring {
    fn append(&mut self, entry: Entry) -> io::Result<()> {
        let line = line(&entry);
        hold(&mut self.holding, entry);
        if self.bytes.saturating_add(line.len() as u64) > BYTES_MAX {
            self.turn()?;
        }
        self.write(&line)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        self.newer.write_all(line.as_bytes())
    }

    /// The newer file becomes the older one; what holds is carried over.
    fn turn(&mut self) -> io::Result<()> {
        std::fs::rename(newer(&self.directory), older(&self.directory))?;
        self.newer = append_to(&newer(&self.directory))?;
        self.bytes = 0;
        let mut lines = String::new();
        for entry in self.holding.values() {
            lines.push_str(&line(&Entry { did: Vec::new(), ..entry.clone() }));
        }
        self.write(&lines)
    }
}

fn hold(holding: &mut BTreeMap<(Key, String), Entry>, entry: Entry) {
    let whose = (entry.key.clone(), entry.controller.clone());
    match entry.because {
        Some(_) => holding.insert(whose, entry),
        None => holding.remove(&whose),
    };
}

fn newer(directory: &Path) -> PathBuf {
    directory.join("decisions.jsonl")
}

fn older(directory: &Path) -> PathBuf {
    directory.join("decisions.old.jsonl")
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Every line of both files, oldest first. A line that a crash cut off is left out.
fn read(directory: &Path, mut each: impl FnMut(Entry)) -> io::Result<()> {
    for path in [older(directory), newer(directory)] {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        for line in BufReader::new(file).split(b'\n') {
            if let Some(entry) = serde_json::from_slice(&line?).ok().as_ref().and_then(entry) {
                each(entry);
            }
        }
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let Key { resource, namespace, name } = &entry.key;
    let value = json!({
        "time": entry.time.to_string(),
        "controller": entry.controller,
        "key": [&**resource, &**namespace, &**name],
        "did": entry.did,
        "because": entry.because,
        "since": entry.since.to_string(),
    });
    format!("{value}\n")
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let key = &value["key"];
    Some(Entry {
        time: value["time"].as_str()?.parse().ok()?,
        controller: text(&value["controller"])?,
        key: Key::new(text(&key[0])?, text(&key[1])?, text(&key[2])?),
        did: value["did"].as_array()?.iter().filter_map(text).collect(),
        because: text(&value["because"]),
        since: value["since"].as_str()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn said(name: &str, second: i64, did: &[&str], because: Option<&str>) -> Entry {
        Entry {
            time: at(second),
            controller: "test".into(),
            key: Key::new("pods", "default", name),
            did: did.iter().map(|did| (*did).to_owned()).collect(),
            because: because.map(str::to_owned),
            since: at(second),
        }
    }

    #[test]
    fn reasons_keep_their_since_over_a_start_and_go_with_their_object() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        journal.note(said("a", 1, &["create Pod a"], Some("it waits")));
        journal.note(said("b", 2, &[], Some("it waits")));
        let gone = Key::new("pods", "default", "b");
        journal.forget(&gone, at(3));
        drop(journal);
        std::fs::write(folder.path().join("decisions.old.jsonl"), "{\"cut o").unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let key = Key::new("pods", "default", "a");
        assert_eq!(journal.since(&key, "test", "it waits"), Some(at(1)));
        assert_eq!(journal.since(&key, "test", "another reason"), None);
        assert_eq!(journal.since(&gone, "test", "it waits"), None);
        let history = journal.history(&key).unwrap();
        assert_eq!(history, [said("a", 1, &["create Pod a"], Some("it waits"))]);
        assert_eq!(journal.history(&gone).unwrap().len(), 2);
    }

    #[test]
    fn the_ring_is_bounded_and_forgets_no_reason_that_holds() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        journal.note(said("old", 1, &[], Some("it waits")));
        let long = "x".repeat(64 * 1024);
        for n in 0..200 {
            journal.note(said("busy", n, &[&long], None));
        }
        let size = |path: PathBuf| std::fs::metadata(path).unwrap().len();
        assert!(size(newer(folder.path())) <= BYTES_MAX && size(older(folder.path())) <= BYTES_MAX);
        let journal = Journal::open(folder.path()).unwrap();
        let key = Key::new("pods", "default", "old");
        assert_eq!(journal.since(&key, "test", "it waits"), Some(at(1)));
        assert_eq!(journal.history(&key).unwrap().len(), 1);
    }
}
