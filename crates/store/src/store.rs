//! The store's handle, and the committer that turns waiting transactions into one flush.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use coracle_api::{Object, resources};
use redb::StorageBackend;
use tokio::sync::oneshot;

use crate::disk::FileDisk;
use crate::durable::{Batch, Durable, Loaded};
use crate::errors::{DiskError, LoadError};
use crate::files;
use crate::keyring::{KeyFile, Keyring};
use crate::lock::{Lock, LockError};
use crate::memory;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::sweeps::Sweeps;
use crate::transaction::{CommitError, Committed, Transaction};
use crate::watch::{Compacted, Event, Log, Retention, Watch, unpoisoned};

/// How many transactions share one flush at most.
const BATCH_MAX: usize = 1024;

/// A flush waits for company no longer than this, whatever the last one took.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// How long everything that was made of a version is kept for those who look at it next.
const WARM: Duration = Duration::from_millis(250);

/// How often memory is tidied at most.
const TIDY: Duration = Duration::from_millis(250);

/// Why a store did not open. Nothing on the disk was changed by trying.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another engine has the store open.
    #[error(
        "{} is in use by {holder}: stop that engine first, or use another data directory",
        path.display()
    )]
    Locked {
        /// The store.
        path: PathBuf,
        /// `process 4711`.
        holder: String,
    },
    /// The file is damaged, truncated or something else's.
    #[error(
        "{} cannot be used as a store: {source}. Nothing was changed. Restore the file from a \
         backup, or move it away to start with an empty cluster",
        path.display()
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
    /// Secrets were encrypted with a key that is lost.
    #[error(
        "{} holds Secrets that were encrypted with the key {id}, which is not in {}: put back the \
         key file that belongs to this store (a backup needs both), or move both away to start with \
         an empty cluster. Nothing was changed",
        path.display(), keys.display()
    )]
    KeyLost {
        /// The store.
        path: PathBuf,
        /// Where the key should be.
        keys: PathBuf,
        /// Its name.
        id: String,
    },
    /// A newer engine wrote it.
    #[error(
        "{} was written by a newer engine (format {found}): use that engine or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The store.
        path: PathBuf,
        /// The file's format.
        found: u64,
    },
    /// The system refused.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The store or its lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    fn load(path: &Path, source: LoadError) -> Self {
        let path = path.to_owned();
        match source {
            LoadError::Io(source) => Self::Io { path, source },
            LoadError::NewerFormat { found } => Self::NewerFormat { path, found },
            LoadError::NoKey { id } => {
                let keys = KeyFile::beside(&path).path().to_owned();
                Self::KeyLost { path, keys, id }
            }
            source => Self::Damaged { path, source },
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// All objects of a cluster, durable. A handle: cloning it is cheap, and the store closes with the
/// last one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    published: Arc<Published>,
    committer: Mutex<Mode>,
}

/// Who commits.
enum Mode {
    /// A thread of its own; it ends when the sender is gone.
    Thread(mpsc::Sender<Job>, JoinHandle<()>),
    /// The caller, at once: for simulation.
    Inline(Box<Committer>),
    Closed,
}

/// What readers see: always durable.
struct Published {
    state: ArcSwap<State>,
    meta: ArcSwap<BTreeMap<String, Vec<u8>>>,
    log: Arc<Log>,
    /// Who waits for a new key.
    rotation: Mutex<Option<oneshot::Sender<Result<(), RotateError>>>>,
}

