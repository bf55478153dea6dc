//! What time it is, for a worker: by the clock, which people and programs set, and by one that
//! nobody sets.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A difference between both clocks that is no jump yet; and its share of the time that has passed,
/// as a clock that is slewed runs at most half a thousandth too fast or too slow.
const SLACK: SignedDuration = SignedDuration::from_millis(250);
const SLEWED: i32 = 1000;

/// One moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day.
    pub clock: Timestamp,
    /// Since whenever.
    pub steady: Duration,
}

impl Moment {
    /// By how much the clock was set since `last`: ahead, or back when negative; zero if it was not.
    pub(super) fn jump_since(self, last: Self) -> SignedDuration {
        let passed = self.steady.saturating_sub(last.steady);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let shown = self.clock.duration_since(last.clock);
        let jump = shown.saturating_sub(passed);
        let slack = SLACK.saturating_add(passed.checked_div(SLEWED).unwrap_or_default());
        if jump.abs() > slack { jump } else { SignedDuration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_jumps_and_one_that_is_slewed_does_not() {
        let moment = |clock: i64, steady: u64| Moment {
            clock: Timestamp::from_millisecond(clock).unwrap(),
            steady: Duration::from_millis(steady),
        };
        let jump = |clock, steady| moment(clock, steady).jump_since(moment(0, 0)).as_millis();
        assert_eq!(jump(1_000, 1_000), 0);
        assert_eq!(jump(61_000, 1_000), 60_000);
        assert_eq!(jump(-59_000, 1_000), -60_000);
        assert_eq!(jump(86_440_000, 86_400_000), 0, "slewed for a day");
    }
}
