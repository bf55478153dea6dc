//! Values with a number each, and what has to do with what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::facts::FactId;

/// Values that somebody has, with a number each.
#[derive(Debug)]
pub(super) struct Numbered<K> {
    ids: BTreeMap<K, u32>,
    held: BTreeMap<u32, (K, BTreeSet<Arc<str>>)>,
    last: u32,
}

impl<K> Default for Numbered<K> {
    /// The first number is 1.
    fn default() -> Self {
        Self { ids: BTreeMap::new(), held: BTreeMap::new(), last: 0 }
    }
}

impl<K: Ord + Clone> Numbered<K> {
    /// The value's number, which `who` has from now on; and whether it is new.
    pub fn join(&mut self, key: &K, who: &Arc<str>) -> (u32, bool) {
        let known = self.ids.get(key).copied();
        let id = known.unwrap_or_else(|| {
            self.last += 1;
            self.ids.insert(key.clone(), self.last);
            self.last
        });
        let (_, members) = self.held.entry(id).or_insert_with(|| (key.clone(), BTreeSet::new()));
        members.insert(Arc::clone(who));
        (id, known.is_none())
    }

    /// `who` does not have the number any more; whether nobody has it now.
    pub fn leave(&mut self, id: u32, who: &str) -> bool {
        let Some((key, members)) = self.held.get_mut(&id) else { return false };
        members.remove(who);
        if !members.is_empty() {
            return false;
        }
        self.ids.remove(key);
        self.held.remove(&id);
        true
    }

    /// The number stands for another value from now on; whether that was free.
    pub fn rename(&mut self, id: u32, key: &K) -> bool {
        if self.ids.contains_key(key) {
            return false;
        }
        let Some((held, _)) = self.held.get_mut(&id) else { return false };
        self.ids.remove(held);
        *held = key.clone();
        self.ids.insert(key.clone(), id);
        true
    }

    /// What the number stands for.
    pub fn get(&self, id: u32) -> Option<&K> {
        self.held.get(&id).map(|(key, _)| key)
    }

    /// Who has it.
    pub fn members(&self, id: u32) -> impl Iterator<Item = &Arc<str>> {
        self.held.get(&id).into_iter().flat_map(|(_, members)| members)
    }
}

/// Which numbers have to do with which facts.
#[derive(Debug, Default)]
pub(super) struct Relation {
    facts: BTreeMap<u32, Vec<FactId>>,
    numbers: BTreeSet<(FactId, u32)>,
}

impl Relation {
    /// The number has to do with these facts, and no others.
    pub fn set(&mut self, number: u32, facts: impl IntoIterator<Item = FactId>) {
        for old in self.facts.remove(&number).unwrap_or_default() {
            self.numbers.remove(&(old, number));
        }
        let facts: Vec<_> = facts.into_iter().collect();
        self.numbers.extend(facts.iter().map(|fact| (*fact, number)));
        if !facts.is_empty() {
            self.facts.insert(number, facts);
        }
    }

    /// The facts that the number has to do with.
    pub fn facts(&self, number: u32) -> impl Iterator<Item = FactId> {
        self.facts.get(&number).into_iter().flatten().copied()
    }

    /// The numbers that have to do with one of the facts.
    pub fn of(&self, facts: impl IntoIterator<Item = FactId>) -> BTreeSet<u32> {
        let numbers = |fact| self.numbers.range((fact, 0)..=(fact, u32::MAX)).map(|(_, it)| *it);
        facts.into_iter().flat_map(numbers).collect()
    }
}
