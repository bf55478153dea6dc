//! The file that audit events go to: a thread of its own writes them, so that no request waits for a
//! disk. What waits is bounded, and so are the files together; what is lost is counted and said.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::event::Event;

/// Events that wait to be written, and the bytes that they hold.
const WAITING_MAX: usize = 10_000;
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes of a file, and how many older ones are kept beside it: `audit.log.1` is the newest of them.
const FILE_MAX: u64 = 64 << 20;
const OLDER_MAX: u32 = 3;
/// Bytes that are written at once.
const AT_ONCE: usize = 256 << 10;
/// How long whoever closes the log waits for what is still to be written.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long it waits for room before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where events are handed in.
pub(super) struct Log {
    events: SyncSender<Message>,
    waiting: Arc<Waiting>,
}

enum Message {
    Event(Box<Event>),
    /// All before it is to be written, and told.
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Log {
    /// Goes on writing the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened, or no thread be started.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = Rotated::open(path, FILE_MAX)?;
        let (events, queue) = sync_channel(WAITING_MAX);
        let waiting = Arc::<Waiting>::default();
        let writer = Writer { file, waiting: Arc::clone(&waiting), trouble: None };
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { events, waiting })
    }

    /// Hands an event in; it is lost when too many wait.
    pub(super) fn add(&self, event: Event) {
        let weight = event.weight();
        let held = self.waiting.bytes.fetch_add(weight, Ordering::Relaxed);
        if held > WAITING_BYTES_MAX
            || self.events.try_send(Message::Event(Box::new(event))).is_err()
        {
            self.waiting.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, not for ever, until all that was handed in is written.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let (begun, mut message) = (Instant::now(), Message::Flush(done));
        // A queue that is full is what is to be waited for.
        while let Err(TrySendError::Full(back)) = self.events.try_send(message) {
            if begun.elapsed() > FAREWELL {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
            message = back;
        }
        if wait.recv_timeout(FAREWELL.saturating_sub(begun.elapsed())).is_err() {
            tracing::warn!("the last events are not in the audit log");
        }
    }
}

struct Writer {
    file: Rotated,
    waiting: Arc<Waiting>,
    /// Why nothing can be written now, as it was said.
    trouble: Option<String>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(first) = queue.recv() {
            let mut done = Vec::new();
            let all = std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv().ok()));
            for message in all.take(WAITING_MAX) {
                match message {
                    Message::Event(event) => {
                        self.waiting.bytes.fetch_sub(event.weight(), Ordering::Relaxed);
                        self.write(*event);
                    }
                    Message::Flush(told) => done.push(told),
                }
            }
            let written = self.file.flush();
            self.note(written);
            for told in done {
                // It may have waited for long enough.
                let _ = told.try_send(());
            }
        }
    }

    /// What a client has sent is read here: whatever it does to us costs its own line only.
    fn write(&mut self, event: Event) {
        let line = std::panic::catch_unwind(AssertUnwindSafe(|| event.line()));
        let added = line.map_or_else(
            |_| Err(Lost { error: io::Error::other("an event made us panic"), events: 1 }),
            |line| self.file.add(&line),
        );
        self.note(added);
    }

    /// Says what is new about writing: that it fails, and for which reason, or that it works again.
    fn note(&mut self, written: Result<(), Lost>) {
        let path = self.file.path.display();
        match written {
            Err(Lost { error, events }) => {
                self.waiting.lost.fetch_add(events, Ordering::Relaxed);
                let why = error.to_string();
                if self.trouble.as_ref() != Some(&why) {
                    tracing::error!(
                        "the audit log {path} cannot be written, and events are lost: {why}"
                    );
                    self.trouble = Some(why);
                }
            }
            Ok(()) if self.file.buffer.is_empty() => {
                let lost = self.waiting.lost.swap(0, Ordering::Relaxed);
                self.trouble = None;
                if lost > 0 {
                    tracing::warn!("{lost} events are missing in the audit log {path}");
                }
            }
            Ok(()) => {}
        }
    }
}

/// So many events were not written.
#[derive(Debug)]
struct Lost {
    error: io::Error,
    events: u64,
}

/// A file that gives way to a new one when it is long enough.
struct Rotated {
    path: PathBuf,
    file: File,
    /// Bytes in it that are whole lines.
    length: u64,
    longest: u64,
    buffer: Vec<u8>,
    buffered: u64,
}

