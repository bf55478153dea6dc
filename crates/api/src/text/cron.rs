//! Schedules of cron: five fields, or a word such as `@daily`. What they mean, and their errors, are
//! those of the parser that upstream uses (`robfig/cron`).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil};

use super::spans;

/// What a field may hold: least, most, and names from `least` on.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &DAYS },
];
/// Words, and the fields that they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A schedule that names no time within so many years names none.
const YEARS_MAX: i16 = 5;

/// The numbers that a field names, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it is a bare star: then it says nothing about days.
    is_any: bool,
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits & (1_u64 << number.min(63)) != 0)
    }
}

/// When something is to happen, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes whose time of the day and date have these numbers.
    Fields(Fields),
    /// So long after the last time.
    Every(SignedDuration),
}

/// Minute, hour, day of the month, month, day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields([Field; 5]);

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(schedule: &str) -> Result<Self, String> {
        let text = without_zone(schedule)?;
        if text.starts_with('@') {
            return word(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = *fields.as_slice() else {
            let shown = fields.join(" ");
            return Err(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        Ok(Self::Fields(Fields([
            field(minute, minutes)?,
            field(hour, hours)?,
            field(day, days)?,
            field(month, months)?,
            field(weekday, weekdays)?,
        ])))
    }

    /// The first time after `time`; `None` when there is none within five years. A time of the day
    /// that a change of clocks skips does not happen.
    pub fn next(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let whole = Timestamp::from_second(time.as_second()).ok()?;
                whole.checked_add(*period).ok()
            }
            Self::Fields(fields) => fields.next(time, zone),
        }
    }

    /// The last time after `time` and not after `now`.
    pub fn latest(&self, time: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let due = |second: i64| {
            let next = self.next(Timestamp::from_second(second).ok()?, zone)?;
            (next <= now).then_some(next)
        };
        let (mut known, mut beyond) = (time.as_second(), now.as_second());
        let mut latest = self.next(time, zone).filter(|next| *next <= now)?;
        // From some second on the next time lies beyond `now`: that second is searched.
        while beyond.saturating_sub(known) > 1 {
            let middle = known.midpoint(beyond);
            match due(middle) {
                Some(next) => (known, latest) = (middle, next),
                None => beyond = middle,
            }
        }
        Some(latest)
    }
}

impl Fields {
    fn next(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let Self([minute, hour, _, month, _]) = self;
        let last_year = time.to_zoned(zone.clone()).year().saturating_add(YEARS_MAX);
        let mut at = next_multiple(time, 60)?.to_zoned(zone.clone());
        while at.year() <= last_year {
            if !month.has(at.month()) {
                at = start_of(at.date().first_of_month().checked_add(1.month()).ok()?, zone)?;
            } else if !self.has_day(&at) {
                at = start_of(at.date().tomorrow().ok()?, zone)?;
            } else if !hour.has(at.hour()) {
                let minutes = i64::from(60_i8.saturating_sub(at.minute()));
                at = at.checked_add(SignedDuration::from_secs(minutes.saturating_mul(60))).ok()?;
            } else if !minute.has(at.minute()) {
                at = at.checked_add(SignedDuration::from_secs(60)).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    /// Either day will do, unless one of them is any.
    fn has_day(&self, at: &Zoned) -> bool {
        let Self([_, _, day, _, weekday]) = self;
        let of_month = day.has(at.day());
        let of_week = weekday.has(at.weekday().to_sunday_zero_offset());
        if day.is_any || weekday.is_any { of_month && of_week } else { of_month || of_week }
    }
}

fn start_of(date: civil::Date, zone: &TimeZone) -> Option<Zoned> {
    date.to_zoned(zone.clone()).ok()
}

/// The first whole multiple of `seconds` after `time`.
fn next_multiple(time: Timestamp, seconds: i64) -> Option<Timestamp> {
    let whole = time.as_second().checked_div_euclid(seconds)?;
    Timestamp::from_second(whole.saturating_add(1).saturating_mul(seconds)).ok()
}

/// The time zone of this name, from the data that the binary carries; UTC for none.
pub fn zone(name: Option<&str>) -> Option<TimeZone> {
    match name {
        None => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    }
}

fn without_zone(schedule: &str) -> Result<&str, String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_string());
    }
    let has_zone = ["TZ=", "CRON_TZ="].iter().any(|prefix| schedule.starts_with(prefix));
    Ok(match schedule.split_once(' ') {
        Some((_, rest)) if has_zone => rest.trim(),
        _ => schedule,
    })
}

fn word(text: &str) -> Result<Schedule, String> {
    if let Some((_, fields)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Schedule::parse(fields);
    }
    let Some(every) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    let period = spans::nanoseconds(every).map(SignedDuration::from_nanos).ok_or_else(|| {
        format!("failed to parse duration {text}: time: invalid duration {every:?}")
    })?;
    // Less than a second is a second, and parts of one are dropped.
    Ok(Schedule::Every(SignedDuration::from_secs(period.as_secs().max(1))))
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut all = Field { bits: 0, is_any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let one = range(part, bounds)?;
        all = Field { bits: all.bits | one.bits, is_any: all.is_any || one.is_any };
    }
    Ok(all)
}

fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts.first().map(|part| part.split('-').collect()).unwrap_or_default();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [one] => {
            let number = number_or_name(one, bounds)?;
            (number, number)
        }
        [from, to] => (number_or_name(from, bounds)?, number_or_name(to, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = bounds.max;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        let min = bounds.min;
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let places = usize::try_from(step).unwrap_or(usize::MAX);
    let bits =
        (start..=end).step_by(places).fold(0, |bits, number| bits | (1_u64 << number.min(63)));
    let is_star = matches!(ends.as_slice(), ["*" | "?", ..]);
    Ok(Field { bits, is_any: is_star && step == 1 })
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    let index = bounds.names.iter().position(|name| *name == lower);
    match index.and_then(|index| u32::try_from(index).ok()) {
        Some(index) => Ok(bounds.min + index),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let fails = |why: &str| {
        Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}"))
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return fails("invalid syntax");
    }
    match text.parse::<i64>() {
        Err(_) => fails("value out of range"),
        Ok(number @ ..0) => Err(format!("negative number ({number}) not allowed: {text}")),
        // More than any field holds is more than it holds.
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_told_from_what_is_none() {
        for good in ["*/5 * * * *", "0 0 1 jan mon-fri", "@daily", "@every 1h30m", "1,2,3 0 * * ?"]
        {
            assert_eq!(Schedule::parse(good).map(drop), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            (
                "*/5 * * * *x",
                "failed to parse int from *x: strconv.Atoi: parsing \"*x\": invalid syntax",
            ),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(Schedule::parse(bad), Err(why.to_string()), "{bad}");
        }
    }

    fn next(schedule: &str, after: &str, zone: &str) -> Option<String> {
        let zone = super::zone(Some(zone)).unwrap();
        let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone);
        next.map(|at| at.to_string())
    }

    #[test]
    fn the_next_time_is_the_first_that_fits() {
        for (schedule, after, expected) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"),
            ("5/20 * * * *", "2026-01-01T00:06:00Z", "2026-01-01T00:25:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Either day, as neither is any; both, as one is.
            ("0 0 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 */2 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("@hourly", "2026-12-31T23:30:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1m30s", "2026-01-01T00:00:00.9Z", "2026-01-01T00:01:30Z"),
        ] {
            assert_eq!(next(schedule, after, "UTC").as_deref(), Some(expected), "{schedule}");
        }
        assert_eq!(next("59 23 31 2 *", "2026-01-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn clocks_that_are_changed_skip_and_repeat() {
        let zone = "America/New_York";
        // On 8 March 2026 two o'clock does not happen.
        let skipped = next("30 2 * * *", "2026-03-08T00:00:00-05:00", zone);
        assert_eq!(skipped.as_deref(), Some("2026-03-09T06:30:00Z"));
        // On 1 November one o'clock happens twice, and so does what happens every hour.
        let first = next("0 * * * *", "2026-11-01T04:30:00Z", zone).unwrap();
        let second = next("0 * * * *", &first, zone);
        assert_eq!(
            (first.as_str(), second.as_deref()),
            ("2026-11-01T05:00:00Z", Some("2026-11-01T06:00:00Z"))
        );
    }

    #[test]
    fn the_latest_time_is_found_without_counting() {
        let latest = |schedule: &str, since: &str, now: &str| {
            let schedule = Schedule::parse(schedule).unwrap();
            let latest =
                schedule.latest(since.parse().unwrap(), now.parse().unwrap(), &TimeZone::UTC);
            latest.map(|at| at.to_string())
        };
        let (since, now) = ("1996-01-01T00:00:00Z", "2026-06-01T12:00:30Z");
        assert_eq!(latest("* * * * *", since, now).as_deref(), Some("2026-06-01T12:00:00Z"));
        assert_eq!(latest("0,1 0 1 1 *", since, now).as_deref(), Some("2026-01-01T00:01:00Z"));
        assert_eq!(latest("* * * * *", "2026-06-01T12:00:00Z", now), None);
        assert_eq!(latest("0 0 1 7 *", "2026-01-01T00:00:00Z", now), None);
    }
}
