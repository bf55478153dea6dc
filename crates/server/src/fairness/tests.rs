//! Histories of requests, played to the gate.

mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::gate::{Arrival, Gate, Reason, Step};
use super::level::{LevelSpec, Response};
use super::{Name, Ticket};

const AT_ONCE: usize = 3;
const MILLISECOND: u64 = 1_000_000;

fn level(name: &str, shares: u32, lendable: u32, response: Response) -> LevelSpec {
    LevelSpec { name: name.into(), shares, lendable, borrowing: None, response }
}

fn queues(queues: u32, hand: u32, longest: usize) -> Response {
    Response::Queue { queues, hand, longest }
}

/// A gate with the levels, and what has gone on at it.
struct Played {
    gate: Gate,
    now: u64,
    /// Those who were let in and have not left, and whether they may go on.
    alive: BTreeMap<Ticket, bool>,
    refused: Vec<Reason>,
}

impl Played {
    fn new(seats: u32, specs: &[LevelSpec]) -> Self {
        let mut gate = Gate::new(seats, AT_ONCE);
        gate.configure(specs, &BTreeSet::new(), 0);
        Self { gate, now: 0, alive: BTreeMap::new(), refused: Vec::new() }
    }

    fn arrive(&mut self, level: &str, flow: u64) -> Option<Ticket> {
        let (level, schema): (Name, Name) = (level.into(), "schema".into());
        let arrival = Arrival { level: &level, schema: &schema, flow };
        let arrived = self.gate.arrive(&arrival, self.now);
        let ticket = arrived.map_err(|reason| self.refused.push(reason)).ok();
        self.alive.extend(ticket.map(|ticket| (ticket, false)));
        self.note();
        ticket
    }

    fn rest(&mut self, ticket: Ticket) {
        self.gate.rest(ticket, self.now);
        self.note();
    }

    fn leave(&mut self, ticket: Ticket) {
        self.gate.leave(ticket, self.now);
        self.alive.remove(&ticket);
        self.note();
    }

    fn give_up(&mut self, ticket: Ticket) {
        let waited = self.alive.get(&ticket) == Some(&false);
        assert_eq!(self.gate.give_up(ticket, self.now).is_some(), waited);
        if waited {
            self.alive.remove(&ticket);
        }
        self.note();
    }

    fn note(&mut self) {
        for ticket in self.gate.granted() {
            let before = self.alive.insert(ticket, true);
            assert_eq!(before, Some(false), "{ticket} was granted twice, or to nobody");
        }
    }

    fn with(&self, is_on: bool) -> Vec<Ticket> {
        self.alive.iter().filter(|(_, on)| **on == is_on).map(|(ticket, _)| *ticket).collect()
    }

    /// What holds at every moment.
    fn check(&self) {
        let gate = &self.gate;
        assert_eq!(gate.places.len(), self.alive.len(), "a request is lost");
        let count = |is_it: &dyn Fn(&super::gate::Place) -> bool| {
            gate.places.values().filter(|place| is_it(place)).count()
        };
        let computing = count(&|place| matches!(place.step, Step::Computes(_)));
        let wanting = count(&|place| place.step == Step::Seated);
        assert_eq!(gate.turns(), (computing, wanting));
        assert_eq!(gate.computing(), computing);
        assert!(computing == AT_ONCE || (computing < AT_ONCE && wanting == 0), "a turn is idle");
        let (mut kept, mut nominal) = (0, 0);
        for (name, level) in &gate.levels {
            let waiting = count(&|place| place.level == *name && place.step == Step::Waits);
            assert_eq!(level.queues.waiting(), waiting);
            assert!(waiting == 0 || !level.has_seat(gate.free()), "a seat of {name} is idle");
            let seated = count(&|place| {
                let is_free = matches!(place.step, Step::Waits | Step::Uncounted);
                place.level == *name && !is_free
            });
            assert_eq!(level.seated, i64::try_from(seated).unwrap());
            (kept, nominal) = (kept + level.kept(), nominal + level.limits.nominal);
        }
        assert_eq!(gate.free(), nominal - kept);
        for (ticket, on) in &self.alive {
            assert_eq!(gate.goes_on(*ticket), *on);
        }
    }
}

