//! The bytes on disk: a redb database of two tables, and how it is written and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Key, Object};
use redb::{
    Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError,
};

use crate::disk::{Opening, Reversible};
use crate::errors::{DiskError, LoadError, is_full};
use crate::keyring::{Keyring, Seat, Unsealable};
use crate::state::State;

/// Resource, namespace and name → checksum, revision and JSON.
const OBJECTS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// `format` and `revision` (64-bit little-endian), and `meta/…` for the engine. The store's revision
/// is this one or that of the newest object, whichever is higher.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The version of this layout. A store of a higher one is refused; in format 1 Secrets are in clear.
const FORMAT: u64 = 2;
/// The oldest one that is read.
const FORMAT_OLDEST: u64 = 1;

/// redb's page cache. Everything is in our memory already, so it serves the upper levels of the
/// tree while writing and nothing else.
const CACHE_BYTES: usize = 1 << 19;

/// Checksum and revision, before the JSON.
const RECORD_HEADER: usize = 4 + 8;

/// What one batch changes: the last state of every object it touches (`None`: deleted).
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) objects: BTreeMap<Key, Option<Arc<Object>>>,
    pub(crate) meta: BTreeMap<String, Vec<u8>>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.meta.is_empty()
    }

    /// Whether an object of the batch carries `revision`, the last one.
    fn shows(&self, revision: u64) -> bool {
        self.objects.values().flatten().any(|object| object.revision() == revision)
    }
}

/// The open database.
pub(crate) struct Durable {
    disk: Arc<Reversible>,
    /// `None` after a failure, until the disk was brought back to `revision`.
    database: Option<Database>,
    revision: u64,
    keys: Keyring,
}

/// What was read back.
pub(crate) struct Loaded {
    pub(crate) durable: Durable,
    pub(crate) state: State,
    pub(crate) meta: BTreeMap<String, Vec<u8>>,
    /// Whether Secrets stand there otherwise than they would be written now.
    pub(crate) is_stale: bool,
}

impl Durable {
    /// Opens what `disk` holds, or makes a new store on an empty one. Secrets are read and written
    /// with `keys`.
    pub(crate) fn open(disk: Box<dyn StorageBackend>, keys: Keyring) -> Result<Loaded, LoadError> {
        let disk = Arc::new(Reversible::new(disk).map_err(LoadError::Io)?);
        let database = open_database(&disk)?;
        create_tables(&database)?;
        disk.keep();
        let Meta { format, mut revision, values: meta } = read_meta(&database)?;
        let (objects, mut is_stale) = read_objects(&database, &keys)?;
        is_stale |= format < FORMAT;
        revision = objects.iter().map(|object| object.revision()).fold(revision, u64::max);
        let state = State::restored(revision, objects);
        let durable = Self { disk, database: Some(database), revision, keys };
        Ok(Loaded { durable, state, meta, is_stale })
    }

    pub(crate) fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// What Secrets are written with from now on.
    pub(crate) fn set_keys(&mut self, keys: Keyring) {
        self.keys = keys;
    }

    /// Writes `objects`, which are there, once more: with the newest key, and in this format.
    pub(crate) fn rewrite(
        &mut self,
        objects: impl Iterator<Item = Arc<Object>>,
    ) -> Result<(), DiskError> {
        let objects = objects.map(|object| (object.key().clone(), Some(object))).collect();
        let batch = Batch { objects, meta: BTreeMap::new() };
        self.write_as(&batch, self.revision, Some(FORMAT))
    }

    /// Writes a batch; when this returns, it survives. With an error nothing of it is stored.
    pub(crate) fn write(&mut self, batch: &Batch, revision: u64) -> Result<(), DiskError> {
        self.write_as(batch, revision, None)
    }

    fn write_as(
        &mut self,
        batch: &Batch,
        revision: u64,
        format: Option<u64>,
    ) -> Result<(), DiskError> {
        let keys = self.keys.clone();
        let database = self.usable()?;
        match write(database, batch, revision, format, &keys) {
            Ok(()) => {
                self.disk.keep();
                self.revision = revision;
                Ok(())
            }
            Err(error) => {
                self.give_up();
                Err(DiskError::of(error))
            }
        }
    }

    /// Marks the end of an orderly run: with a two-phase commit last, redb takes later damage for
    /// damage and not for a commit that a crash tore.
    pub(crate) fn close(&mut self) -> Result<(), DiskError> {
        let revision = self.revision;
        let database = self.usable()?;
        seal(database, revision).map_err(DiskError::of)?;
        self.database = None;
        // redb has given back space once more.
        self.disk.keep();
        Ok(())
    }

