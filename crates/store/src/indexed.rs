//! The indexes of a state: which objects have a term, by the table in `coracle_api::index`.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use coracle_api::{Index, Key, Object, index};
use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

/// The terms of one object, sorted.
pub(crate) type Terms = Arc<[(Index, Arc<str>)]>;

/// Every term of every object.
#[derive(Clone, Default)]
pub(crate) struct Indexed {
    entries: OrdSet<Entry>,
}

/// Ordered by index, term and key: those that share a term stand as a list does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    index: Index,
    term: Arc<str>,
    key: Key,
}

/// What `object` is found by. A version with the same terms shares those of `before`.
pub(crate) fn terms(object: &Object, before: Option<&Terms>) -> Terms {
    let terms = index::terms(object);
    if let Some(before) = before
        && before
            .iter()
            .map(|(index, term)| (*index, &**term))
            .eq(terms.iter().map(|(index, term)| (*index, term.as_str())))
    {
        return Arc::clone(before);
    }
    terms.into_iter().map(|(index, term)| (index, term.into())).collect()
}

impl Indexed {
    /// The object at `key` had `old` and has `new` now.
    pub(crate) fn replace(&mut self, key: &Key, old: Option<&Terms>, new: Option<&Terms>) {
        let (old, new) = (old.map_or(&[][..], |it| it), new.map_or(&[][..], |it| it));
        let entry = |(index, term): &(Index, Arc<str>)| Entry {
            index: *index,
            term: Arc::clone(term),
            key: key.clone(),
        };
        for gone in old.iter().filter(|term| new.binary_search(term).is_err()) {
            self.entries.remove(&entry(gone));
        }
        for come in new.iter().filter(|term| old.binary_search(term).is_err()) {
            self.entries.insert(entry(come));
        }
    }

    /// An entry that only one of the two has.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let missing = self.entries.iter().find(|entry| !other.entries.contains(*entry));
        let wrong = other.entries.iter().find(|entry| !self.entries.contains(*entry));
        let Entry { index, term, key } = missing.or(wrong)?;
        let what = if missing.is_some() { "does not find" } else { "wrongly finds" };
        Some(format!("{index:?} {what} {key} by {term:?}"))
    }

    /// Who else has one of the terms that only one may have, of those that `new` adds to `old`.
    pub(crate) fn holder(
        &self,
        key: &Key,
        old: Option<&Terms>,
        new: &Terms,
    ) -> Option<(Index, Arc<str>, Key)> {
        let old = old.map_or(&[][..], |it| it);
        let unique = new.iter().filter(|(index, _)| index.unique().is_some());
        unique.filter(|term| old.binary_search(term).is_err()).find_map(|(index, term)| {
            let holder = self.keys(*index, term, "", "", "").find(|holder| *holder != key)?;
            Some((*index, Arc::clone(term), holder.clone()))
        })
    }

    /// The keys that have `term`, from the first of `resource` in `namespace` on whose name is not
    /// before `name`.
    pub(crate) fn keys<'a>(
        &'a self,
        index: Index,
        term: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = &'a Key> + use<'a> {
        let first = Place { index, term, resource, namespace, name };
        let mut range =
            self.entries.range::<_, Place<'_>>((Bound::Included(&first), Bound::Unbounded));
        // The first entry carries the term itself, which need not be copied to compare with.
        let term: Option<&Entry> =
            range.next().filter(|entry| entry.index == index && *entry.term == *term);
        let rest = range.take_while(move |entry| {
            term.is_some_and(|first| entry.index == index && entry.term == first.term)
        });
        term.into_iter().chain(rest).map(|entry| &entry.key)
    }
}

/// The place before the first entry of a resource in a namespace.
struct Place<'a> {
    index: Index,
    term: &'a str,
    resource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl Equivalent<Entry> for Place<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        self.compare(entry) == Ordering::Equal
    }
}

impl Comparable<Entry> for Place<'_> {
    fn compare(&self, entry: &Entry) -> Ordering {
        let own = (self.index, self.term, self.resource, self.namespace, self.name);
        let Key { resource, namespace, name } = &entry.key;
        own.cmp(&(entry.index, &*entry.term, &**resource, &**namespace, &**name))
    }
}
