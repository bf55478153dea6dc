//! Moments and spans of time, as text.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;

pub(crate) const MILLI: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1000 * MILLI;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// The time of the day at `time` in a zone: by its name, or by its distance, `-08:00`.
pub(crate) fn local(time: DateTime, name: &str) -> Option<DateTime> {
    if matches!(name, "" | "UTC") {
        return Some(time);
    }
    if name.contains(':') {
        return time.checked_add(distance(name)?).ok();
    }
    let zone = TimeZone::get(name).ok()?;
    let moment = time.to_zoned(TimeZone::UTC).ok()?;
    Some(moment.with_time_zone(zone).datetime())
}

/// How far a zone is ahead: `-08:00`, `+02:30`, `02:00`.
fn distance(text: &str) -> Option<SignedDuration> {
    let (hours, minutes) = text.split_once(':')?;
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let hours: i64 = hours.trim_start_matches(['-', '+']).parse().ok()?;
    let minutes: i64 = minutes.parse().ok()?;
    let is_right = (0..24).contains(&hours) && (0..60).contains(&minutes);
    is_right.then(|| SignedDuration::from_secs(sign * (hours * 3600 + minutes * 60)))
}

/// A moment so many seconds after the start of 1970.
pub(crate) fn from_seconds(seconds: i64) -> Option<DateTime> {
    let moment = EPOCH.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    is_within(moment).then_some(moment)
}

/// Seconds from the start of 1970 to `moment`.
pub(crate) fn to_seconds(moment: DateTime) -> i64 {
    let since = moment.duration_since(EPOCH);
    since.as_secs() - i64::from(since.subsec_nanos() < 0)
}

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Whether a moment is in the years 1 to 9999.
pub(crate) fn is_within(moment: DateTime) -> bool {
    moment.year() >= 1
}

/// A moment as RFC 3339 writes it, in UTC.
pub(crate) fn parse_instant(text: &str) -> Option<DateTime> {
    let shape = text.as_bytes();
    if shape.len() < 20 || !matches!(shape.get(10), Some(b'T' | b't')) {
        return None;
    }
    let (local, behind) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, SignedDuration::ZERO),
        None => {
            let at = text.len().checked_sub(6)?;
            let (local, zone) = (text.get(..at)?, text.get(at..)?);
            zone.starts_with(['+', '-']).then_some(())?;
            (local, distance(zone)?)
        }
    };
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"-:.Tt".contains(&byte);
    if !local.bytes().all(is_plain) || local.len() < 19 {
        return None;
    }
    let local: DateTime = local.parse().ok()?;
    let moment = local.checked_sub(behind).ok()?;
    is_within(moment).then_some(moment)
}

/// A moment, or a day.
pub(crate) fn parse_moment(text: &str) -> Option<DateTime> {
    if text.len() == 10 {
        return parse_instant(&format!("{text}T00:00:00Z"));
    }
    parse_instant(text)
}

/// A span in seconds: `1.5s`.
pub(crate) fn seconds(nanos: i64) -> String {
    let (whole, part) = (
        nanos.unsigned_abs() / SECOND.unsigned_abs(),
        nanos.unsigned_abs() % SECOND.unsigned_abs(),
    );
    let sign = if nanos < 0 { "-" } else { "" };
    if part == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{part:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}
