//! Reading container logs, which the shims write in the CRI's format:
//! `2026-01-01T00:00:00.000000000Z stdout F the line`.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::Timestamp;
use coracle_server::LogOptions;
use tokio::sync::mpsc;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Lines are sent in chunks of about this size.
const CHUNK_BYTES: usize = 16 << 10;

/// One line of a log file, without its line break.
struct Line<'a> {
    time: &'a str,
    /// Whether the container's line ends here.
    whole: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let whole = parts.next()? != b"P";
    Some(Line { time, whole, text: parts.next().unwrap_or_default() })
}

/// Turns a file's lines into what a client asked for.
struct Filter {
    timestamps: bool,
    since: Option<Timestamp>,
    left: Option<u64>,
    /// The last line was only part of the container's line.
    within: bool,
}

impl Filter {
    fn new(options: &LogOptions) -> Self {
        let LogOptions { timestamps, since, limit_bytes, .. } = *options;
        Self { timestamps, since, left: limit_bytes, within: false }
    }

    /// Whether nothing more may be sent.
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    fn add(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(line) else { return };
        if let Some(since) = self.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        let before = out.len();
        if self.timestamps && !self.within {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.whole {
            out.push(b'\n');
        }
        self.within = !line.whole;
        if let Some(left) = &mut self.left {
            let added = (out.len() - before) as u64;
            let allowed = added.min(*left);
            *left -= allowed;
            out.truncate(before + usize::try_from(allowed).unwrap_or(usize::MAX));
        }
    }
}

/// A position in a log that may be rotated: `LOG` becomes `LOG.1`.
struct Source {
    path: PathBuf,
    file: Option<fs::File>,
    /// What was read of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, rest: Vec::new() })
    }

    /// The lines that are complete since the last call.
    fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = std::mem::take(&mut self.rest);
        loop {
            if self.file.is_none() {
                self.file = open(&self.path)?;
            }
            let Some(file) = &mut self.file else { break };
            file.read_to_end(&mut bytes)?;
            if !self.was_rotated()? {
                break;
            }
            // Nothing more comes into the old file; the new one is read from its beginning.
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut bytes)?;
            }
            self.file = None;
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.rest = bytes.split_off(end);
        Ok(split(&bytes).map(<[u8]>::to_vec).collect())
    }

    fn was_rotated(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        Ok(match fs::metadata(&self.path) {
            Ok(found) => found.ino() != file.metadata()?.ino(),
            // Between two renames, or removed for good: in both cases nothing new is there yet.
            Err(_) => false,
        })
    }
}

/// A pod that mounts the directory of logs could put something else there.
fn open(path: &Path) -> io::Result<Option<fs::File>> {
    let careful = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let careful = i32::try_from(careful).unwrap_or_default();
    match fs::OpenOptions::new().read(true).custom_flags(careful).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".1");
    path.with_file_name(name)
}

/// What is there already: the rotated file's lines, then the present one's, the last
/// `tail_lines` of them. A line in parts counts once.
fn present(source: &mut Source, tail_lines: Option<u64>) -> io::Result<Vec<Vec<u8>>> {
    let old = fs::read(rotated(&source.path)).unwrap_or_default();
    let mut lines: Vec<Vec<u8>> = split(&old).map(<[u8]>::to_vec).collect();
    lines.extend(source.lines()?);
    let Some(wanted) = tail_lines else { return Ok(lines) };
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let ends = |line: &[u8]| parse(line).is_some_and(|line| line.whole);
    let mut seen = 0;
    let mut start = lines.len();
    for (index, line) in lines.iter().enumerate().rev() {
        if ends(line) || index + 1 == lines.len() {
            if seen == wanted {
                break;
            }
            seen += 1;
        }
        start = index;
    }
    Ok(lines.split_off(start))
}