    /// The database, opened again if the last write failed.
    fn usable(&mut self) -> Result<&Database, DiskError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen().map_err(|error| match error {
                LoadError::Io(io) if is_full(&io) => DiskError::Full,
                error => DiskError::Reopen(Arc::new(error)),
            })?,
        };
        Ok(self.database.insert(database))
    }

    fn reopen(&self) -> Result<Database, LoadError> {
        self.disk.revert().map_err(LoadError::Io)?;
        let database = open_database(&self.disk)?;
        let found = newest_revision(&database)?;
        if found != self.revision {
            return Err(LoadError::OtherRevision { found, expected: self.revision });
        }
        Ok(database)
    }

    /// Goes back to the durable state at once, so that a crash now does not find the failed batch;
    /// if that fails too, the next write tries again.
    fn give_up(&mut self) {
        self.database = None;
        match self.reopen() {
            Ok(database) => self.database = Some(database),
            Err(error) => tracing::warn!(%error, "the disk failed and is not usable yet"),
        }
    }
}

fn open_database(disk: &Arc<Reversible>) -> Result<Database, LoadError> {
    redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(Opening::new(Arc::clone(disk)))
        .map_err(LoadError::of)
}

/// Writes the first commit of a new store.
fn create_tables(database: &Database) -> Result<(), LoadError> {
    let empty = {
        let transaction = database.begin_read().map_err(LoadError::of)?;
        transaction.list_tables().map_err(LoadError::of)?.next().is_none()
    };
    if !empty {
        return Ok(());
    }
    seal(database, 0).map_err(LoadError::of)
}

/// A two-phase commit of nothing but the revision.
fn seal(database: &Database, revision: u64) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        transaction.open_table(OBJECTS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("revision", revision.to_le_bytes().as_slice())?;
    }
    Ok(transaction.commit()?)
}

fn write(
    database: &Database,
    batch: &Batch,
    revision: u64,
    format: Option<u64>,
    keys: &Keyring,
) -> Result<(), redb::Error> {
    // As long as somebody reads the state before, redb keeps its pages for the next commit. Otherwise
    // it gives them back after this one by a second commit in memory, a tenth of a write's time.
    let _before = database.begin_read()?;
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, object) in &batch.objects {
            let place = place(key);
            match object {
                Some(object) => {
                    objects.insert(place, encode(key, object, keys)?.as_slice())?;
                }
                None => {
                    objects.remove(place)?;
                }
            }
        }
        // One table less is several pages less in most batches.
        if !batch.meta.is_empty() || !batch.shows(revision) || format.is_some() {
            let mut meta = transaction.open_table(META)?;
            meta.insert("revision", revision.to_le_bytes().as_slice())?;
            if let Some(format) = format {
                meta.insert("format", format.to_le_bytes().as_slice())?;
            }
            for (name, value) in &batch.meta {
                meta.insert(meta_name(name).as_str(), value.as_slice())?;
            }
        }
    }
    Ok(transaction.commit()?)
}

fn meta_name(name: &str) -> String {
    format!("meta/{name}")
}

/// What the table of that name holds.
struct Meta {
    format: u64,
    revision: u64,
    values: BTreeMap<String, Vec<u8>>,
}

fn read_meta(database: &Database) -> Result<Meta, LoadError> {
    let transaction = database.begin_read().map_err(LoadError::of)?;
    let table = transaction.open_table(META).map_err(missing_table)?;
    let number = |name| {
        let value = table.get(name).map_err(LoadError::of)?;
        let bytes = value.and_then(|value| value.value().try_into().ok());
        Ok::<_, LoadError>(bytes.map(u64::from_le_bytes))
    };
    let format = match number("format")? {
        Some(format @ FORMAT_OLDEST..=FORMAT) => format,
        Some(found) if found > FORMAT => return Err(LoadError::NewerFormat { found }),
        _ => return Err(LoadError::Foreign("no format")),
    };
    let revision = number("revision")?.ok_or(LoadError::Foreign("no revision"))?;
    let mut values = BTreeMap::new();
    for entry in table.iter().map_err(LoadError::of)? {
        let (name, value) = entry.map_err(LoadError::of)?;
        if let Some(name) = name.value().strip_prefix("meta/") {
            values.insert(name.to_owned(), value.value().to_vec());
        }
    }
    Ok(Meta { format, revision, values })
}