impl Rotated {
    /// What is no file, as /dev/null, is never moved away; of a link the file that it leads to is.
    fn open(path: &Path, longest: u64) -> io::Result<Self> {
        let file = opened(path)?;
        let metadata = file.metadata()?;
        let (path, longest) = match metadata.is_file() {
            true => (std::fs::canonicalize(path)?, longest),
            false => (path.to_path_buf(), u64::MAX),
        };
        let length = metadata.len();
        Ok(Self { path, file, length, longest, buffer: Vec::new(), buffered: 0 })
    }

    fn add(&mut self, line: &[u8]) -> Result<(), Lost> {
        let next = self.length.saturating_add(self.buffer.len() as u64);
        if next.saturating_add(line.len() as u64) > self.longest {
            self.flush()?;
            if self.length > 0 {
                self.rotate().map_err(|error| Lost { error, events: 1 })?;
            }
        }
        self.buffer.extend_from_slice(line);
        self.buffered += 1;
        if self.buffer.len() >= AT_ONCE { self.flush() } else { Ok(()) }
    }

    /// Writes what waits: all of it or nothing.
    fn flush(&mut self) -> Result<(), Lost> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.buffer);
        let events = std::mem::take(&mut self.buffered);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => {
                self.length = self.length.saturating_add(bytes);
                Ok(())
            }
            Err(error) => {
                // Half a line would make the next one unreadable.
                let _ = self.file.set_len(self.length);
                Err(Lost { error, events })
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..OLDER_MAX).rev() {
            let (from, to) = (older(&self.path, age), older(&self.path, age.saturating_add(1)));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = opened(&self.path)?;
        self.length = self.file.metadata()?.len();
        Ok(())
    }
}

/// Appended to, and for root's eyes: it may hold what was in Secrets.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn older(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_together_are_bounded_and_lines_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = Rotated::open(&path, 100).unwrap();
        let lines: Vec<String> = (0..60).map(|at| format!("{at:09}\n")).collect();
        for line in &lines {
            file.add(line.as_bytes()).unwrap();
        }
        file.flush().unwrap();
        let read = |age| std::fs::read_to_string(older(&path, age)).unwrap();
        let kept = [3, 2, 1, 0].map(read).concat();
        assert_eq!(kept, lines[20..].concat());
        assert!(!older(&path, 4).exists());
        // An engine that starts again goes on in the same file.
        drop(file);
        let mut file = Rotated::open(&path, 100).unwrap();
        file.add(b"one more\n").unwrap();
        file.flush().unwrap();
        assert_eq!(read(0), "one more\n");
    }

    #[test]
    fn what_is_no_file_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("link"), folder.path().join("real"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = Rotated::open(&link, 10).unwrap();
        file.add(b"123456789\n").unwrap();
        file.add(b"and so on\n").unwrap();
        file.flush().unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), real);
        let real = std::fs::canonicalize(real).unwrap();
        assert_eq!(std::fs::read_to_string(older(&real, 1)).unwrap(), "123456789\n");
        assert_eq!(Rotated::open(Path::new("/dev/null"), 10).unwrap().longest, u64::MAX);
    }

    #[test]
    fn whoever_closes_the_log_waits_for_room_in_the_queue() {
        let (events, queue) = sync_channel(1);
        let log = Log { events, waiting: Arc::default() };
        log.events.send(Message::Flush(sync_channel(1).0)).unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(2 * LOOK_AGAIN);
            let told = queue.iter().take(2).map(|message| match message {
                Message::Flush(told) => told.try_send(()).is_ok(),
                Message::Event(_) => false,
            });
            told.filter(|told| *told).count()
        });
        log.flush();
        assert_eq!(writer.join().unwrap(), 1);
    }

    #[test]
    fn a_disk_that_is_full_loses_events_and_nothing_else() {
        let mut file = Rotated::open(Path::new("/dev/full"), FILE_MAX).unwrap();
        file.add(b"a\n").unwrap();
        file.add(b"b\n").unwrap();
        let Lost { error, events } = file.flush().unwrap_err();
        assert_eq!((error.kind(), events), (io::ErrorKind::StorageFull, 2));
        file.flush().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("not/there");
        assert!(Log::open(&gone).is_err());
    }
}
