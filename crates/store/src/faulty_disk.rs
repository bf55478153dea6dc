//! A disk in memory that loses, tears and refuses writes as real ones do, from a seed.
//!
//! What was written and not yet synced is remembered write by write. When the power goes, each of
//! its sectors is on the disk or not, one by one; a sector written twice may hold either version.
//! A failed sync is worse than none: some sectors are on the disk, the others never will be, and
//! until the machine restarts reads still show them all.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::watch::unpoisoned;

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// How the disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `ENOSPC` for whatever writes. Syncs work.
    Full,
    /// `EIO` for writes and syncs.
    Io,
    /// The power is gone: everything fails until [`FaultyDisk::power_on`].
    PowerLoss,
}

/// The disk. A handle: clones are the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Debug)]
struct Platter {
    /// What reads see.
    cache: Vec<u8>,
    /// What a power loss leaves for certain.
    durable: Vec<u8>,
    /// What happened since the last sync.
    unsynced: Vec<Change>,
    random: Random,
    /// Writes, changes of length and syncs so far.
    operations: u64,
    /// From which operation on, how.
    fault: Option<(u64, Failure)>,
    skip_sync: bool,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl FaultyDisk {
    /// An empty disk without faults; `seed` decides what a power loss leaves.
    pub fn new(seed: u64) -> Self {
        Self::holding(Vec::new(), seed)
    }

    /// A disk that holds `bytes`.
    pub fn holding(bytes: Vec<u8>, seed: u64) -> Self {
        let platter = Platter {
            durable: bytes.clone(),
            cache: bytes,
            unsynced: Vec::new(),
            random: Random(seed),
            operations: 0,
            fault: None,
            skip_sync: false,
        };
        Self { platter: Arc::new(Mutex::new(platter)) }
    }

    /// Fails as `failure` from the `after`-th writing operation from now on; 0 is the next one.
    pub fn fail_after(&self, after: u64, failure: Failure) {
        let mut platter = self.lock();
        platter.fault = Some((platter.operations + after, failure));
    }

    /// Ends the failure of [`FaultyDisk::fail_after`].
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// A planted bug for checkers to find: syncs report success and do nothing.
    pub fn skip_sync(&self, skip: bool) {
        self.lock().skip_sync = skip;
    }

    /// How many writing operations there were: writes, changes of length and syncs.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// What reads see.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().cache.clone()
    }

    /// A restart of the machine: what was not synced is on the disk in part, and faults are over.
    /// The caller has dropped whoever used the disk.
    pub fn power_on(&self) {
        self.lock().lose_power();
    }

    /// A restart of the process alone: the system keeps every write, and faults are over.
    pub fn restart(&self) {
        self.lock().fault = None;
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        unpoisoned(&self.platter)
    }
}

impl Platter {
    fn lose_power(&mut self) {
        self.settle();
        self.cache = self.durable.clone();
        self.fault = None;
    }

    /// Puts all of what is not synced on the disk.
    fn persist(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(length) => self.durable.resize(length, 0),
                Change::Write(offset, data) => {
                    let end = offset + data.len();
                    // A failed sync may have lost the growth that this write relies on.
                    if end > self.durable.len() {
                        self.durable.resize(end, 0);
                    }
                    self.durable[offset..end].copy_from_slice(&data);
                }
            }
        }
        self.durable.resize(self.cache.len(), 0);
    }

    /// Puts some of what is not synced on the disk and forgets the rest.
    fn settle(&mut self) {
        // A filesystem's journal keeps changes of length in order.
        let lengths = self.unsynced.iter().filter(|change| matches!(change, Change::Length(_)));
        let mut lengths_kept = self.random.below(lengths.count() as u64 + 1);
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(length) if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    self.durable.resize(length, 0);
                }
                Change::Length(_) => {}
                Change::Write(offset, data) => self.settle_write(offset, &data),
            }
        }
    }

    /// All of a write, nothing, or some of its sectors.
    fn settle_write(&mut self, offset: usize, data: &[u8]) {
        let fate = self.random.below(4);
        let mut at = 0;
        while at < data.len() {
            let end = data.len().min(at + SECTOR - (offset + at) % SECTOR);
            let lands = fate == 0 || (fate > 1 && self.random.below(2) == 0);
            if lands && offset + end <= self.durable.len() {
                self.durable[offset + at..offset + end].copy_from_slice(&data[at..end]);
            }
            at = end;
        }
    }

    /// Counts an operation that changes the disk and says how it fails, if it does.
    fn begin(&mut self) -> Option<Failure> {
        self.operations += 1;
        self.fault.filter(|(from, _)| self.operations > *from).map(|(_, failure)| failure)
    }

    fn powered(&self) -> io::Result<()> {
        match self.fault {
            Some((from, Failure::PowerLoss)) if self.operations > from => Err(no_power()),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.begin() {
            None | Some(Failure::Full) if self.skip_sync => Ok(()),
            None | Some(Failure::Full) => {
                self.persist();
                Ok(())
            }
            Some(Failure::Io) => {
                self.settle();
                Err(broken())
            }
            Some(Failure::PowerLoss) => Err(no_power()),
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        let failure = self.begin();
        let end = offset + data.len();
        if end > self.cache.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a write past the end"));
        }
        // A refused write got as far as it got.
        let written = match failure {
            None => data.len(),
            Some(_) => self.random.below(data.len() as u64 + 1) as usize,
        };
        let data = &data[..written];
        self.cache[offset..offset + written].copy_from_slice(data);
        self.unsynced.push(Change::Write(offset, data.to_vec()));
        failure.map_or(Ok(()), |failure| Err(failure.error()))
    }

    fn set_len(&mut self, length: usize) -> io::Result<()> {
        match self.begin() {
            Some(failure) if failure != Failure::Full || length > self.cache.len() => {
                Err(failure.error())
            }
            _ => {
                self.cache.resize(length, 0);
                self.unsynced.push(Change::Length(length));
                Ok(())
            }
        }
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Full => io::Error::new(io::ErrorKind::StorageFull, "no space left on device"),
            Self::Io => broken(),
            Self::PowerLoss => no_power(),
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        let platter = self.lock();
        platter.powered()?;
        Ok(platter.cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.lock();
        platter.powered()?;
        let start = offset as usize;
        let bytes = platter.cache.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().set_len(len as usize)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.lock().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().write(offset as usize, data)
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
