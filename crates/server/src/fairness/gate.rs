//! Who goes on, who waits and who is refused: the whole of it, fed with what arrives and ends.
//!
//! A request needs a seat of its level, and then a turn to compute. A level has seats by its shares;
//! what it may lend and does not use is anybody's, at once. Time is in nanoseconds since any moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::level::{Level, LevelSpec, Limits, Response};
use super::turns::Turns;
use super::{Name, Ticket};

/// How long a request counts: upstream ends one then, and here it costs the others nothing more.
const COUNTS: u64 = 60_000_000_000;
/// How long a turn may last. It ends when the answer is sent, and clients may read as slowly as they
/// like: the few turns that there are would soon be theirs.
const TURN: u64 = 200_000_000;
/// How often those that count no more are looked for while others wait.
const LOOK: u64 = 1_000_000_000;

/// Why a request is refused; the words are those of upstream's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its queue is full.
    QueueFull,
    /// Its level has no seat, and no queues.
    ConcurrencyLimit,
    /// It has waited for too long.
    TimeOut,
}

impl Reason {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// What arrives.
pub(crate) struct Arrival<'a> {
    pub(crate) level: &'a Name,
    pub(crate) schema: &'a Name,
    /// A hash of the flow.
    pub(crate) flow: u64,
}

/// What was and is with the requests of a schema.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) executing: u64,
    pub(crate) waiting: u64,
    pub(crate) dispatched: u64,
    pub(crate) rejected: BTreeMap<Reason, u64>,
}

/// A request, from its arrival to its end.
pub(crate) struct Place {
    pub(crate) level: Name,
    pub(crate) schema: Name,
    pub(crate) flow: u64,
    /// Which queue of its level; none where there are no queues.
    pub(crate) queue: Option<u32>,
    pub(crate) step: Step,
    pub(crate) arrived: u64,
    /// When it was given a seat.
    pub(crate) seated: u64,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// It goes on, and nothing limits it.
    Exempt,
    /// It waits in a queue of its level.
    Waits,
    /// It has a seat, and waits for a turn.
    Seated,
    /// It computes, since then.
    Computes(u64),
    /// It has computed, and waits for something else.
    Rests,
    /// It goes on and counts no more: it has taken too long, or its level is gone.
    Uncounted,
}

impl Step {
    fn has_seat(self) -> bool {
        matches!(self, Self::Seated | Self::Computes(_) | Self::Rests)
    }

    fn goes_on(self) -> bool {
        !matches!(self, Self::Waits | Self::Seated)
    }
}

/// All requests that there are.
pub(crate) struct Gate {
    /// How many seats there are for all levels.
    seats: i64,
    /// Seats that are nobody's: less than none when levels have become smaller than their use.
    free: i64,
    pub(crate) levels: BTreeMap<Name, Level>,
    turns: Turns,
    /// Who computes, by when they began.
    computing: BTreeSet<(u64, Ticket)>,
    pub(crate) places: HashMap<Ticket, Place>,
    pub(crate) figures: BTreeMap<(Name, Name), Figures>,
    last: Ticket,
    looked: u64,
    /// Who may go on since it was asked last.
    granted: Vec<Ticket>,
}

impl Gate {
    /// With so many seats in all, and so many that compute at once.
    pub(crate) fn new(seats: u32, at_once: usize) -> Self {
        Self {
            seats: seats.into(),
            free: 0,
            levels: BTreeMap::new(),
            turns: Turns::new(at_once),
            computing: BTreeSet::new(),
            places: HashMap::new(),
            figures: BTreeMap::new(),
            last: 0,
            looked: 0,
            granted: Vec::new(),
        }
    }

    /// Takes on what the objects say now; `pairs` are the levels and schemas that there are.
    pub(crate) fn configure(
        &mut self,
        specs: &[LevelSpec],
        pairs: &BTreeSet<(Name, Name)>,
        now: u64,
    ) {
        let shares = specs.iter().map(|spec| u64::from(spec.shares)).sum();
        for level in self.levels.values_mut() {
            (level.is_gone, level.limits) = (true, Limits::GONE);
        }
        for spec in specs {
            let fresh = || Level::new(spec.response);
            let level = self.levels.entry(Name::clone(&spec.name)).or_insert_with(fresh);
            (level.is_gone, level.response) = (false, spec.response);
            level.limits = Limits::of(spec, shares, self.seats);
        }
        let turns = &mut self.turns;
        self.levels.retain(|name, level| {
            let stays = !level.is_gone || !level.is_idle();
            if !stays {
                turns.forget(name);
            }
            stays
        });
        let is_used = |figures: &Figures| figures.executing > 0 || figures.waiting > 0;
        self.figures.retain(|pair, figures| pairs.contains(pair) || is_used(figures));
        let levels = &self.levels;
        let nominal: i64 = levels.values().map(|level| level.limits.nominal).sum();
        let kept: i64 = levels.values().map(Level::kept).sum();
        self.free = nominal - kept;
        self.settle(now);
    }

