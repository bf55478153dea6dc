//! The state of all objects at one revision: an immutable value, shared by pointer.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use coracle_api::{Key, Object};
use equivalent::{Comparable, Equivalent};
use imbl::{OrdMap, OrdSet};

use crate::transaction::{CommitError, Committed, Expect, Transaction, Write};
use crate::watch::Event;

/// All objects at one revision. Cloning copies a pointer; nothing ever changes one.
#[derive(Clone, Default)]
pub struct Snapshot {
    state: Arc<State>,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// The revision of the last write that this snapshot holds; 0 when nothing was ever written.
    pub fn revision(&self) -> u64 {
        self.state.revision
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.state.objects.is_empty()
    }

    /// The object at `key`.
    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.state.objects.get(key)
    }

    /// The object `name` of `resource` (`statefulsets.apps`) in `namespace`, empty for cluster
    /// scope.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.state.objects.get(&Place(resource, namespace, name))
    }

    /// The objects of `resource` in `namespace` (`None`: in all), by namespace, then name.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let first = Place(resource, namespace.unwrap_or_default(), "");
        self.list_from(Bound::Included(&first), resource, namespace)
    }

    /// As [`Snapshot::list`], from the first object after `after`: the next page.
    pub fn list_after<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
        after: &Key,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let after = Place(&after.resource, &after.namespace, &after.name);
        let first = Place(resource, namespace.unwrap_or_default(), "");
        if after < first {
            self.list_from(Bound::Included(&first), resource, namespace)
        } else {
            self.list_from(Bound::Excluded(&after), resource, namespace)
        }
    }

    fn list_from<'a>(
        &'a self,
        from: Bound<&Place<'_>>,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let (resource, namespace) = (resource.to_owned(), namespace.map(str::to_owned));
        self.state
            .objects
            .range::<_, Place<'_>>((from, Bound::Unbounded))
            .map(|(_, object)| object)
            .take_while(move |object| {
                let key = object.key();
                *key.resource == *resource
                    && namespace.as_deref().is_none_or(|n| *key.namespace == *n)
            })
    }

    /// Every object of every resource, by key.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.state.objects.values()
    }

    /// The objects that name `owner_uid` in their `ownerReferences`, by key.
    pub fn dependents<'a>(
        &'a self,
        owner_uid: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let owner: Arc<str> = owner_uid.into();
        let first = (Arc::clone(&owner), Key::new("", "", ""));
        self.state
            .owners
            .range::<_, (Arc<str>, Key)>((Bound::Included(&first), Bound::Unbounded))
            .take_while(move |(uid, _)| *uid == owner)
            .filter_map(|(_, key)| self.state.objects.get(key))
    }

    /// The object with this `metadata.uid`.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.get(self.state.uids.get(uid)?)
    }

    /// Whether an object with this `metadata.uid` exists.
    pub fn contains_uid(&self, uid: &str) -> bool {
        self.state.uids.contains_key(uid)
    }

    /// The state as if `writes` had been committed now, with revisions that a commit may give to
    /// other writes: for plans of several writes and for dry runs. Nothing is stored.
    ///
    /// # Errors
    /// The same as a commit's, apart from those of the disk.
    pub fn with(&self, writes: &[Write]) -> Result<Self, CommitError> {
        let mut state = State::clone(&self.state);
        state.apply(&Transaction::of(writes.iter().cloned()))?;
        Ok(Self::new(Arc::new(state)))
    }

    /// A snapshot of exactly these objects: what tests of pure decisions start from.
    ///
    /// # Errors
    /// When two objects have the same key.
    pub fn of(objects: impl IntoIterator<Item = Object>) -> Result<Self, CommitError> {
        let writes: Vec<_> =
            objects.into_iter().map(|object| Write::put(object, Expect::Absent)).collect();
        Self::default().with(&writes)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} objects @{}", self.len(), self.revision())
    }
}

