//! What a node has promised to its pods, and who waits for more. Pure.
//!
//! A pod that starts is admitted by what its spec asks for; one whose spec changes keeps what it was
//! promised until the ledger promises it the new amounts. What others ask for counts as theirs until
//! they have asked here and had to wait: so the node is never promised twice.

use std::collections::BTreeMap;

use coracle_api::pod_resources::{self, Amounts};
use coracle_api::pods::AnyPod;
use coracle_api::resources::{NODES, PODS};
use coracle_api::{Index, Object, Quantity};
use coracle_store::Snapshot;
use jiff::Timestamp;
use serde_json::Value;

use crate::planner::{Verdict, lacks};

/// What may be resized.
const RESIZED: [&str; 2] = ["cpu", "memory"];

/// A pod that asks for other amounts.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Its UID.
    pub uid: String,
    /// What it asks for.
    pub wanted: Amounts,
    /// What it was promised.
    pub has: Amounts,
    /// `spec.priority`
    pub priority: i32,
    /// Its class is Guaranteed.
    pub is_guaranteed: bool,
    /// Since when it asks.
    pub since: Timestamp,
}

/// What one pod of the node asks for.
#[derive(Clone, Debug, Default)]
pub struct Stake {
    /// By its spec.
    pub asked: Amounts,
    /// The most of that and of what its status tells that it has.
    pub held: Amounts,
}

/// What the node has, and what its pods ask for, by UID.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// `status.allocatable`
    pub allocatable: Amounts,
    /// Of every pod that is on the node and has not ended.
    pub pods: BTreeMap<String, Stake>,
}

impl Room {
    /// The room of the node `name`. Pods that are not `counted` take none of it.
    pub fn of(snapshot: &Snapshot, name: &str, counted: impl Fn(&Object) -> bool) -> Self {
        let node = snapshot.find(NODES, "", name);
        let allocatable = node.map(|node| &node.value()["status"]["allocatable"]);
        let pods = snapshot.indexed(Index::PodNode, name, PODS, None);
        let pods = pods.filter(|pod| !pod.has_ended() && counted(pod));
        Self {
            allocatable: allocatable.into_iter().flat_map(pod_resources::amounts).collect(),
            pods: pods.map(|pod| (pod.metadata().uid.clone(), Stake::of(pod.value()))).collect(),
        }
    }

    fn wants(&self, uid: &str, amounts: &Amounts) -> bool {
        self.pods.get(uid).is_some_and(|stake| stake.asked == *amounts)
    }
}

impl Stake {
    fn of(pod: &Value) -> Self {
        Self { asked: requests(pod), held: resized(pod_resources::requests_held(pod)) }
    }
}

/// What a pod asks for of what may be resized.
#[must_use]
pub fn requests(pod: &Value) -> Amounts {
    resized(pod_resources::requests(&pod["spec"]))
}

fn resized(mut amounts: Amounts) -> Amounts {
    amounts.retain(|name, _| RESIZED.contains(&name.as_str()));
    amounts
}

/// The ledger of one node.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What pods were promised that have asked for something else since they began.
    promised: BTreeMap<String, Amounts>,
    waiting: BTreeMap<String, Asking>,
    /// What is kept for those that may ask again, for as long as their specs ask for it.
    kept: BTreeMap<String, Amounts>,
}

impl Ledger {
    /// An earlier engine has promised this.
    pub fn hold(&mut self, uid: &str, has: Amounts) {
        self.promised.insert(uid.to_owned(), has);
    }

    /// Promises what is asked for, or has the pod wait.
    pub fn ask(&mut self, asking: Asking, room: &Room) -> Verdict {
        self.kept.remove(&asking.uid);
        let verdict = self.judge(&asking, room);
        let has = if verdict == Verdict::Granted { &asking.wanted } else { &asking.has };
        self.promised.insert(asking.uid.clone(), has.clone());
        match verdict {
            Verdict::Granted => drop(self.waiting.remove(&asking.uid)),
            _ => drop(self.waiting.insert(asking.uid.clone(), asking)),
        }
        verdict
    }