    /// Lets a request in, or refuses it.
    pub(crate) fn arrive(&mut self, arrival: &Arrival<'_>, now: u64) -> Result<Ticket, Reason> {
        self.look_for_overdue(now);
        self.end_long_turns(now);
        // A level that was deleted in this very moment limits nobody.
        let (step, queue) = match self.levels.get_mut(arrival.level) {
            None => (Step::Uncounted, None),
            Some(level) => {
                let has_seat = level.has_seat(self.free);
                match level.response {
                    Response::Exempt => (Step::Exempt, None),
                    Response::Reject if has_seat => (Step::Seated, None),
                    Response::Reject => {
                        return Err(self.refused(arrival, Reason::ConcurrencyLimit));
                    }
                    Response::Queue { queues, hand, longest } => {
                        let queue = level.queue(arrival.flow, queues, hand);
                        if !has_seat && level.queues.waiting_in(&queue) >= longest {
                            return Err(self.refused(arrival, Reason::QueueFull));
                        }
                        (Step::Waits, Some(queue))
                    }
                }
            }
        };
        Ok(self.placed(arrival, step, queue, now))
    }

    fn placed(&mut self, of: &Arrival<'_>, step: Step, queue: Option<u32>, now: u64) -> Ticket {
        self.last += 1;
        let ticket = self.last;
        let place = Place {
            level: Name::clone(of.level),
            schema: Name::clone(of.schema),
            flow: of.flow,
            queue,
            step,
            arrived: now,
            seated: now,
        };
        self.places.insert(ticket, place);
        let figures = figures(&mut self.figures, of.level, of.schema);
        if step.goes_on() {
            figures.executing += 1;
            figures.dispatched += 1;
            if step == Step::Exempt {
                self.change_seats(of.level, 1);
            }
            self.granted.push(ticket);
            return ticket;
        }
        figures.waiting += 1;
        match (queue, self.levels.get_mut(of.level)) {
            (Some(queue), Some(level)) => level.queues.push(queue, ticket),
            _ => self.seat(ticket, now),
        }
        self.settle(now);
        ticket
    }

    fn refused(&mut self, arrival: &Arrival<'_>, reason: Reason) -> Reason {
        let figures = figures(&mut self.figures, arrival.level, arrival.schema);
        *figures.rejected.entry(reason).or_default() += 1;
        reason
    }

    /// The request waits for something else than its turn.
    pub(crate) fn rest(&mut self, ticket: Ticket, now: u64) {
        let Some(place) = self.places.get_mut(&ticket) else { return };
        if let Step::Computes(since) = place.step {
            place.step = Step::Rests;
            self.computing.remove(&(since, ticket));
            self.turns.done(&place.level, place.flow, now.saturating_sub(since));
            self.settle(now);
        }
    }

    /// Takes their turns from requests that have had them for too long.
    pub(crate) fn end_long_turns(&mut self, now: u64) {
        while let Some((since, ticket)) = self.computing.first().copied()
            && now.saturating_sub(since) > TURN
        {
            self.rest(ticket, now);
        }
    }

    /// The request is over, or whoever asked is gone.
    pub(crate) fn leave(&mut self, ticket: Ticket, now: u64) {
        let Some(place) = self.places.remove(&ticket) else { return };
        let figures = figures(&mut self.figures, &place.level, &place.schema);
        if place.step.goes_on() {
            figures.executing = figures.executing.saturating_sub(1);
        } else {
            figures.waiting = figures.waiting.saturating_sub(1);
        }
        self.release(&place, ticket, now);
        self.settle(now);
    }

    /// The request has waited for too long, and is refused: unless it was let go on meanwhile.
    pub(crate) fn give_up(&mut self, ticket: Ticket, now: u64) -> Option<Reason> {
        let place = self.places.get(&ticket).filter(|place| !place.step.goes_on())?;
        let figures = figures(&mut self.figures, &place.level, &place.schema);
        *figures.rejected.entry(Reason::TimeOut).or_default() += 1;
        self.leave(ticket, now);
        self.look_for_overdue(now);
        Some(Reason::TimeOut)
    }

