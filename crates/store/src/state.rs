//! What a snapshot shows: the objects, and what the tables of indexes and sums have of them.

use std::cmp::Ordering;
use std::sync::Arc;

use coracle_api::quota::Bounds;
use coracle_api::resources::RESOURCE_QUOTAS;
use coracle_api::{Key, Object};
use equivalent::{Comparable, Equivalent};
use imbl::OrdMap;

use crate::indexed::{self, Indexed, Terms};
use crate::summed::{self, Adds, Summed};
use crate::transaction::{CommitError, Committed, Expect, Transaction, Write};
use crate::watch::Event;

/// What a snapshot points to, and what the committer changes a copy of.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) objects: OrdMap<Key, Stored>,
    pub(crate) indexed: Indexed,
    pub(crate) summed: Summed,
}

/// An object, and what it is found by.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) object: Arc<Object>,
    pub(crate) facts: Facts,
}

/// What indexes and sums have of an object: as long as it is the same, versions share it.
#[derive(Clone)]
pub(crate) struct Facts {
    terms: Terms,
    adds: Adds,
}

impl Facts {
    pub(crate) fn of(object: &Object, before: Option<&Self>) -> Self {
        Self {
            terms: indexed::terms(object, before.map(|facts| &facts.terms)),
            adds: summed::adds(object, before.map(|facts| &facts.adds)),
        }
    }
}

impl State {
    /// The state that `objects`, as read back from the disk, make up at `revision`.
    pub(crate) fn restored(revision: u64, objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut state = Self { revision, ..Self::default() };
        for object in objects {
            let key = object.key().clone();
            let facts = Facts::of(&object, None);
            state.replace(&key, Some(Stored { object, facts }));
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
        let found = self.objects.get(key).map(|stored| stored.object.revision());
        if expected.holds(found) {
            return Ok(());
        }
        Err(CommitError::Precondition { key: key.clone(), expected, found })
    }

    /// One write; `None` when it deletes what is not there.
    fn write(&mut self, write: &Write) -> Result<Option<Arc<Event>>, CommitError> {
        self.check(&write.key, write.expect)?;
        let before = self.objects.get(&write.key).cloned();
        let (old, facts) = before.map(|it| (it.object, it.facts)).unzip();
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
        // Of the version that was written, whose tree is still there, and not of the stamped one.
        let new = write.object.as_deref().map(|object| Facts::of(object, facts.as_ref()));
        if let Some(new) = &new {
            self.check_unique(&write.key, facts.as_ref(), new)?;
            self.check_quotas(&write.key, facts.as_ref(), new)?;
        }
        self.revision = revision;
        self.replace(&write.key, new.map(|facts| Stored { object: Arc::clone(&last), facts }));
        let new = write.object.is_some().then(|| Arc::clone(&last));
        Ok(Some(Arc::new(Event { revision, key: write.key.clone(), old, new, last })))
    }

    fn check_unique(&self, key: &Key, old: Option<&Facts>, new: &Facts) -> Result<(), CommitError> {
        match self.indexed.holder(key, old.map(|facts| &facts.terms), &new.terms) {
            None => Ok(()),
            Some((index, term, holder)) => {
                Err(CommitError::Taken { key: key.clone(), index, term, holder })
            }
        }
    }

    /// That what an object comes to take is within the quotas of its namespace.
    fn check_quotas(&self, key: &Key, old: Option<&Facts>, new: &Facts) -> Result<(), CommitError> {
        let old = old.map(|facts| &facts.adds);
        if key.namespace.is_empty() || old.is_some_and(|old| Arc::ptr_eq(old, &new.adds)) {
            return Ok(());
        }
        let first = Place(RESOURCE_QUOTAS, &key.namespace, "");
        let quotas = self.objects.range::<_, Place<'_>>(&first..);
        let of_namespace = |quota: &&Key| is_in(quota, RESOURCE_QUOTAS, Some(&key.namespace));
        for (quota, stored) in quotas.take_while(|(quota, _)| of_namespace(quota)) {
            let bounds = Bounds::of(&stored.object);
            let used = self.summed.used(&key.namespace, &bounds);
            if summed::exceeded(&bounds, old, &new.adds, &used) {
                return Err(CommitError::Exceeded { key: key.clone(), quota: quota.clone() });
            }
        }
        Ok(())
    }

    /// Puts `cold` in the place of the same version.
    pub(crate) fn cool(&mut self, cold: Arc<Object>) {
        if let Some(stored) = self.objects.get(cold.key())
            && stored.object.revision() == cold.revision()
            && stored.object.is_warm()
        {
            let facts = stored.facts.clone();
            self.objects.insert(cold.key().clone(), Stored { object: cold, facts });
        }
    }

    /// Of all objects.
    pub(crate) fn count(&self) -> usize {
        self.objects.len()
    }

    /// Every object of which more than its bytes is kept, cold.
    pub(crate) fn warm(&self) -> Vec<Arc<Object>> {
        let objects = self.objects.values().map(|stored| &stored.object);
        objects.filter(|object| object.is_warm()).map(|object| Arc::new(object.cold())).collect()
    }

    /// Puts or removes an object and keeps indexes and sums right.
    pub(crate) fn replace(&mut self, key: &Key, new: Option<Stored>) {
        let facts = new.as_ref().map(|stored| stored.facts.clone());
        let old = match new {
            Some(stored) => self.objects.insert(key.clone(), stored),
            None => self.objects.remove(key),
        };
        let (old_terms, old_adds) = old.map(|it| (it.facts.terms, it.facts.adds)).unzip();
        let (terms, adds) = facts.map(|it| (it.terms, it.adds)).unzip();
        self.indexed.replace(key, old_terms.as_ref(), terms.as_ref());
        self.summed.replace(old_adds.as_ref(), adds.as_ref());
    }
}

/// Whether a list of `resource` in `namespace` (`None`: in all) has what is at `key`.
pub(crate) fn is_in(key: &Key, resource: &str, namespace: Option<&str>) -> bool {
    *key.resource == *resource && namespace.is_none_or(|namespace| *key.namespace == *namespace)
}

/// A key that borrows: resource, namespace, name, in a key's order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a>(pub(crate) &'a str, pub(crate) &'a str, pub(crate) &'a str);

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
