//! A priority level: how many of its requests may run at once, and in which queues others wait.

use super::hand;
use super::queue::FairQueue;
use super::{Name, Ticket};

/// A PriorityLevelConfiguration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LevelSpec {
    pub(crate) name: Name,
    /// `nominalConcurrencyShares`
    pub(crate) shares: u32,
    /// `lendablePercent`
    pub(crate) lendable: u32,
    /// `borrowingLimitPercent`
    pub(crate) borrowing: Option<u32>,
    pub(crate) response: Response,
}

/// What becomes of requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Response {
    /// There are none: nobody needs a seat.
    Exempt,
    /// They are refused.
    Reject,
    /// They wait in one of `hand` queues, unless the shortest of these has so many already.
    Queue { queues: u32, hand: u32, longest: usize },
}

/// How many seats a level has: by its shares, when it has lent all it may, and when it has borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) nominal: i64,
    pub(crate) lower: i64,
    pub(crate) upper: i64,
}

impl Limits {
    /// Of one that is gone, whose last requests run on what others leave.
    pub(crate) const GONE: Self = Self { nominal: 0, lower: 0, upper: i64::MAX };

    /// Of a level that has `spec.shares` of all `shares` in `seats`; rounded as upstream does.
    pub(crate) fn of(spec: &LevelSpec, shares: u64, seats: i64) -> Self {
        let part = |amount: i64, of: i64| (amount.saturating_mul(of).saturating_add(50)) / 100;
        let shares = i64::try_from(shares.max(1)).unwrap_or(i64::MAX);
        let wanted = seats.saturating_mul(i64::from(spec.shares));
        let nominal = wanted.saturating_add(shares - 1) / shares;
        let lent = part(nominal, i64::from(spec.lendable.min(100)));
        let borrowed = spec.borrowing.map_or(seats, |percent| part(nominal, percent.into()));
        Self { nominal, lower: nominal - lent, upper: nominal.saturating_add(borrowed) }
    }
}

/// A level at work.
pub(crate) struct Level {
    pub(crate) response: Response,
    pub(crate) limits: Limits,
    /// Requests that have a seat.
    pub(crate) seated: i64,
    pub(crate) queues: FairQueue<u32, Ticket>,
    /// How many were dealt a hand so far.
    dealt: usize,
    /// Whether there is no object for it any more.
    pub(crate) is_gone: bool,
}

impl Level {
    pub(crate) fn new(response: Response) -> Self {
        let (limits, queues) = (Limits::default(), FairQueue::default());
        Self { response, limits, seated: 0, queues, dealt: 0, is_gone: false }
    }

    /// How many seats of all are kept for it: those that it uses, and those that it never lends.
    pub(crate) fn kept(&self) -> i64 {
        self.seated.max(self.limits.lower)
    }

    /// Whether one more may have a seat when `free` are nobody's.
    pub(crate) fn has_seat(&self, free: i64) -> bool {
        self.seated < self.limits.lower || (self.seated < self.limits.upper && free > 0)
    }

    /// Who comes first for a seat: whoever has fewest of what it should have.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        let used = |a: &Self, b: &Self| a.seated.saturating_mul(b.limits.nominal.max(1));
        used(self, other) < used(other, self)
    }

    /// The shortest queue of a flow's hand. Which of those that are as short is another every time,
    /// so that a hand that two flows share in part is not a preference.
    pub(crate) fn queue(&mut self, flow: u64, queues: u32, hand: u32) -> u32 {
        let mut hand = hand::deal(flow, queues, hand);
        let first = self.dealt % hand.len().max(1);
        self.dealt = self.dealt.wrapping_add(1);
        hand.rotate_left(first);
        hand.into_iter().min_by_key(|queue| self.queues.waiting_in(queue)).unwrap_or_default()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.seated == 0 && self.queues.waiting() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(shares: u32, lendable: u32, borrowing: Option<u32>) -> (i64, i64, i64) {
        let response = Response::Reject;
        let spec = LevelSpec { name: "l".into(), shares, lendable, borrowing, response };
        let limits = Limits::of(&spec, 245, 600);
        (limits.nominal, limits.lower, limits.upper)
    }

    /// What `apiserver_flowcontrol_{nominal,lower,upper}_limit_seats` says upstream of its defaults.
    #[test]
    fn seats_are_shared_out_as_upstream_does() {
        assert_eq!(limits(5, 0, None), (13, 13, 613));
        assert_eq!(limits(30, 33, None), (74, 50, 674));
        assert_eq!(limits(40, 25, None), (98, 73, 698));
        assert_eq!(limits(100, 90, None), (245, 24, 845));
        assert_eq!(limits(20, 50, Some(0)), (49, 24, 49));
        assert_eq!(limits(0, 0, Some(100)), (0, 0, 0));
        assert_eq!(limits(u32::MAX, 100, Some(u32::MAX)).1, 0);
    }

    #[test]
    fn a_flow_waits_where_fewest_do() {
        let mut level = Level::new(Response::Reject);
        for ticket in 0..60 {
            let queue = level.queue(12345, 64, 6);
            level.queues.push(queue, ticket);
        }
        assert!(level.queues.busy().all(|(_, waiting, ..)| waiting == 10));
        assert_eq!(level.queues.busy().count(), 6);
    }
}