fn world() -> Vec<LevelSpec> {
    let jail = LevelSpec { borrowing: Some(0), ..level("jail", 0, 0, queues(1, 1, 2)) };
    vec![
        level("exempt", 0, 0, Response::Exempt),
        level("low", 10, 90, queues(8, 2, 3)),
        level("high", 20, 50, queues(64, 4, 2)),
        level("reject", 5, 0, Response::Reject),
        jail,
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Arrive(&'static str, u64),
    Rest(usize),
    Leave(usize),
    GoAway(usize),
    GiveUp(usize),
    Pass(u64),
    Configure(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let level = prop::sample::select(vec!["exempt", "low", "high", "reject", "jail", "unknown"]);
    prop_oneof![
        8 => (level, 0..4_u64).prop_map(|(level, flow)| Act::Arrive(level, flow * 7919)),
        3 => any::<usize>().prop_map(Act::Rest),
        5 => any::<usize>().prop_map(Act::Leave),
        1 => any::<usize>().prop_map(Act::GoAway),
        1 => any::<usize>().prop_map(Act::GiveUp),
        2 => (0..50 * MILLISECOND).prop_map(Act::Pass),
        1 => prop::sample::select(vec![2_000, 70_000]).prop_map(|ms| Act::Pass(ms * MILLISECOND)),
        1 => (0..4_usize).prop_map(Act::Configure),
    ]
}

fn nth(all: &[Ticket], at: usize) -> Option<Ticket> {
    all.get(at % all.len().max(1)).copied()
}

impl Played {
    fn play(&mut self, act: &Act) {
        match act {
            Act::Arrive(level, flow) => {
                self.arrive(level, *flow);
            }
            Act::Rest(at) => nth(&self.with(true), *at).into_iter().for_each(|it| self.rest(it)),
            Act::Leave(at) => nth(&self.with(true), *at).into_iter().for_each(|it| self.leave(it)),
            Act::GoAway(at) => {
                nth(&self.with(false), *at).into_iter().for_each(|it| self.leave(it));
            }
            Act::GiveUp(at) => {
                let all: Vec<_> = self.alive.keys().copied().collect();
                nth(&all, *at).into_iter().for_each(|it| self.give_up(it));
            }
            Act::Pass(time) => self.now += time,
            Act::Configure(without) => {
                let mut specs = world();
                specs.remove(*without);
                self.gate.configure(&specs, &BTreeSet::new(), self.now);
                self.note();
            }
        }
    }

    /// How many of a level have seats, and how many it may have at most.
    fn seats(&self, level: &str) -> (i64, i64, i64) {
        let level = &self.gate.levels[level];
        (level.seated, level.limits.lower, level.limits.upper)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever happens, nobody is lost, nothing is given twice, and nothing is idle while somebody
    /// waits for it. When all who go on leave, everybody else goes on, but whoever has no seats.
    #[test]
    fn nobody_is_lost_and_nobody_starves(acts in prop::collection::vec(act(), 1..300)) {
        let mut played = Played::new(12, &world());
        for act in &acts {
            played.play(act);
            played.check();
        }
        played.gate.configure(&world(), &BTreeSet::new(), played.now);
        played.note();
        loop {
            let on = played.with(true);
            if on.is_empty() {
                break;
            }
            for ticket in on {
                played.leave(ticket);
                played.check();
            }
        }
        let left = played.with(false);
        prop_assert!(left.iter().all(|ticket| &*played.gate.places[ticket].level == "jail"));
        left.into_iter().for_each(|ticket| played.leave(ticket));
        prop_assert!(played.gate.figures.values().all(|it| it.executing == 0 && it.waiting == 0));
        prop_assert!(played.gate.levels.values().all(super::level::Level::is_idle));
    }

    /// As long as the levels stay as they are, none has more seats than it may, and what one never
    /// lends is there for it.
    #[test]
    fn no_level_takes_what_others_never_lend(acts in prop::collection::vec(act(), 1..300)) {
        let mut played = Played::new(12, &world());
        let fixed = acts.iter().filter(|act| !matches!(act, Act::Configure(_) | Act::Arrive("exempt", _)));
        for act in fixed {
            played.play(act);
            prop_assert!(played.gate.free() >= 0);
            for name in ["low", "high", "reject", "jail"] {
                let (seated, lower, upper) = played.seats(name);
                prop_assert!(seated <= upper, "{} of {} has {} seats", name, upper, seated);
                let waits = played.gate.levels[name].queues.waiting() > 0;
                prop_assert!(!waits || seated >= lower, "{} waits with {} of {}", name, seated, lower);
            }
        }
        prop_assert_eq!(played.seats("jail").0, 0);
    }
}

/// How long the quiet one's requests wait, in requests of the noisy one that go on before it, while
/// that one keeps `noise` going.
fn waits(noise: usize, noisy: (&str, u64), quiet: (&str, u64), rests: bool) -> Vec<usize> {
    let specs = [level("a", 50, 50, queues(64, 6, 50)), level("b", 50, 50, queues(64, 6, 50))];
    let mut played = Played::new(40, &specs);
    let (mut own, mut waits, mut before) = (None, Vec::new(), 0);
    for _ in 0..3_000 {
        while played.alive.len() - usize::from(own.is_some()) < noise
            && played.arrive(noisy.0, noisy.1).is_some()
        {}
        if own.is_none() {
            own = played.arrive(quiet.0, quiet.1);
            assert!(own.is_some(), "the quiet one was refused");
            before = 0;
        }
        played.now += 2 * MILLISECOND;
        let on = played.with(true);
        if rests {
            on.iter().for_each(|ticket| played.rest(*ticket));
        }
        if let Some(ticket) = own.filter(|ticket| on.contains(ticket)) {
            played.leave(ticket);
            (own, waits) = (None, [waits, vec![before]].concat());
        }
        // The longest at work leaves.
        if let Some(ticket) = on.into_iter().find(|ticket| Some(*ticket) != own) {
            played.leave(ticket);
            before += 1;
        }
    }
    waits
}

#[test]
fn a_noisy_flow_does_not_slow_another() {
    for noise in [5, 60, 600] {
        for quiet in [("a", 77), ("b", 77), ("b", 1)] {
            for rests in [false, true] {
                let waits = waits(noise, ("a", 1), quiet, rests);
                let worst = waits.iter().copied().max().unwrap();
                assert!(waits.len() > 300, "{noise} {quiet:?} {rests}: {}", waits.len());
                assert!(worst <= 10, "{noise} {quiet:?} {rests}: waited for {worst}");
            }
        }
    }
}

#[test]
fn who_is_too_many_is_refused_and_others_are_not() {
    let specs = [level("a", 10, 0, queues(64, 6, 5)), level("r", 10, 0, Response::Reject)];
    let mut played = Played::new(20, &specs);
    // Ten seats, and six queues of five.
    for _ in 0..60 {
        played.arrive("a", 1);
    }
    assert_eq!(played.refused, [Reason::QueueFull; 20]);
    assert!(played.arrive("a", 0x9e37_79b9_7f4a_7c15).is_some());
    played.refused.clear();
    for _ in 0..11 {
        played.arrive("r", 1);
    }
    assert_eq!(played.refused, [Reason::ConcurrencyLimit]);
    played.check();
}

#[test]
fn whoever_takes_too_long_costs_others_nothing_more() {
    let mut played = Played::new(10, &[level("a", 10, 0, queues(1, 1, 5))]);
    let slow: Vec<_> = (0..10).filter_map(|_| played.arrive("a", 1)).collect();
    for ticket in &slow {
        played.rest(*ticket);
    }
    let next = played.arrive("a", 2).unwrap();
    assert!(!played.gate.goes_on(next));
    played.now += 61_000 * MILLISECOND;
    assert!(played.arrive("a", 3).is_some());
    assert!(played.gate.goes_on(next));
    played.check();
    slow.into_iter().for_each(|ticket| played.leave(ticket));
    played.check();
}

#[test]
fn whoever_reads_an_answer_slowly_soon_has_no_turn() {
    let mut played = Played::new(20, &[level("a", 10, 0, queues(8, 8, 50))]);
    let slow: Vec<_> = (0..AT_ONCE).filter_map(|_| played.arrive("a", 1)).collect();
    let next = played.arrive("a", 2).unwrap();
    for (milliseconds, goes_on) in [(10, false), (1_000, true)] {
        played.now += milliseconds * MILLISECOND;
        played.gate.end_long_turns(played.now);
        played.note();
        assert_eq!(played.gate.goes_on(next), goes_on);
        played.check();
    }
    slow.into_iter().for_each(|ticket| played.leave(ticket));
    played.check();
}

#[test]
fn seats_that_nobody_uses_are_lent_and_come_back() {
    let specs = [level("a", 10, 50, queues(8, 8, 50)), level("b", 10, 50, queues(8, 8, 50))];
    let mut played = Played::new(20, &specs);
    let mut of_a: Vec<_> = (0..20).filter_map(|_| played.arrive("a", 1)).collect();
    assert_eq!((played.seats("a").0, played.gate.free()), (15, 0));
    for _ in 0..10 {
        played.arrive("b", 1);
    }
    assert_eq!(played.seats("b").0, 5, "what it never lends");
    for expected in 6..=10 {
        played.leave(of_a.remove(0));
        assert_eq!(played.seats("b").0, expected, "who has less of its own comes first");
    }
    played.leave(of_a.remove(0));
    assert_eq!((played.seats("a").0, played.seats("b").0), (10, 10));
    played.check();
}
