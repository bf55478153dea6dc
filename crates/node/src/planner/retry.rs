//! What failed and is tried again: when.

use jiff::{SignedDuration, Timestamp};

/// First delay before something that failed is tried again, and the longest.
pub(super) const BACKOFF_SECONDS: (u32, u32) = (10, 300);

/// A failure that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What went wrong.
    pub message: String,
    /// When to try again.
    pub at: Timestamp,
    /// Seconds waited this time.
    pub delay: u32,
}

/// `seconds` after `time`; the end of time when that is out of range.
pub(crate) fn after(time: Timestamp, seconds: u32) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

/// The next try, twice as long after this one as this one was after the last, within `bounds`.
pub(super) fn retry(
    last: Option<&Retry>,
    bounds: (u32, u32),
    message: String,
    now: Timestamp,
) -> Retry {
    let delay = last.map_or(bounds.0, |last| (last.delay * 2).min(bounds.1));
    Retry { message, at: after(now, delay), delay }
}