/// Why Secrets are not encrypted with a new key.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Such a store has no key.
    #[error("this store is in memory and encrypts nothing")]
    NoKeys,
    /// The key file cannot be written.
    #[error("write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The Secrets cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Store {
    /// Opens the store in the file at `path`, or makes a new one, and starts its committer.
    ///
    /// # Errors
    /// When another engine has it open, when the file is damaged or newer, or when the system
    /// refuses. The message says which file and what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let lock_path = Lock::path(path);
        let lock = Lock::take(&lock_path).map_err(|error| match error {
            LockError::Held(holder) => OpenError::Locked { path: path.to_owned(), holder },
            LockError::Io(source) => OpenError::Io { path: lock_path, source },
        })?;
        if !path.try_exists().map_err(OpenError::io(path))? {
            create(path).map_err(OpenError::io(path))?;
        }
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(OpenError::io(path))?;
        let disk = FileDisk::new(file).map_err(OpenError::io(path))?;
        if disk.len().map_err(OpenError::io(path))? == 0 {
            return Err(OpenError::load(path, LoadError::Empty));
        }
        let keys = KeyFile::beside(path);
        let loaded = load(Box::new(disk), &keys, path)?;
        let (published, committer) = Committer::new(loaded, Some(lock), Some(keys));
        let (sender, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer.serve(&jobs))
            .map_err(OpenError::io(path))?;
        Ok(Self::new(published, Mode::Thread(sender, thread)))
    }

    /// Opens the store on `disk`, or makes a new one on an empty disk. There is no thread and no
    /// clock: a commit is done when its future is first polled, and the watch log forgets by count
    /// alone.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: impl StorageBackend) -> Result<Self, OpenError> {
        let loaded = Durable::open(Box::new(disk), Keyring::default())
            .map_err(|source| OpenError::load(Path::new("the disk"), source))?;
        let (published, committer) = Committer::new(loaded, None, None);
        Ok(Self::new(published, Mode::Inline(Box::new(committer))))
    }

    /// As [`Store::open_on`], with Secrets encrypted by the keys beside `path`.
    #[cfg(test)]
    pub(crate) fn open_sealed_on(
        disk: impl StorageBackend,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let keys = KeyFile::beside(path);
        let loaded = load(Box::new(disk), &keys, path)?;
        let (published, committer) = Committer::new(loaded, None, Some(keys));
        Ok(Self::new(published, Mode::Inline(Box::new(committer))))
    }

    fn new(published: Arc<Published>, mode: Mode) -> Self {
        Self { shared: Arc::new(Shared { published, committer: Mutex::new(mode) }) }
    }

    /// The newest durable state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.published.state.load_full())
    }

    /// Commits `transaction`: ready when it is durable, in [`Store::snapshot`] and in the watch
    /// log. Dropping the future does not take the transaction back.
    ///
    /// # Errors
    /// When a precondition does not hold against the newest state or the disk fails; in both cases
    /// nothing of the transaction happened.
    pub async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        self.submit(transaction, None).await
    }

    /// The engine's own value of `name`, such as the cluster's UID.
    pub fn meta_get(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.published.meta.load().get(name).cloned()
    }

    /// Sets a value of the engine's own, durably. It takes no revision and no watch sees it.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn meta_put(&self, name: &str, value: &[u8]) -> Result<(), CommitError> {
        let entry = (name.to_owned(), value.to_owned());
        self.submit(Transaction::default(), Some(entry)).await.map(drop)
    }

    async fn submit(
        &self,
        transaction: Transaction,
        meta: Option<(String, Vec<u8>)>,
    ) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { transaction, meta, reply };
        match &mut *unpoisoned(&self.shared.committer) {
            Mode::Thread(sender, _) => sender.send(job).map_err(|_| CommitError::Closed)?,
            Mode::Inline(committer) => {
                committer.commit(vec![job]).into_iter().for_each(Answer::send);
            }
            Mode::Closed => return Err(CommitError::Closed),
        }
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Encrypts all Secrets with a new key, and forgets the old one. A crash on the way leaves both
    /// keys, and the next start goes on from there.
    ///
    /// # Errors
    /// When the key file or the disk fails; what was encrypted before can still be read then.
    pub async fn rotate_key(&self) -> Result<(), RotateError> {
        let (reply, answer) = oneshot::channel();
        *unpoisoned(&self.shared.published.rotation) = Some(reply);
        // The committer looks for it with each batch, also one of nothing.
        let woken = self.submit(Transaction::default(), None).await;
        woken.map_err(|_| RotateError::Closed)?;
        answer.await.unwrap_or(Err(RotateError::Closed))
    }

    /// Every event of every resource after `revision`.
    ///
    /// # Errors
    /// When the log no longer has them all.
    pub fn watch(&self, revision: u64) -> Result<Watch, Compacted> {
        self.shared.published.log.watch(None, revision)
    }

    /// Every event of `resource` after `revision`; others neither wake nor slow this watch.
    ///
    /// # Errors
    /// When the log no longer has them all.
    pub fn watch_resource(&self, resource: &str, revision: u64) -> Result<Watch, Compacted> {
        self.shared.published.log.watch(Some(resource), revision)
    }

    /// Forgets the events up to `revision`, as time does.
    pub fn compact(&self, revision: u64) {
        self.shared.published.log.compact(revision);
    }

    /// Ends the store after what is already submitted, in order, and lets go of the lock. Blocks
    /// for as long as the disk takes; later commits fail, snapshots still work.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.snapshot())
    }
}

