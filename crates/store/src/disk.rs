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
/// redb copies on write and reuses a page no sooner than in the next commit; only the header may
/// point elsewhere. So the header of the last state that was acknowledged is kept here and written
/// again, and redb is opened anew over it.
#[derive(Debug)]
pub(crate) struct Reversible {
    disk: Box<dyn StorageBackend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    header: Vec<u8>,
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
        let synced = Synced { header: header.clone(), len };
        let state = State { header, kept: synced.clone(), synced };
        Ok(Self { disk, state: Mutex::new(state) })
    }

    /// What was last synced is the state to go back to from now on.
    pub(crate) fn keep(&self) {
        let mut state = unpoisoned(&self.state);
        state.kept = state.synced.clone();
    }

    /// Makes the disk what it was at the last [`Reversible::keep`].
    pub(crate) fn revert(&self) -> io::Result<()> {
        let mut state = unpoisoned(&self.state);
        if self.disk.len()? != state.kept.len {
            self.disk.set_len(state.kept.len)?;
        }
        self.disk.write(0, &state.kept.header)?;
        self.disk.sync_data()?;
        state.header = state.kept.header.clone();
        state.synced = state.kept.clone();
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
        let len = self.disk.len()?;
        let mut state = unpoisoned(&self.state);
        state.synced = Synced { header: state.header.clone(), len };
        Ok(())
    }
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
        self.guard(|reversible| reversible.disk.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.guard(|reversible| reversible.disk.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.guard(|reversible| reversible.disk.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.guard(Reversible::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.guard(|reversible| reversible.write(offset, data))
    }
}
