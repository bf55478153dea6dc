//! The state of all objects at one revision: an immutable value, shared by pointer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use coracle_api::computed::Look;
use coracle_api::pod_resources::{self, Amounts};
use coracle_api::quota::Bounds;
use coracle_api::resources::{PERSISTENT_VOLUME_CLAIMS, PODS};
use coracle_api::selector::{Operator, Requirement};
use coracle_api::{Index, Key, Object, Selector, index};

use crate::state::{Facts, Place, State, Stored, is_in};
use crate::transaction::{CommitError, Expect, Transaction, Write};

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

    /// What the pods of `node` that have not ended add up to.
    pub fn on_node(&self, node: &str) -> Amounts {
        let mut all = Amounts::new();
        for (_, amounts) in self.state.summed.by_priority(node, None) {
            pod_resources::add(&mut all, amounts);
        }
        all
    }

    /// What those pods of `node` add up to whose priority is below `priority`, by priority.
    pub fn on_node_below(&self, node: &str, priority: i32) -> Vec<(i32, Amounts)> {
        self.state.summed.by_priority(node, Some(priority))
    }

    /// The pods that are made from the object `name` of `resource`: of a ConfigMap, a Secret, a
    /// ServiceAccount or a claim.
    pub fn referring<'a>(
        &'a self,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let (index, term) = match resource {
            PERSISTENT_VOLUME_CLAIMS => (Index::PodClaim, name.to_owned()),
            _ => (Index::PodRefers, index::reference(resource, name)),
        };
        self.indexed(index, &term, PODS, Some(namespace))
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

impl Look for Snapshot {
    fn look<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + 'a> {
        Box::new(self.list(resource, namespace))
    }
}

/// For tests and simulation.
impl Snapshot {
    /// What an index or a sum says that is not what the objects make it.
    pub fn disagreement(&self) -> Option<String> {
        let mut anew = State { revision: self.state.revision, ..State::default() };
        for object in self.objects() {
            let facts = Facts::of(object, None);
            anew.replace(object.key(), Some(Stored { object: Arc::clone(object), facts }));
        }
        let index = anew.indexed.difference(&self.state.indexed);
        index.or_else(|| anew.summed.difference(&self.state.summed))
    }

    /// This state, found by the indexes of another one: what a stale index would show. For tests of
    /// whether somebody notices.
    #[must_use]
    pub fn with_indexes_of(&self, other: &Self) -> Self {
        let state = State { indexed: other.state.indexed.clone(), ..(*self.state).clone() };
        Self { state: Arc::new(state), ..self.clone() }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} objects @{}", self.len(), self.revision())
    }
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