/// The revision of the store in `database`, without reading whole objects.
fn newest_revision(database: &Database) -> Result<u64, LoadError> {
    let mut newest = read_meta(database)?.revision;
    let transaction = database.begin_read().map_err(LoadError::of)?;
    let table = transaction.open_table(OBJECTS).map_err(missing_table)?;
    for entry in table.iter().map_err(LoadError::of)? {
        let (_, record) = entry.map_err(LoadError::of)?;
        let revision = record.value().get(4..RECORD_HEADER).and_then(|bytes| bytes.try_into().ok());
        newest = newest.max(revision.map_or(0, u64::from_le_bytes));
    }
    Ok(newest)
}

/// All objects, and whether some stand there otherwise than they would be written now.
fn read_objects(
    database: &Database,
    keys: &Keyring,
) -> Result<(Vec<Arc<Object>>, bool), LoadError> {
    let transaction = database.begin_read().map_err(LoadError::of)?;
    let table = transaction.open_table(OBJECTS).map_err(missing_table)?;
    let mut resource: Arc<str> = "".into();
    let (mut objects, mut is_stale) = (Vec::new(), false);
    for entry in table.iter().map_err(LoadError::of)? {
        let (place, record) = entry.map_err(LoadError::of)?;
        let (place, record) = (place.value(), record.value());
        if *resource != *place.0 {
            resource = place.0.into();
        }
        let (object, is_current) = decode(&resource, place, record, keys).map_err(|why| {
            let (resource, namespace, name) = place;
            match why {
                Unreadable::NoKey(id) => LoadError::NoKey { id },
                Unreadable::Damaged(reason) => LoadError::Record {
                    key: Key::new(resource, namespace, name).to_string(),
                    reason,
                },
            }
        })?;
        is_stale |= !is_current;
        objects.push(Arc::new(object));
    }
    Ok((objects, is_stale))
}

fn missing_table(error: TableError) -> LoadError {
    match error {
        TableError::Storage(error) => LoadError::of(error),
        _ => LoadError::Foreign("its tables are others"),
    }
}

fn place(key: &Key) -> (&str, &str, &str) {
    (&key.resource, &key.namespace, &key.name)
}

/// The record of an object: CRC-32 of all that follows and of the key, revision, JSON or what it is
/// sealed in.
fn encode(key: &Key, object: &Object, keys: &Keyring) -> Result<Vec<u8>, redb::Error> {
    let seat = Seat { place: place(key), revision: object.revision() };
    let body = keys
        .seal(&seat, object.bytes())
        .map_err(|_| redb::Error::Io(std::io::Error::other("a Secret could not be encrypted")))?;
    let mut record = Vec::with_capacity(RECORD_HEADER + body.len());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&object.revision().to_le_bytes());
    record.extend_from_slice(&body);
    let checksum = checksum(place(key), &record[4..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
    Ok(record)
}

fn checksum((resource, namespace, name): (&str, &str, &str), record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [resource, namespace, name] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(record);
    hasher.finalize()
}

/// Why there is no object in a record.
enum Unreadable {
    NoKey(String),
    /// In words.
    Damaged(String),
}

impl From<&str> for Unreadable {
    fn from(why: &str) -> Self {
        Self::Damaged(why.to_owned())
    }
}

/// The object in `record`, and whether it stands there as it would be written now.
fn decode(
    resource: &Arc<str>,
    place: (&str, &str, &str),
    record: &[u8],
    keys: &Keyring,
) -> Result<(Object, bool), Unreadable> {
    let (stored, rest) = record.split_first_chunk().ok_or("it is too short")?;
    if u32::from_le_bytes(*stored) != checksum(place, rest) {
        return Err("its checksum is wrong".into());
    }
    let (revision, body) = rest.split_first_chunk().ok_or("it is too short")?;
    let revision = u64::from_le_bytes(*revision);
    let (json, is_current) = match keys.open(&Seat { place, revision }, body) {
        Ok(opened) => opened,
        Err(Unsealable::NoKey(id)) => return Err(Unreadable::NoKey(id)),
        Err(_) => return Err("it cannot be decrypted".into()),
    };
    let object = Object::from_bytes(Arc::clone(resource), Bytes::from(json))
        .map_err(|error| Unreadable::Damaged(error.to_string()))?;
    if self::place(object.key()) != place {
        return Err(Unreadable::Damaged(format!("it holds {}", object.key())));
    }
    if object.revision() != revision {
        return Err(Unreadable::Damaged(format!("its revision {revision} cannot be")));
    }
    Ok((object, is_current))
}
