//! The store against a map: random transactions give the same answers, states and events.

use std::collections::BTreeMap;

use coracle_api::Key;
use proptest::prelude::*;
use serde_json::json;

use crate::tests::{now, object};
use crate::{Expect, FaultyDisk, Snapshot, Store, Transaction, Write};

const RESOURCES: [&str; 2] = ["pods", "nodes"];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Resource and name.
type Place = (&'static str, &'static str);

/// The reference: revision and content by place, and what a watch must show.
#[derive(Clone, Default)]
struct Model {
    revision: u64,
    objects: BTreeMap<Place, (u64, u32)>,
    /// Revision, place and new content.
    events: Vec<(u64, Place, Option<u32>)>,
}

#[derive(Clone, Debug)]
struct Change {
    place: Place,
    expect: Expect,
    /// `None` deletes.
    content: Option<u32>,
}

#[derive(Clone, Debug)]
enum Step {
    Commit { requires: Vec<(Place, Expect)>, changes: Vec<Change> },
    Reopen,
}

impl Model {
    fn holds(&self, place: Place, expect: Expect) -> bool {
        match (expect, self.objects.get(&place)) {
            (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
            (Expect::Revision(wanted), Some((revision, _))) => wanted == *revision,
            _ => false,
        }
    }

    /// The state after the transaction, if it is allowed.
    fn commit(&self, requires: &[(Place, Expect)], changes: &[Change]) -> Option<Self> {
        let mut next = self.clone();
        if !requires.iter().all(|(place, expect)| next.holds(*place, *expect)) {
            return None;
        }
        for change in changes {
            if !next.holds(change.place, change.expect) {
                return None;
            }
            let exists = next.objects.contains_key(&change.place);
            match change.content {
                Some(content) => next.objects.insert(change.place, (next.revision + 1, content)),
                None => next.objects.remove(&change.place),
            };
            if exists || change.content.is_some() {
                next.revision += 1;
                next.events.push((next.revision, change.place, change.content));
            }
        }
        Some(next)
    }

    fn agrees_with(&self, snapshot: &Snapshot) -> Result<(), TestCaseError> {
        prop_assert_eq!(snapshot.revision(), self.revision);
        for resource in RESOURCES {
            let found: Vec<_> = snapshot
                .list(resource, Some("default"))
                .map(|o| (o.key().name.to_string(), o.revision(), o.value()["data"].clone()))
                .collect();
            let expected: Vec<_> = self
                .objects
                .iter()
                .filter(|((of, _), _)| *of == resource)
                .map(|((_, name), (revision, content))| {
                    ((*name).to_owned(), *revision, json!(content))
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
        Ok(())
    }
}

fn key((resource, name): Place) -> Key {
    Key::new(resource, "default", name)
}

fn transaction(requires: &[(Place, Expect)], changes: &[Change]) -> Transaction {
    let writes = changes.iter().map(|change| match change.content {
        Some(content) => {
            let (resource, name) = change.place;
            Write::put(object(resource, name, json!(content)), change.expect)
        }
        None => Write::delete(key(change.place), change.expect),
    });
    let requires = requires.iter().map(|(place, expect)| (key(*place), *expect)).collect();
    Transaction { writes: writes.collect(), requires }
}

/// Events after `revision` as a watch of `resource` (`None`: all) shows them.
fn watched(store: &Store, resource: Option<&str>, revision: u64) -> Vec<(u64, Key, Option<u32>)> {
    let watch = match resource {
        Some(resource) => store.watch_resource(resource, revision),
        None => store.watch(revision),
    };
    let mut watch = watch.unwrap();
    std::iter::from_fn(|| watch.try_next().unwrap())
        .map(|event| {
            let content = |o: &coracle_api::Object| o.value()["data"].as_u64().unwrap() as u32;
            (event.revision, event.key.clone(), event.new.as_deref().map(content))
        })
        .collect()
}

fn place() -> impl Strategy<Value = Place> {
    (prop::sample::select(&RESOURCES[..]), prop::sample::select(&NAMES[..]))
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        6 => Just(Expect::Any),
        1 => Just(Expect::Absent),
        1 => Just(Expect::Present),
        1 => (1..12u64).prop_map(Expect::Revision),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (place(), expect(), prop::option::weighted(0.7, 0..100u32))
        .prop_map(|(place, expect, content)| Change { place, expect, content });
    let requires = prop::collection::vec((place(), expect()), 0..2);
    let commit = (requires, prop::collection::vec(change, 0..4))
        .prop_map(|(requires, changes)| Step::Commit { requires, changes });
    prop_oneof![9 => commit, 1 => Just(Step::Reopen)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_with_a_history(steps in prop::collection::vec(step(), 1..25)) {
        let disk = FaultyDisk::new(0);
        let mut store = Store::open_on(disk.clone()).unwrap();
        let mut model = Model::default();
        let mut log_begins = 0;
        let mut past = vec![(store.snapshot(), model.clone())];
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(store);
                    disk.power_on();
                    store = Store::open_on(disk.clone()).unwrap();
                    log_begins = model.revision;
                }
                Step::Commit { requires, changes } => {
                    let transaction = transaction(&requires, &changes);
                    let provisional = store.snapshot().with(&transaction.writes);
                    let committed = now(store.commit(transaction));
                    let next = model.commit(&requires, &changes);
                    prop_assert_eq!(committed.is_ok(), next.is_some());
                    if let Some(next) = next {
                        next.agrees_with(&provisional.unwrap())?;
                        model = next;
                    }
                }
            }
            model.agrees_with(&store.snapshot())?;
            past.push((store.snapshot(), model.clone()));
        }
        for (snapshot, model) in past {
            model.agrees_with(&snapshot)?;
        }
        for begin in log_begins..=model.revision {
            for resource in [None, Some("pods"), Some("nodes")] {
                let expected: Vec<_> = model
                    .events
                    .iter()
                    .filter(|(revision, place, _)| {
                        *revision > begin && resource.is_none_or(|resource| place.0 == resource)
                    })
                    .map(|(revision, place, content)| (*revision, key(*place), *content))
                    .collect();
                prop_assert_eq!(watched(&store, resource, begin), expected);
            }
        }
    }
}
