//! The state of all objects at one revision: an immutable value, shared by pointer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use coracle_api::pod_resources::Amounts;
use coracle_api::quota::Bounds;
use coracle_api::resources::RESOURCE_QUOTAS;
use coracle_api::selector::{Operator, Requirement};
use coracle_api::sums::Group;
use coracle_api::{Index, Key, Object, Selector, index};
use equivalent::{Comparable, Equivalent};
use imbl::OrdMap;

use crate::indexed::{self, Indexed, Terms};
use crate::summed::{self, Adds, Summed};
use crate::transaction::{CommitError, Committed, Expect, Transaction, Write};
use crate::watch::Event;

/// All objects at one revision. Cloning copies a pointer; nothing ever changes one.
#[derive(Clone, Default)]
pub struct Snapshot {
    state: Arc<State>,
    /// How often an object was looked at, where somebody counts.
    visits: Option<Arc<AtomicUsize>>,
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state, visits: None }
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
        self.visited();
        self.state.objects.get(key).map(|stored| &stored.object)
    }

    /// The object `name` of `resource` (`statefulsets.apps`) in `namespace`, empty for cluster
    /// scope.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.visited();
        let place = Place(resource, namespace, name);
        self.state.objects.get(&place).map(|stored| &stored.object)
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
            .map(|(_, stored)| &stored.object)
            .take_while(move |object| is_in(object.key(), &resource, namespace.as_deref()))
            .inspect(|_| self.visited())
    }

    /// Every object of every resource, by key.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.state.objects.values().map(|stored| &stored.object).inspect(|_| self.visited())
    }

    /// The objects of `resource` in `namespace` (`None`: in all) that have `term`, by key.
    pub fn indexed<'a>(
        &'a self,
        index: Index,
        term: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let (resource, namespace) = (resource.to_owned(), namespace.map(str::to_owned));
        self.state
            .indexed
            .keys(index, term, &resource, namespace.as_deref().unwrap_or_default(), "")
            .take_while(move |key| is_in(key, &resource, namespace.as_deref()))
            .filter_map(|key| self.get(key))
    }

    /// The objects of `resource` in `namespace` that have `term` and whose names begin with
    /// `prefix`, by name.
    pub fn indexed_by_name<'a>(
        &'a self,
        index: Index,
        term: &str,
        (resource, namespace): (&str, &str),
        prefix: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let place = (resource.to_owned(), namespace.to_owned(), prefix.to_owned());
        self.state
            .indexed
            .keys(index, term, resource, namespace, prefix)
            .take_while(move |key| {
                is_in(key, &place.0, Some(&place.1)) && key.name.starts_with(&place.2)
            })
            .filter_map(|key| self.get(key))
    }

    /// Whether an object other than the one at `own` has `term`.
    pub fn is_taken(&self, index: Index, term: &str, own: &Key) -> bool {
        self.state.indexed.keys(index, term, "", "", "").any(|holder| holder != own)
    }

    /// The objects of every resource that have `term`, by key.
    pub fn with_term<'a>(
        &'a self,
        index: Index,
        term: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.state.indexed.keys(index, term, "", "", "").filter_map(|key| self.get(key))
    }

    /// The objects of every resource in `namespace`, by key.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.with_term(Index::Namespace, namespace)
    }

    /// The objects that name `owner_uid` in their `ownerReferences`, by key.
    pub fn dependents<'a>(
        &'a self,
        owner_uid: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.with_term(Index::Owner, owner_uid)
    }

    /// The object with this `metadata.uid`.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        if uid.is_empty() { None } else { self.with_term(Index::Uid, uid).next() }
    }

    /// Whether an object with this `metadata.uid` exists.
    pub fn contains_uid(&self, uid: &str) -> bool {
        self.by_uid(uid).is_some()
    }

    /// The objects of `resource` in `namespace` (`None`: in all) that `selector` selects, by key.
    /// No more are looked at than have the rarest label that it demands.
    pub fn selected<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Vec<&'a Arc<Object>> {
        let matches = |object: &&Arc<Object>| selector.matches(&object.metadata().labels);
        let Some(requirements) = selector.demands() else { return Vec::new() };
        let alternatives = requirements.iter().filter_map(label_terms);
        match self.rarest(alternatives.collect(), resource, namespace) {
            None => self.list(resource, namespace).filter(matches).collect(),
            Some(terms) => {
                let found = terms.iter().flat_map(|term| {
                    self.indexed(Index::Label, term, resource, namespace).filter(matches)
                });
                let mut found: Vec<_> = found.collect();
                if terms.len() > 1 {
                    found.sort_unstable_by(|a, b| a.key().cmp(b.key()));
                }
                found
            }
        }
    }

    /// Of several sets of labels the one that the fewest objects have: all are counted at once,
    /// until the first comes to its end.
    fn rarest(
        &self,
        mut sets: Vec<Vec<String>>,
        resource: &str,
        namespace: Option<&str>,
    ) -> Option<Vec<String>> {
        if sets.len() < 2 {
            return sets.pop();
        }
        let keys = |term: &String| {
            let from = namespace.unwrap_or_default();
            self.state
                .indexed
                .keys(Index::Label, term, resource, from, "")
                .take_while(|key| is_in(key, resource, namespace))
        };
        let mut counts: Vec<_> = sets.iter().map(|set| set.iter().flat_map(keys)).collect();
        let first = loop {
            if let Some(ended) = counts.iter_mut().position(|keys| keys.next().is_none()) {
                break ended;
            }
        };
        drop(counts);
        Some(sets.swap_remove(first))
    }

    /// The objects of `resource` in `namespace` whose own selector selects what has `labels`: the
    /// Services, sets, budgets or policies of a pod.
    pub fn selecting<'a>(
        &'a self,
        resource: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<&'a Arc<Object>> {
        let terms = index::demands_on(labels);
        let found = terms
            .flat_map(|term| self.indexed(Index::Demand, &term, resource, Some(namespace)))
            .filter(|object| object.selector().matches(labels));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        found
    }

    /// What the objects of `group` add up to.
    pub fn sum(&self, group: &Group) -> Amounts {
        self.state.summed.of(group)
    }

    /// What is taken now of each resource that the ResourceQuota `quota` bounds.
    pub fn quota_use(&self, quota: &Object) -> Amounts {
        self.state.summed.used(&quota.key().namespace, &Bounds::of(quota))
    }

    /// The same state, which counts how often one of its objects is looked at.
    pub fn counted(&self) -> (Self, Arc<AtomicUsize>) {
        let visits = Arc::new(AtomicUsize::new(0));
        (Self { state: Arc::clone(&self.state), visits: Some(Arc::clone(&visits)) }, visits)
    }

    fn visited(&self) {
        if let Some(visits) = &self.visits {
            visits.fetch_add(1, Relaxed);
        }
    }

    /// The state as if `writes` had been committed now, with revisions that a commit may give to
    /// other writes: for plans of several writes and for dry runs. Nothing is stored.
    ///
    /// # Errors
    /// The same as a commit's, apart from those of the disk.
    pub fn with(&self, writes: &[Write]) -> Result<Self, CommitError> {
        let mut state = State::clone(&self.state);
        state.apply(&Transaction::of(writes.iter().cloned()))?;
        Ok(Self { state: Arc::new(state), visits: self.visits.clone() })
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

#[cfg(test)]
impl Snapshot {
    /// Every sum, as it was folded, and as it is of all objects.
    pub(crate) fn sums(&self) -> [Vec<(Group, Amounts)>; 2] {
        let mut anew = Summed::default();
        for object in self.objects() {
            anew.replace(None, Some(&summed::adds(object, None)));
        }
        [&self.state.summed, &anew]
            .map(|sums| sums.all().map(|(group, sum)| (group.clone(), sum)).collect())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} objects @{}", self.len(), self.revision())
    }
}

