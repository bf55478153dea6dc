//! Between redb and the disk: the file, and the way back after a failed write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::watch::unpoisoned;

/// redb's page 0, the only one that a commit overwrites in place; all others are copied on write.
const HEADER_LEN: usize = 4096;

/// Where in the header redb has its flags, and the one that says that nobody closed the database since
/// it was opened (redb's design.md, "Database header").
const GOD_BYTE: usize = 9;
const NOT_CLOSED: u8 = 2;

/// How much is read at once, a multiple of the header's length.
const PIECE: usize = 1 << 20;

/// The disk as a regular file. The lock is a file of its own (`lock.rs`).
#[derive(Debug)]
pub(crate) struct FileDisk {
    file: File,
    /// The file's length, which redb asks for in every commit. Asking the kernel would show its
    /// times too, and then the next write may not leave them as they are: the inode has to be
    /// written and a flush takes a third longer.
    len: AtomicU64,
}

impl FileDisk {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let len = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, len })
    }
}

impl StorageBackend for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        self.len.fetch_max(offset + data.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}

/// A disk that can go back to the last state that was acknowledged without reading it back.
///
/// After a failed sync nobody knows what of it reached the disk, and the page cache may show as
/// written what is not. A commit may also be durable and fail afterwards, when redb gives back the
/// space that it no longer needs. In both cases the pages of the state before are all there, because
/// redb copies on write and reuses a page no sooner than in the next commit, and because space is
/// given back here only when the state after is acknowledged; only the header may point elsewhere.
/// So the header of the last state that was acknowledged is kept here and written again, and redb is
/// opened anew over it.
#[derive(Debug)]
pub(crate) struct Reversible {
    disk: Box<dyn StorageBackend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    header: Vec<u8>,
    /// As redb knows it; the disk's own may be more.
    len: u64,
    synced: Synced,
    kept: Synced,
}

/// What is on the disk for certain.
#[derive(Clone, Debug, Default)]
struct Synced {
    header: Vec<u8>,
    len: u64,
}

impl Reversible {
    pub(crate) fn new(disk: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = disk.len()?;
        let mut header = vec![0; len.min(HEADER_LEN as u64) as usize];
        disk.read(0, &mut header)?;
        // Another program's file is not ours to write to.
        if header.starts_with(b"redb")
            && header.get(GOD_BYTE).is_some_and(|it| it & NOT_CLOSED != 0)
        {
            write_again(&*disk, len)?;
        }
        let synced = Synced { header: header.clone(), len };
        let state = State { header, len, kept: synced.clone(), synced };
        Ok(Self { disk, state: Mutex::new(state) })
    }

    /// What was last synced is the state to go back to from now on.
    pub(crate) fn keep(&self) {
        let mut state = unpoisoned(&self.state);
        state.kept = state.synced.clone();
        self.shrink(state.len.max(state.kept.len));
    }

    /// Makes the disk what it was at the last [`Reversible::keep`].
    pub(crate) fn revert(&self) -> io::Result<()> {
        let mut state = unpoisoned(&self.state);
        self.disk.write(0, &state.kept.header)?;
        self.disk.sync_data()?;
        state.header = state.kept.header.clone();
        state.len = state.kept.len;
        state.synced = state.kept.clone();
        // Last: until the header is back, it may speak of pages that are beyond.
        self.shrink(state.len);
        Ok(())
    }

    /// Gives back what is beyond `len`, if the disk can; that it is longer harms nobody.
    fn shrink(&self, len: u64) {
        let shrunk = match self.disk.len() {
            Ok(real) if real > len => self.disk.set_len(len),
            other => other.map(drop),
        };
        if let Err(error) = shrunk {
            tracing::debug!(%error, "give back space of the store");
        }
    }

    fn len(&self) -> u64 {
        unpoisoned(&self.state).len
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = unpoisoned(&self.state);
        let real = self.disk.len()?;
        let stale = real.min(len).saturating_sub(state.len);
        if stale > 0 {
            // What a file grows by is zero.
            self.disk.write(state.len, &vec![0; stale as usize])?;
        }
        if len > real {
            self.disk.set_len(len)?;
        }
        state.len = len;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset < HEADER_LEN as u64 {
            let mut state = unpoisoned(&self.state);
            let start = offset as usize;
            let end = HEADER_LEN.min(start + data.len());
            if state.header.len() < end {
                state.header.resize(end, 0);
            }
            state.header[start..end].copy_from_slice(&data[..end - start]);
        }
        self.disk.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()?;
        let mut state = unpoisoned(&self.state);
        state.synced = Synced { header: state.header.clone(), len: state.len };
        Ok(())
    }
}

/// Writes what a disk shows once more and flushes it: a store whose last process did not close it.
///
/// A flush may have failed before that process ended. Then the system shows what never reached the
/// disk and will not write it by itself, and a commit on top of that would be lost with it.
fn write_again(disk: &dyn StorageBackend, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    for offset in (0..len).step_by(PIECE) {
        let piece = &mut buffer[..PIECE.min((len - offset) as usize)];
        disk.read(offset, piece)?;
        for (index, page) in piece.chunks(HEADER_LEN).enumerate() {
            // Where nothing was ever written a full disk may have no place.
            if page.iter().any(|byte| *byte != 0) {
                disk.write(offset + (index * HEADER_LEN) as u64, page)?;
            }
        }
    }
    disk.sync_data()
}

/// One opening of a [`Reversible`] disk by redb. After the first failure it refuses everything, so
/// that a database which is being given up cannot write a last word.
#[derive(Debug)]
pub(crate) struct Opening {
    disk: Arc<Reversible>,
    given_up: AtomicBool,
}

impl Opening {
    pub(crate) fn new(disk: Arc<Reversible>) -> Self {
        Self { disk, given_up: AtomicBool::new(false) }
    }

    fn guard<T>(&self, act: impl FnOnce(&Reversible) -> io::Result<T>) -> io::Result<T> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(io::Error::other("the disk failed before"));
        }
        act(&self.disk).inspect_err(|_| self.given_up.store(true, Ordering::Release))
    }
}

impl StorageBackend for Opening {
    fn len(&self) -> io::Result<u64> {
        self.guard(|reversible| Ok(reversible.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.guard(|reversible| reversible.disk.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.guard(|reversible| reversible.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.guard(Reversible::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.guard(|reversible| reversible.write(offset, data))
    }
}