impl Shared {
    fn close(&self) {
        let mode = std::mem::replace(&mut *unpoisoned(&self.committer), Mode::Closed);
        match mode {
            Mode::Thread(sender, thread) => {
                drop(sender);
                if thread.join().is_err() {
                    tracing::error!("the committer panicked");
                }
            }
            Mode::Inline(committer) => committer.close(),
            Mode::Closed => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes a new store under another name first, so that a crash leaves either none or a whole one.
/// Only the owner may read it: it holds Secrets.
fn create(path: &Path) -> io::Result<()> {
    let new = files::draft(path);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut loaded = Durable::open(Box::new(FileDisk::new(file)?), Keyring::default())
        .map_err(io::Error::other)?;
    loaded.durable.close().map_err(io::Error::other)?;
    drop(loaded);
    files::install(&new, path)
}

/// Opens what `disk` holds with the keys in `file`, and brings its Secrets under the newest of them:
/// those of an older engine, which wrote them in clear, and those that a rotation did not get to.
fn load(disk: Box<dyn StorageBackend>, file: &KeyFile, path: &Path) -> Result<Loaded, OpenError> {
    let keys = file.read().map_err(OpenError::io(file.path()))?;
    let mut loaded =
        Durable::open(disk, keys.clone()).map_err(|source| OpenError::load(path, source))?;
    if keys.is_empty() {
        let first = keys.with_new().map_err(OpenError::io(file.path()))?;
        file.write(&first).map_err(OpenError::io(file.path()))?;
        loaded.durable.set_keys(first);
        loaded.is_stale |= secrets(&loaded.state).next().is_some();
    }
    if loaded.is_stale {
        let all: Vec<_> = secrets(&loaded.state).collect();
        let written = loaded.durable.rewrite(all.into_iter());
        written.map_err(|error| OpenError::io(path)(io::Error::other(error)))?;
    }
    drop_old(&mut loaded.durable, file).map_err(OpenError::io(file.path()))?;
    Ok(loaded)
}

/// All Secrets, as they are in memory.
fn secrets(state: &State) -> impl Iterator<Item = Arc<Object>> + use<> {
    let snapshot = Snapshot::new(Arc::new(state.clone()));
    let all: Vec<_> = snapshot.list(resources::SECRETS, None).cloned().collect();
    all.into_iter()
}

/// Forgets the keys that nothing needs any more.
fn drop_old(durable: &mut Durable, file: &KeyFile) -> io::Result<()> {
    if durable.keys().has_old() {
        let newest = durable.keys().without_old();
        file.write(&newest)?;
        durable.set_keys(newest);
    }
    Ok(())
}

/// Fills `batch` up to `expected` jobs for as long as `patience` lasts.
fn gather(batch: &mut Vec<Job>, jobs: &mpsc::Receiver<Job>, expected: usize, patience: Duration) {
    let start = Instant::now();
    while batch.len() < expected.min(BATCH_MAX) {
        let left = patience.saturating_sub(start.elapsed());
        match jobs.recv_timeout(left) {
            Ok(job) => batch.push(job),
            Err(_) => return,
        }
    }
}

/// One submitted transaction and who waits for it.
struct Job {
    transaction: Transaction,
    meta: Option<(String, Vec<u8>)>,
    reply: oneshot::Sender<Result<Committed, CommitError>>,
}

/// What a caller is told once its flush is over.
struct Answer {
    reply: oneshot::Sender<Result<Committed, CommitError>>,
    result: Result<Committed, CommitError>,
}

impl Answer {
    fn send(self) {
        if self.reply.send(self.result).is_err() {
            tracing::trace!("a transaction whose caller no longer waits");
        }
    }
}

/// The only writer.
struct Committer {
    durable: Durable,
    published: Arc<Published>,
    started: Option<Instant>,
    sweeps: Sweeps,
    key_file: Option<KeyFile>,
    /// When memory was tidied last.
    tidied: Duration,
    /// Released last.
    _lock: Option<Lock>,
}

impl Committer {
    /// The committer and what it publishes to. With a lock it is the real one and has a clock.
    fn new(
        loaded: Loaded,
        lock: Option<Lock>,
        key_file: Option<KeyFile>,
    ) -> (Arc<Published>, Self) {
        let Loaded { durable, state, meta, .. } = loaded;
        let published = Arc::new(Published {
            log: Arc::new(Log::new(state.revision, Retention::default())),
            state: ArcSwap::from_pointee(state),
            meta: ArcSwap::from_pointee(meta),
            rotation: Mutex::default(),
        });
        let shown = Arc::clone(&published);
        let started = lock.is_some().then(Instant::now);
        let (sweeps, tidied) = (Sweeps::new(), Duration::ZERO);
        let committer = Self { durable, published, started, sweeps, tidied, key_file, _lock: lock };
        (shown, committer)
    }

    /// The committer thread.
    fn serve(mut self, jobs: &mpsc::Receiver<Job>) {
        let mut batch: Vec<Job> = Vec::new();
        let (mut expected, mut patience) = (0, Duration::ZERO);
        loop {
            if batch.is_empty() {
                let Some(first) = self.next(jobs) else { break };
                batch.push(first);
            }
            gather(&mut batch, jobs, expected, patience);
            let start = Instant::now();
            let answers = self.commit(batch);
            patience = (start.elapsed() / 8).min(GATHER_MAX);
            // Those who are answered now are likely to come again at once. Without waiting for
            // them, half of the writers would always just miss the flush of the other half.
            batch = jobs.try_iter().take(BATCH_MAX).collect();
            expected = answers.len() + batch.len();
            answers.into_iter().for_each(Answer::send);
            self.tidy();
        }
        self.close();
    }

    /// The next job; while there is none, memory is tidied.
    fn next(&mut self, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            let log = self.published.log.next(WARM);
            let Some(due) = log.into_iter().chain(self.sweeps.due()).min() else {
                return jobs.recv().ok();
            };
            let due = due.max(self.tidied.saturating_add(TIDY));
            match jobs.recv_timeout(due.saturating_sub(self.now())) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => self.tidy(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Drops what was made of versions that nobody has looked at for a while: the log's newest, and
    /// now and then all others', which a list, a start or a slow watcher has looked at.
    fn tidy(&mut self) {
        let now = self.now();
        if self.started.is_none() || now < self.tidied.saturating_add(TIDY) {
            return;
        }
        self.tidied = now;
        let sweep = self.sweeps.is_due(now);
        if sweep {
            self.published.log.look_again();
        }
        let mut cold = self.published.log.cool(WARM, now);
        if sweep {
            let state = self.published.state.load();
            cold.extend(state.warm());
            self.sweeps.swept(cold.len(), state.count());
        }
        if !cold.is_empty() {
            let mut state = State::clone(&self.published.state.load());
            cold.into_iter().for_each(|object| state.cool(object));
            self.published.state.store(Arc::new(state));
        }
        if sweep {
            // Whatever was let go since the last sweep, here or elsewhere.
            memory::give_back();
        }
    }

    /// Since the start; always the start where there is no clock.
    fn now(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// Commits `jobs` with one flush. Each is checked against what those before it did; all are
    /// answered after the flush, because a refusal also tells what the others wrote.
    fn commit(&mut self, jobs: Vec<Job>) -> Vec<Answer> {
        let mut state = State::clone(&self.published.state.load());
        let mut batch = Batch::default();
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let result = state.apply(&job.transaction).map(|(committed, new)| {
                events.extend(new);
                batch.meta.extend(job.meta);
                committed
            });
            answers.push(Answer { reply: job.reply, result });
        }
        batch.objects = events.iter().map(|e| (e.key.clone(), e.new.clone())).collect();
        match self.write(&batch, state.revision) {
            Ok(()) => self.publish(state, batch.meta, &events),
            Err(error) => answers.iter_mut().for_each(|answer| answer.result = Err(error.clone())),
        }
        let waiting = unpoisoned(&self.published.rotation).take();
        if let Some(reply) = waiting {
            // Whoever asked may have gone; the key is new all the same.
            drop(reply.send(self.rotate()));
        }
        answers
    }

    /// A new key, all Secrets under it, and the old one forgotten: in this order, so that every
    /// Secret can be read whenever this breaks off.
    fn rotate(&mut self) -> Result<(), RotateError> {
        let file = self.key_file.clone().ok_or(RotateError::NoKeys)?;
        let failed = |source| RotateError::File { path: file.path().to_owned(), source };
        let keys = self.durable.keys().with_new().map_err(failed)?;
        file.write(&keys).map_err(failed)?;
        self.durable.set_keys(keys);
        self.durable.rewrite(secrets(&self.published.state.load()))?;
        drop_old(&mut self.durable, &file).map_err(failed)
    }

    fn write(&mut self, batch: &Batch, revision: u64) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.durable.write(batch, revision)?)
    }

    /// Shows the batch: to readers first, so that whoever is woken by an event reads it too.
    fn publish(&mut self, state: State, meta: BTreeMap<String, Vec<u8>>, events: &[Arc<Event>]) {
        let count = state.count();
        self.published.state.store(Arc::new(state));
        if !meta.is_empty() {
            let mut all = BTreeMap::clone(&self.published.meta.load());
            all.extend(meta);
            self.published.meta.store(Arc::new(all));
        }
        let now = self.now();
        self.published.log.append(events, now);
        self.sweeps.written(events.len(), count, now);
    }

    fn close(mut self) {
        if let Err(error) = self.durable.close() {
            tracing::error!(%error, "closing the store");
        }
    }
}