/// Sends the log at `path` as `options` say. With `follow`, goes on until `is_over` says that
/// the container has ended, or nobody listens.
pub(crate) async fn stream(
    path: PathBuf,
    options: LogOptions,
    is_over: impl Fn() -> bool + Send,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut filter = Filter::new(&options);
    let mut source = Source::open(&path)?;
    let lines = present(&mut source, options.tail_lines)?;
    if !send(&mut filter, lines, &out).await || !options.follow {
        return Ok(());
    }
    loop {
        // Before reading: what a container wrote before it ended is there by then.
        let over = is_over();
        let lines = source.lines()?;
        if !send(&mut filter, lines, &out).await || over {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

/// Whether there is more to send.
async fn send(filter: &mut Filter, lines: Vec<Vec<u8>>, out: &mpsc::Sender<Bytes>) -> bool {
    let mut chunk = Vec::new();
    for line in lines {
        filter.add(&line, &mut chunk);
        if (chunk.len() >= CHUNK_BYTES || filter.is_done())
            && out.send(std::mem::take(&mut chunk).into()).await.is_err()
        {
            return false;
        }
        if filter.is_done() {
            return false;
        }
    }
    chunk.is_empty() || out.send(chunk.into()).await.is_ok()
}

/// The last lines of a log, at most so many `bytes`: a termination message.
pub(crate) fn last_lines(path: &Path, lines: u64, bytes: u64) -> String {
    let options = LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
    let mut text = Vec::new();
    let read = Source::open(path).and_then(|mut source| present(&mut source, options.tail_lines));
    let mut filter = Filter::new(&options);
    for line in read.unwrap_or_default() {
        filter.add(&line, &mut text);
    }
    let start = text.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut tail = io::Cursor::new(text);
    let mut kept = String::new();
    // In memory; what is no text is left out.
    tail.seek(SeekFrom::Start(start as u64)).unwrap_or_default();
    tail.read_to_string(&mut kept).unwrap_or_default();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LINES: &str = "2026-01-01T00:00:01.5Z stdout F one\n\
        2026-01-01T00:00:02Z stderr P tw\n\
        2026-01-01T00:00:02Z stderr F o\n\
        2026-01-01T00:00:03Z stdout F \n\
        2026-01-01T00:00:04Z stdout F four\n";

    async fn read(old: &str, text: &str, options: LogOptions) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        fs::write(&path, text).unwrap();
        if !old.is_empty() {
            fs::write(directory.path().join("0.log.1"), old).unwrap();
        }
        let (out, mut receiver) = mpsc::channel(64);
        stream(path, options, || true, out).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn lines_are_put_together_and_chosen() {
        let all = LogOptions::default;
        for (options, text) in [
            (all(), "one\ntwo\n\nfour\n"),
            (LogOptions { tail_lines: Some(3), ..all() }, "two\n\nfour\n"),
            (LogOptions { tail_lines: Some(0), ..all() }, ""),
            (LogOptions { tail_lines: Some(99), ..all() }, "one\ntwo\n\nfour\n"),
            (LogOptions { limit_bytes: Some(5), ..all() }, "one\nt"),
            (
                LogOptions { since: Some("2026-01-01T00:00:02.5Z".parse().unwrap()), ..all() },
                "\nfour\n",
            ),
            (
                LogOptions { timestamps: true, tail_lines: Some(3), ..all() },
                "2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z \n2026-01-01T00:00:04Z four\n",
            ),
        ] {
            assert_eq!(read("", LINES, options.clone()).await, text, "{options:?}");
        }
        assert_eq!(read("2026-01-01T00:00:00Z stdout F zero\n", LINES, all()).await.len(), 19);
        assert_eq!(read("", "", all()).await, "");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_over_a_rotation_until_the_container_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut file = fs::File::create(&path).unwrap();
        writeln!(file, "2026-01-01T00:00:01Z stdout F a").unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (out, mut receiver) = mpsc::channel(64);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let ended = Arc::clone(&over);
        let task =
            tokio::spawn(stream(path.clone(), options, move || ended.load(Ordering::Relaxed), out));
        assert_eq!(receiver.recv().await.unwrap(), "a\n");
        write!(file, "2026-01-01T00:00:02Z stdout F b").unwrap();
        writeln!(file).unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "b\n");
        writeln!(file, "2026-01-01T00:00:03Z stdout F c").unwrap();
        fs::rename(&path, directory.path().join("0.log.1")).unwrap();
        fs::write(&path, "2026-01-01T00:00:04Z stdout F d\n").unwrap();
        over.store(true, Ordering::Relaxed);
        let mut rest = String::new();
        while let Some(chunk) = receiver.recv().await {
            rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert_eq!(rest, "c\nd\n");
        task.await.unwrap().unwrap();
    }

    #[test]
    fn last_words_are_cut_at_the_front() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        fs::write(&path, LINES).unwrap();
        assert_eq!(last_lines(&path, 2, 100), "\nfour\n");
        assert_eq!(last_lines(&path, 2, 3), "ur\n");
        assert_eq!(last_lines(&directory.path().join("none"), 2, 3), "");
    }
}