/// What a snapshot points to, and what the committer changes a copy of.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: u64,
    objects: OrdMap<Key, Arc<Object>>,
    /// Owner's UID and dependent's key.
    owners: OrdSet<(Arc<str>, Key)>,
    uids: OrdMap<Arc<str>, Key>,
}

impl State {
    /// The state that `objects`, as read back from the disk, make up at `revision`.
    pub(crate) fn restored(revision: u64, objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut state = Self { revision, ..Self::default() };
        for object in objects {
            let key = object.key().clone();
            state.replace(&key, Some(object));
        }
        state
    }

    /// Applies all of `transaction` or, with an error, nothing.
    pub(crate) fn apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<(Committed, Vec<Arc<Event>>), CommitError> {
        let mut next = self.clone();
        for (key, expect) in &transaction.requires {
            next.check(key, *expect)?;
        }
        let mut events = Vec::with_capacity(transaction.writes.len());
        let mut objects = Vec::with_capacity(transaction.writes.len());
        for write in &transaction.writes {
            let event = next.write(write)?;
            objects.push(event.as_ref().map(|event| Arc::clone(&event.last)));
            events.extend(event);
        }
        let committed = Committed { revision: next.revision, objects };
        *self = next;
        Ok((committed, events))
    }

    fn check(&self, key: &Key, expected: Expect) -> Result<(), CommitError> {
        let found = self.objects.get(key).map(|object| object.revision());
        if expected.holds(found) {
            return Ok(());
        }
        Err(CommitError::Precondition { key: key.clone(), expected, found })
    }

    /// One write; `None` when it deletes what is not there.
    fn write(&mut self, write: &Write) -> Result<Option<Arc<Event>>, CommitError> {
        self.check(&write.key, write.expect)?;
        let old = self.objects.get(&write.key).cloned();
        let Some(object) = write.object.as_ref().or(old.as_ref()) else { return Ok(None) };
        if *object.key() != write.key {
            return Err(CommitError::WrongKey {
                key: write.key.clone(),
                object: object.key().clone(),
            });
        }
        let revision = self.revision + 1;
        let last = object.stamped(revision).map_err(|source| CommitError::Malformed {
            key: write.key.clone(),
            source: Arc::new(source),
        })?;
        let last = Arc::new(last);
        let new = write.object.is_some().then(|| Arc::clone(&last));
        self.revision = revision;
        self.replace(&write.key, new.clone());
        Ok(Some(Arc::new(Event { revision, key: write.key.clone(), old, new, last })))
    }

    /// Puts or removes an object and keeps the indexes right.
    fn replace(&mut self, key: &Key, new: Option<Arc<Object>>) {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        let (old, new) = (old.as_deref(), new.as_deref());
        if uid(old) != uid(new) {
            if let Some(uid) = uid(old) {
                self.uids.remove(uid);
            }
            if let Some(uid) = uid(new) {
                self.uids.insert(uid.into(), key.clone());
            }
        }
        if !owners(old).eq(owners(new)) {
            for owner in owners(old) {
                self.owners.remove(&(owner.into(), key.clone()));
            }
            for owner in owners(new) {
                self.owners.insert((owner.into(), key.clone()));
            }
        }
    }
}

fn uid(object: Option<&Object>) -> Option<&str> {
    object.map(|object| object.metadata().uid.as_str()).filter(|uid| !uid.is_empty())
}

fn owners(object: Option<&Object>) -> impl Iterator<Item = &str> {
    object.into_iter().flat_map(|object| {
        object.metadata().owner_references.iter().map(|owner| owner.uid.as_str())
    })
}

/// A key that borrows: resource, namespace, name, in a key's order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a>(&'a str, &'a str, &'a str);

impl Equivalent<Key> for Place<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.compare(key) == Ordering::Equal
    }
}

impl Comparable<Key> for Place<'_> {
    fn compare(&self, key: &Key) -> Ordering {
        self.cmp(&Place(&key.resource, &key.namespace, &key.name))
    }
}
