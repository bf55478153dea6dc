//! Whether a text is a schedule of cron: five fields, or a word such as `@daily`. Errors are those
//! of the parser that upstream uses (`robfig/cron`).

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
const WORDS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule.
///
/// # Errors
/// What is wrong with it.
pub fn check(schedule: &str) -> Result<(), String> {
    let text = without_zone(schedule)?;
    if text.starts_with('@') {
        return word(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Err(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(text, bounds)| field(text, bounds))
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

fn word(text: &str) -> Result<(), String> {
    if WORDS.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => {
            Err(format!("failed to parse duration {text}: time: invalid duration {duration:?}"))
        }
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// A duration as Go writes one: `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if number.len() == rest.len() {
            return false;
        }
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|unit| number.starts_with(unit))
            .max_by_key(|unit| unit.len());
        let Some(unit) = unit else { return false };
        rest = number.strip_prefix(unit).unwrap_or_default();
    }
    !text.is_empty()
}

fn field(text: &str, bounds: &Bounds) -> Result<(), String> {
    text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, bounds))
}

fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
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
    Ok(())
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
    use super::check;

    #[test]
    fn schedules_are_told_from_what_is_none() {
        for good in ["*/5 * * * *", "0 0 1 jan mon-fri", "@daily", "@every 1h30m", "1,2,3 0 * * ?"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
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
            assert_eq!(check(bad), Err(why.to_string()), "{bad}");
        }
    }
}
