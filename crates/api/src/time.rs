//! Times that users' numbers lead to: saturating, since any number may be written.

use jiff::{SignedDuration, Timestamp};

/// The time `seconds` after `time`, or before it when negative; the end or the beginning of all
/// times when it lies beyond them.
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    let beyond = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_seconds_leads_out_of_time() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(after(now, 60).to_string(), "2026-01-01T00:01:00Z");
        assert_eq!(after(now, i64::MAX), Timestamp::MAX);
        assert_eq!(after(now, i64::MIN), Timestamp::MIN);
    }
}