    /// Who of those that wait may ask again, by UID: there is room for all of them, and it is kept.
    #[must_use]
    pub fn retry(&mut self, room: &Room) -> Vec<String> {
        // Whoever asks for something else by now will say so, or wants nothing any more.
        self.waiting.retain(|uid, asking| room.wants(uid, &asking.wanted));
        let mut waiting: Vec<Asking> = self.waiting.values().cloned().collect();
        waiting.sort_by_key(|it| {
            (grows(it), std::cmp::Reverse((it.priority, it.is_guaranteed)), it.since)
        });
        let mut lucky = Vec::new();
        for asking in waiting {
            if self.judge(&asking, room) == Verdict::Granted {
                self.kept.insert(asking.uid.clone(), asking.wanted);
                self.waiting.remove(&asking.uid);
                lucky.push(asking.uid);
            }
        }
        lucky
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nothing is left of the pod.
    pub fn forget(&mut self, uid: &str) {
        self.promised.remove(uid);
        self.waiting.remove(uid);
        self.kept.remove(uid);
    }

    fn judge(&self, asking: &Asking, room: &Room) -> Verdict {
        if !grows(asking) {
            return Verdict::Granted;
        }
        if let Some(lack) = lacks(&asking.wanted, &Amounts::new(), &room.allocatable).first() {
            let (resource, requested, capacity) = (&lack.resource, lack.requested, lack.capacity);
            return Verdict::Infeasible(format!(
                "Node didn't have enough capacity: {resource}, requested: {requested}, capacity: \
                 {capacity}"
            ));
        }
        let mut used = Amounts::new();
        for (uid, stake) in room.pods.iter().filter(|(uid, _)| **uid != asking.uid) {
            let kept = self.kept.get(uid).filter(|kept| **kept == stake.asked);
            let taken = kept.or_else(|| self.promised.get(uid)).unwrap_or(&stake.held);
            pod_resources::add(&mut used, taken.clone());
        }
        match lacks(&asking.wanted, &used, &room.allocatable).first() {
            None => Verdict::Granted,
            Some(lack) => Verdict::Deferred(lack.to_string()),
        }
    }
}

/// Whether more is asked for than was promised.
fn grows(asking: &Asking) -> bool {
    asking
        .wanted
        .iter()
        .any(|(name, wanted)| *wanted > asking.has.get(name).copied().unwrap_or(Quantity::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cpu(cores: i64) -> Amounts {
        Amounts::from([("cpu".to_owned(), Quantity::from_count(cores))])
    }

    fn asking(uid: &str, has: i64, wanted: i64) -> Asking {
        Asking {
            uid: uid.to_owned(),
            wanted: cpu(wanted),
            has: cpu(has),
            priority: 0,
            is_guaranteed: false,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn stake(asked: i64, has: i64) -> Stake {
        Stake { asked: cpu(asked), held: cpu(asked.max(has)) }
    }

    fn room(pods: &[(&str, i64)]) -> Room {
        let pods = pods.iter().map(|(uid, cores)| ((*uid).to_owned(), stake(*cores, 0)));
        Room { allocatable: cpu(10), pods: pods.collect() }
    }

    #[test]
    fn what_does_not_fit_waits_and_what_never_will_is_said() {
        let mut ledger = Ledger::default();
        let room = room(&[("a", 9), ("b", 3)]);
        assert_eq!(
            ledger.ask(asking("a", 2, 9), &room),
            Verdict::Deferred(
                "Node didn't have enough resource: cpu, requested: 9000, used: 3000, capacity: 10000"
                    .into()
            )
        );
        assert!(matches!(ledger.ask(asking("b", 3, 11), &room), Verdict::Infeasible(_)));
        assert_eq!(ledger.ask(asking("b", 3, 1), &room), Verdict::Granted);
        assert_eq!(ledger.retry(&room), ["a"]);
        assert!(ledger.is_idle());
    }

    #[test]
    fn the_most_important_comes_first() {
        let mut ledger = Ledger::default();
        let pods = room(&[("a", 4), ("b", 4), ("c", 4), ("d", 7)]);
        let mut important = asking("c", 1, 4);
        important.priority = 5;
        for one in [asking("a", 1, 4), asking("b", 1, 4), important] {
            assert!(matches!(ledger.ask(one, &pods), Verdict::Deferred(_)));
        }
        let mut less = pods.clone();
        less.pods.insert("d".into(), stake(4, 0));
        assert_eq!(ledger.retry(&less), ["c"]);
        // Its room is kept for it until it asks.
        assert!(ledger.retry(&less).is_empty());
        assert_eq!(ledger.ask(asking("c", 1, 4), &less), Verdict::Granted);
        ledger.forget("c");
        less.pods.remove("c");
        assert_eq!(ledger.retry(&less), ["a"]);
    }

    #[test]
    fn nothing_is_kept_for_who_does_not_want_it_any_more() {
        let mut ledger = Ledger::default();
        let all = |a: i64, b: i64| room(&[("a", a), ("b", b), ("c", 2)]);
        assert!(matches!(ledger.ask(asking("a", 1, 8), &all(8, 4)), Verdict::Deferred(_)));
        assert_eq!(ledger.ask(asking("b", 4, 0), &all(8, 0)), Verdict::Granted);
        assert_eq!(ledger.retry(&all(8, 0)), ["a"]);
        // Before it asks again its spec is put back: others may have the room.
        assert_eq!(ledger.ask(asking("b", 0, 7), &all(1, 7)), Verdict::Granted);
        assert!(matches!(ledger.ask(asking("a", 1, 8), &all(8, 7)), Verdict::Deferred(_)));
        assert!(ledger.retry(&all(1, 0)).is_empty());
        assert!(ledger.is_idle());
    }

    proptest! {
        #[test]
        fn the_node_is_never_promised_twice(
            acts in prop::collection::vec((0usize..4, 0i64..9, 0usize..4), 1..40)
        ) {
            let names = ["a", "b", "c", "d"];
            let (mut specs, mut has) = ([1i64; 4], [1i64; 4]);
            let mut ledger = Ledger::default();
            for (who, wanted, asks) in acts {
                // Zero: the spec is put back, of which the ledger does not hear.
                specs[who] = if wanted == 0 { has[who] } else { wanted };
                let stakes = [0, 1, 2, 3].map(|i| (names[i].to_owned(), stake(specs[i], has[i])));
                let room = Room { allocatable: cpu(10), pods: stakes.into() };
                // Those whose specs have changed ask sooner or later.
                if specs[asks] != has[asks] {
                    let asking = asking(names[asks], has[asks], specs[asks]);
                    if ledger.ask(asking, &room) == Verdict::Granted {
                        has[asks] = specs[asks];
                    }
                }
                let lucky = ledger.retry(&room);
                prop_assert!(lucky.iter().all(|uid| names.contains(&uid.as_str())));
                prop_assert!(has.iter().sum::<i64>() <= 10, "{has:?}");
            }
        }
    }
}
