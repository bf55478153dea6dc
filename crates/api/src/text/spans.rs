//! Spans of time as Go writes them: `1h30m`, `-1.5s`. As its `time.ParseDuration`.

const SECOND: i64 = 1_000_000_000;

/// A span as Go writes it, `1h30m` or `-1.5s`, in nanoseconds.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        total = total.checked_add(amount(number, unit)?)?;
        rest = after;
    }
    i64::try_from(total.checked_mul(sign)?).ok()
}

/// `number` of `unit` nanoseconds.
fn amount(number: &str, unit: i64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let unit = i128::from(unit);
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = fraction.get(..fraction.len().min(15))?;
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h30m", Some(5400 * super::SECOND)),
            ("-1.5s", Some(-1_500_000_000)),
            ("+2m", Some(120 * super::SECOND)),
            ("1.000000001s", Some(1_000_000_001)),
            ("3ms2us1ns", Some(3_002_001)),
            (".5s", Some(500_000_000)),
            ("1µs", Some(1000)),
            ("2562047h47m16.854775807s", Some(i64::MAX)),
            ("2562047h47m16.854775808s", None),
            ("", None),
            ("-", None),
            ("1", None),
            ("1d", None),
            ("1..5s", None),
            (".s", None),
            ("1 s", None),
        ] {
            assert_eq!(nanoseconds(text), nanos, "{text}");
        }
    }
}
