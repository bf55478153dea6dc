//! The count: plain text in a file, durable before a visit is answered.
//!
//! One thread owns the file. It takes all visits that wait, writes their sum, flushes once, and
//! answers them all: many visits share one flush. The text is overwritten in place, within one
//! sector, so that a torn write cannot mix two numbers; it never gets shorter. What somebody else
//! writes to the file is seen before the next visit: another number counts on, anything else is an
//! error, and a file that was removed comes back with the count it had.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

/// Bytes that are read of the file; a number has at most 20 digits.
const TEXT_MAX: u64 = 64;
/// Visits that one flush may carry.
const BATCH_MAX: usize = 4096;

/// Why the count cannot be read or written. The replica is then not ready; the file is left as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VisitsError {
    /// The file holds something else.
    #[error("{} holds {text:?}, which is no number: repair it by hand, nothing was changed", .path.display())]
    NotANumber {
        /// Which file.
        path: PathBuf,
        /// Its first characters.
        text: String,
    },
    /// The file cannot be opened or created.
    #[error("cannot open {}: {source}", .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The new count could not be made durable.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopping,
}

type Answer = oneshot::Sender<Result<u64, VisitsError>>;

enum Ask {
    /// Count one visit.
    Visit(Answer),
    /// The durable count; opens or repairs the file first when it was not usable.
    Read(Answer),
}

/// Handle to the thread that owns the file.
pub struct Visits {
    asks: Sender<Ask>,
}

impl Visits {
    /// Start the thread. The file is opened at the first ask, and again as long as it fails.
    pub fn start(path: PathBuf) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || keep(&path, &receiver));
        Self { asks: sender }
    }

    /// Count one visit; the new count, once it is durable.
    ///
    /// # Errors
    /// When it could not be made durable: it is then not counted.
    pub async fn count(&self) -> Result<u64, VisitsError> {
        self.ask(Ask::Visit).await
    }

    /// The durable count.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn read(&self) -> Result<u64, VisitsError> {
        self.ask(Ask::Read).await
    }

    async fn ask(&self, ask: impl FnOnce(Answer) -> Ask) -> Result<u64, VisitsError> {
        let (sender, receiver) = oneshot::channel();
        self.asks.send(ask(sender)).map_err(|_| VisitsError::Stopping)?;
        receiver.await.unwrap_or(Err(VisitsError::Stopping))
    }
}

/// The thread: batches until nobody can ask any more.
fn keep(path: &Path, asks: &Receiver<Ask>) {
    let mut counter = None;
    let mut last = 0;
    while let Ok(first) = asks.recv() {
        let mut batch = vec![first];
        batch.extend(asks.try_iter().take(BATCH_MAX));
        counter = counter.filter(Counter::is_as_written);
        answer(path, &mut counter, last, batch);
        last = counter.as_ref().map_or(last, |counter| counter.durable);
    }
}

/// Answer all of `batch`. A file that is missing starts with `last`.
fn answer(path: &Path, counter: &mut Option<Counter>, last: u64, batch: Vec<Ask>) {
    let (mut visits, mut reads) = (Vec::new(), Vec::new());
    for ask in batch {
        match ask {
            Ask::Visit(answer) => visits.push(answer),
            Ask::Read(answer) => reads.push(answer),
        }
    }
    let before = match opened(path, counter, last) {
        Ok(counter) => counter.durable,
        Err(error) => return refuse(visits.into_iter().chain(reads), &error),
    };
    let counted = match counter {
        Some(counter) if !visits.is_empty() => counter.add(visits.len() as u64),
        _ => Ok(before),
    };
    match counted {
        Ok(after) => {
            send(visits, before + 1..);
            send(reads, std::iter::repeat(after));
        }
        Err(error) => {
            // What the file holds is unknown now: read it again before anything else.
            *counter = None;
            refuse(visits.into_iter().chain(reads), &error);
        }
    }
}

fn opened<'a>(
    path: &Path,
    counter: &'a mut Option<Counter>,
    last: u64,
) -> Result<&'a mut Counter, VisitsError> {
    match counter {
        Some(counter) => Ok(counter),
        None => Ok(counter.insert(Counter::open(path, last)?)),
    }
}

fn send(answers: Vec<Answer>, numbers: impl Iterator<Item = u64>) {
    for (answer, number) in answers.into_iter().zip(numbers) {
        // A client that went away wants no answer; its visit is counted.
        drop(answer.send(Ok(number)));
    }
}

fn refuse(answers: impl Iterator<Item = Answer>, error: &VisitsError) {
    for answer in answers {
        drop(answer.send(Err(error.clone())));
    }
}

/// The open file and the number that is durably in it.
struct Counter {
    path: PathBuf,
    file: File,
    durable: u64,
}