fn is_in(key: &Key, resource: &str, namespace: Option<&str>) -> bool {
    *key.resource == *resource && namespace.is_none_or(|namespace| *key.namespace == *namespace)
}

/// The labels of which an object that fulfils the requirement has one.
fn label_terms(requirement: &Requirement) -> Option<Vec<String>> {
    let Requirement { key, operator, values } = requirement;
    match operator {
        Operator::Equals | Operator::DoubleEquals | Operator::In => {
            Some(values.iter().map(|value| index::label(key, value)).collect())
        }
        operator => operator.is_positive().then(|| vec![key.clone()]),
    }
}

impl Snapshot {
    /// This state, found by the indexes of another one: what a stale index would show. For tests of
    /// whether somebody notices.
    #[must_use]
    pub fn with_indexes_of(&self, other: &Self) -> Self {
        let state = State { indexed: other.state.indexed.clone(), ..(*self.state).clone() };
        Self { state: Arc::new(state), ..self.clone() }
    }
}

/// What a snapshot points to, and what the committer changes a copy of.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: u64,
    objects: OrdMap<Key, Stored>,
    indexed: Indexed,
    summed: Summed,
}

/// An object, and what it is found by.
#[derive(Clone)]
struct Stored {
    object: Arc<Object>,
    facts: Facts,
}

/// What indexes and sums have of an object: as long as it is the same, versions share it.
#[derive(Clone)]
struct Facts {
    terms: Terms,
    adds: Adds,
}

impl Facts {
    fn of(object: &Object, before: Option<&Self>) -> Self {
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

    /// Every object of which more than its bytes is kept, cold.
    pub(crate) fn warm(&self) -> Vec<Arc<Object>> {
        let objects = self.objects.values().map(|stored| &stored.object);
        objects.filter(|object| object.is_warm()).map(|object| Arc::new(object.cold())).collect()
    }

    /// Puts or removes an object and keeps indexes and sums right.
    fn replace(&mut self, key: &Key, new: Option<Stored>) {
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