    /// Who may go on since this was asked last.
    pub(crate) fn granted(&mut self) -> std::vec::Drain<'_, Ticket> {
        self.granted.drain(..)
    }

    /// Whether nothing limits the request.
    pub(crate) fn is_exempt(&self, ticket: Ticket) -> bool {
        self.places.get(&ticket).is_some_and(|place| place.step == Step::Exempt)
    }

    /// Whether the request may go on.
    pub(crate) fn goes_on(&self, ticket: Ticket) -> bool {
        self.places.get(&ticket).is_none_or(|place| place.step.goes_on())
    }

    /// Gives back what a request that is at `place` has.
    fn release(&mut self, place: &Place, ticket: Ticket, now: u64) {
        match place.step {
            Step::Waits => {
                let level = self.levels.get_mut(&place.level);
                if let (Some(level), Some(queue)) = (level, &place.queue) {
                    level.queues.remove(queue, |own| *own == ticket);
                }
            }
            Step::Seated => self.turns.give_up(&place.level, place.flow, ticket),
            Step::Computes(since) => {
                self.computing.remove(&(since, ticket));
                self.turns.done(&place.level, place.flow, now.saturating_sub(since));
            }
            Step::Exempt | Step::Rests | Step::Uncounted => {}
        }
        if place.step.has_seat() {
            let level = self.levels.get_mut(&place.level);
            if let (Some(level), Some(queue)) = (level, &place.queue) {
                level.queues.done(queue, now.saturating_sub(place.seated));
            }
        }
        if place.step.has_seat() || place.step == Step::Exempt {
            self.change_seats(&place.level, -1);
        }
        if self.levels.get(&place.level).is_some_and(|level| level.is_gone && level.is_idle()) {
            self.levels.remove(&place.level);
            self.turns.forget(&place.level);
        }
    }

    fn change_seats(&mut self, level: &Name, by: i64) {
        let Some(level) = self.levels.get_mut(level) else { return };
        let before = level.kept();
        level.seated = level.seated.saturating_add(by);
        self.free += before - level.kept();
    }

    /// Hands out what is there to whoever waits for it.
    fn settle(&mut self, now: u64) {
        while let Some(level) = self.hungriest() {
            let Some((_, ticket)) = level.queues.pop() else { break };
            self.seat(ticket, now);
        }
        while let Some(ticket) = self.turns.next() {
            let Some(place) = self.places.get_mut(&ticket) else { continue };
            place.step = Step::Computes(now);
            self.computing.insert((now, ticket));
            let figures = figures(&mut self.figures, &place.level, &place.schema);
            figures.waiting = figures.waiting.saturating_sub(1);
            figures.executing += 1;
            figures.dispatched += 1;
            self.granted.push(ticket);
        }
    }

    /// The level that is to have the next seat, if there is one that has none and may have it.
    fn hungriest(&mut self) -> Option<&mut Level> {
        let free = self.free;
        let waits = |level: &&mut Level| level.queues.waiting() > 0 && level.has_seat(free);
        let levels = self.levels.values_mut().filter(waits);
        levels.reduce(|best, level| if level.is_before(best) { level } else { best })
    }

    fn seat(&mut self, ticket: Ticket, now: u64) {
        let Some(place) = self.places.get_mut(&ticket) else { return };
        (place.step, place.seated) = (Step::Seated, now);
        self.turns.ask(&place.level, place.flow, ticket);
        let level = Name::clone(&place.level);
        self.change_seats(&level, 1);
    }

    /// Takes their seats from requests that have had them for too long, once somebody waits.
    fn look_for_overdue(&mut self, now: u64) {
        if now.saturating_sub(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        if self.levels.values().all(|level| level.has_seat(self.free)) {
            return;
        }
        let is_overdue =
            |place: &Place| place.step.has_seat() && now.saturating_sub(place.seated) > COUNTS;
        let all = self.places.iter().filter(|(_, place)| is_overdue(place));
        let mut overdue: Vec<Ticket> = all.map(|(ticket, _)| *ticket).collect();
        overdue.sort_unstable();
        for ticket in overdue {
            let Some(mut place) = self.places.remove(&ticket) else { continue };
            self.release(&place, ticket, now);
            if place.step == Step::Seated {
                let figures = figures(&mut self.figures, &place.level, &place.schema);
                figures.waiting = figures.waiting.saturating_sub(1);
                figures.executing += 1;
                self.granted.push(ticket);
            }
            place.step = Step::Uncounted;
            self.places.insert(ticket, place);
        }
        self.settle(now);
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> i64 {
        self.free
    }

    #[cfg(test)]
    pub(crate) fn computing(&self) -> usize {
        self.computing.len()
    }

    #[cfg(test)]
    pub(crate) fn turns(&self) -> (usize, usize) {
        self.turns.counts()
    }
}

fn figures<'a>(
    all: &'a mut BTreeMap<(Name, Name), Figures>,
    level: &Name,
    schema: &Name,
) -> &'a mut Figures {
    all.entry((Name::clone(level), Name::clone(schema))).or_default()
}