impl Counter {
    fn open(path: &Path, if_missing: u64) -> Result<Self, VisitsError> {
        let failed =
            |source: io::Error| VisitsError::Open { path: path.into(), source: source.into() };
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                file.take(TEXT_MAX).read_to_end(&mut bytes).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bytes = text_of(if_missing).into_bytes();
                create(path, &bytes).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let text = String::from_utf8_lossy(&bytes);
        let durable = number_in(&text)
            .ok_or_else(|| VisitsError::NotANumber { path: path.into(), text: text.to_string() })?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let counter = Self { path: path.into(), file, durable };
        // Proves that the file can be written, and leaves nothing behind the number.
        counter.write(durable).map_err(|source| counter.failed(source))?;
        Ok(counter)
    }

    /// Whether the file still is the one that we wrote last.
    fn is_as_written(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let mut bytes = [0; TEXT_MAX as usize];
        let text = text_of(self.durable);
        let read = self.file.read_at(&mut bytes, 0);
        let linked = self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        linked && read.is_ok_and(|length| &bytes[..length] == text.as_bytes())
    }

    /// Add `n` visits; the new count, durable.
    fn add(&mut self, n: u64) -> Result<u64, VisitsError> {
        let Some(after) = self.durable.checked_add(n) else {
            return Err(self.failed(io::Error::other("the number would be too large")));
        };
        if let Err(source) = self.write(after) {
            // These visits are refused, so they must not be in the file after a restart. If the
            // disk refuses that too, the old number is still what was flushed last.
            drop(self.write(self.durable));
            return Err(self.failed(source));
        }
        self.durable = after;
        Ok(after)
    }

    fn write(&self, number: u64) -> io::Result<()> {
        let text = text_of(number);
        self.file.write_all_at(text.as_bytes(), 0)?;
        if self.file.metadata()?.len() != text.len() as u64 {
            self.file.set_len(text.len() as u64)?;
        }
        self.file.sync_data()
    }

    fn failed(&self, source: io::Error) -> VisitsError {
        VisitsError::Write { path: self.path.clone(), source: source.into() }
    }
}

/// What the file holds after `number` visits.
fn text_of(number: u64) -> String {
    format!("{number}\n")
}

/// The number in `text`. A crash of the machine between the growth of the file by one digit and the
/// digits themselves leaves the old text and a zero byte: the old count, which is the durable one.
fn number_in(text: &str) -> Option<u64> {
    let text = text.strip_suffix("\n\0").unwrap_or(text).trim_ascii();
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A new file that holds `text`: whole or not at all.
fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("new");
    let mut file = File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_go_on_where_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("visits.txt");
        let visits = Visits::start(path.clone());
        assert_eq!(visits.count().await.unwrap(), 1);
        assert_eq!(visits.count().await.unwrap(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
        drop(visits);
        assert_eq!(Visits::start(path).count().await.unwrap(), 3);
    }

    #[tokio::test]
    async fn many_at_once_get_each_number_once() {
        let folder = tempfile::tempdir().unwrap();
        let visits = Arc::new(Visits::start(folder.path().join("visits.txt")));
        let tasks: Vec<_> = (0..500)
            .map(|_| {
                let visits = Arc::clone(&visits);
                tokio::spawn(async move { visits.count().await.unwrap() })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=500).collect::<Vec<u64>>());
    }

    #[tokio::test]
    async fn what_is_no_number_is_never_reset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("visits.txt");
        for text in ["", "many", "-1", "+1", "12 13", "99999999999999999999999"] {
            std::fs::write(&path, text).unwrap();
            let visits = Visits::start(path.clone());
            let error = visits.count().await.unwrap_err();
            assert!(error.to_string().contains("no number"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            std::fs::write(&path, "41\n\n").unwrap();
            assert_eq!(visits.count().await.unwrap(), 42, "repaired by hand, it goes on");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "42\n");
        }
    }

    #[tokio::test]
    async fn the_largest_number_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("visits.txt");
        let text = format!("{}\n", u64::MAX);
        std::fs::write(&path, &text).unwrap();
        let visits = Visits::start(path.clone());
        assert!(visits.count().await.unwrap_err().to_string().contains("too large"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[tokio::test]
    async fn what_others_write_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("visits.txt");
        let visits = Visits::start(path.clone());
        assert_eq!(visits.count().await.unwrap(), 1);
        std::fs::write(&path, "100").unwrap();
        assert_eq!(visits.count().await.unwrap(), 101, "another number counts on");
        std::fs::write(&path, "oh").unwrap();
        assert!(visits.read().await.is_err(), "not ready");
        assert!(visits.count().await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "oh");
        std::fs::write(&path, "101\n").unwrap();
        assert_eq!(visits.count().await.unwrap(), 102);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(visits.count().await.unwrap(), 103, "never back to zero");
    }

    #[tokio::test]
    async fn the_end_of_a_growth_cut_off_by_a_crash_is_the_old_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("visits.txt");
        std::fs::write(&path, "99\n\0").unwrap();
        assert_eq!(Visits::start(path).count().await.unwrap(), 100);
    }
}
