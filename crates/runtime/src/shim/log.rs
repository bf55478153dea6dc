//! A container's log in the CRI's format: `TIME STREAM TAG LINE`, with a size that it never passes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longest line written as one; longer ones are cut and tagged `P` up to their last part.
const LONGEST_LINE: usize = 16 * 1024;

/// Size at which a log is rotated unless told otherwise; one older file is kept.
const DEFAULT_MAX_SIZE: u64 = 10 << 20;

/// Which of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamName {
    Stdout,
    Stderr,
}

impl StreamName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts one stream into lines.
#[derive(Debug, Default)]
pub struct LineCutter {
    rest: Vec<u8>,
}

impl LineCutter {
    /// Appends to `out` the log lines that `data` completes.
    pub fn push(&mut self, stream: StreamName, now: Timestamp, data: &[u8], out: &mut Vec<u8>) {
        let stamp = Stamp::new(now, stream);
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.rest.extend_from_slice(text);
            while self.rest.len() > LONGEST_LINE || (self.rest.len() == LONGEST_LINE && !ends) {
                stamp.write_line(out, "P", &self.rest[..LONGEST_LINE]);
                self.rest.drain(..LONGEST_LINE);
            }
            if ends {
                stamp.write_line(out, "F", &self.rest);
                self.rest.clear();
            }
        }
    }

    /// Appends what the stream ended with, a line without an end.
    pub fn finish(&mut self, stream: StreamName, now: Timestamp, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            Stamp::new(now, stream).write_line(out, "P", &self.rest);
        }
        self.rest = Vec::new();
    }
}

/// What all lines of one read begin with.
struct Stamp(String);

impl Stamp {
    fn new(now: Timestamp, stream: StreamName) -> Self {
        Self(format!("{now:.9} {} ", stream.as_str()))
    }

    fn write_line(&self, out: &mut Vec<u8>, tag: &str, text: &[u8]) {
        for part in [self.0.as_bytes(), tag.as_bytes(), b" ", text, b"\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
}

impl LogFile {
    /// Opens or makes the file at `path`, and its directory.
    pub fn open(path: &Path, max_size: Option<u64>) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        let max_size = max_size.unwrap_or(DEFAULT_MAX_SIZE);
        Ok(Self { path: path.to_owned(), file, size, max_size })
    }

    /// Writes whole lines. What a full disk refuses is lost: a container must not stop for it.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + lines.len() as u64 > self.max_size {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        fs::rename(&self.path, older)?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// A pod that mounts the directory of logs could put something else there.
fn append(path: &Path) -> io::Result<File> {
    let careful = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().create(true).append(true).custom_flags(careful).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> String {
        let (mut cutter, mut out) = (LineCutter::default(), Vec::new());
        let now = "2026-11-23T11:00:00Z".parse().unwrap();
        pieces.iter().for_each(|piece| cutter.push(StreamName::Stdout, now, piece, &mut out));
        cutter.finish(StreamName::Stdout, now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let whole = "2026-11-23T11:00:00.000000000Z stdout F one\n\
                     2026-11-23T11:00:00.000000000Z stdout F \n\
                     2026-11-23T11:00:00.000000000Z stdout P two\n";
        assert_eq!(cut(&[b"one\n\ntwo"]), whole);
        assert_eq!(cut(&[b"o", b"ne\n", b"\nt", b"wo"]), whole);
    }

    #[test]
    fn long_lines_are_cut_and_say_so() {
        let line = [b"x".repeat(LONGEST_LINE + 1), b"\n".to_vec()].concat();
        let text = cut(&[&line]);
        let tags: Vec<_> = text.lines().map(|line| &line[38..39]).collect();
        assert_eq!(tags, ["P", "F"]);
        assert!(text.ends_with(" F x\n"));
    }

    #[test]
    fn a_line_of_the_greatest_length_is_not_cut() {
        let line = [b"x".repeat(LONGEST_LINE), b"\n".to_vec()].concat();
        assert_eq!(cut(&[&line]).lines().count(), 1);
    }

    #[test]
    fn a_log_keeps_one_older_file_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod/0.log");
        let mut log = LogFile::open(&path, Some(10)).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        let mut files: Vec<_> = fs::read_dir(dir.path().join("pod")).unwrap().flatten().collect();
        files.sort_by_key(|entry| entry.file_name());
        let texts: Vec<_> = files.iter().map(|e| fs::read_to_string(e.path()).unwrap()).collect();
        assert_eq!(texts, ["third\n", "second\n"]);
    }
}
