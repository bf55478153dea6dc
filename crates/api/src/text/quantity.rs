//! `resource.Quantity`: exact decimal amounts with SI and binary suffixes.
//!
//! Upstream counts in arbitrary precision. Here the mantissa has at most 38 decimal digits, which
//! is more than any quantity with a suffix can show.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// Which suffixes a quantity is written with. It is remembered from the text that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `1500m`, `2k`.
    DecimalSi,
    /// `1536Mi`.
    BinarySi,
    /// `12e6`.
    DecimalExponent,
}

/// An exact amount. Equality and order are of the amount: `1 == 1000m`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// Without trailing zeros; 0 only with exponent 0.
    mantissa: i128,
    /// Power of ten, at least -9.
    exponent: i32,
    format: Format,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not look like one.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Form,
    /// The number has too many digits.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The most digits of a mantissa that are sure to fit.
const DIGITS_MAX: usize = 38;
/// No mantissa has more digits: what is smaller by so many places is rounded to one unit.
const DIGITS: i32 = 39;
const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

enum Scale {
    Ten(i32, Format),
    Two(u32),
}

fn scale(suffix: &str) -> Option<Scale> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some(Scale::Ten(*exponent, Format::DecimalSi));
    }
    if let Some(index) = BINARY_SUFFIXES.iter().position(|name| *name == suffix) {
        return Some(Scale::Two(10 * u32::try_from(index).ok()?));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some(Scale::Ten(exponent, Format::DecimalExponent))
}

/// `(whole digits, fraction digits, suffix)` of an unsigned text.
fn split(text: &str) -> Result<(&str, &str, &str), ParseError> {
    let not_digit = |c: char| !c.is_ascii_digit();
    let (whole, rest) = text.split_at(text.find(not_digit).unwrap_or(text.len()));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(not_digit).unwrap_or(rest.len())),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(ParseError::Form);
    }
    let tail = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits.contains(not_digit) { Err(ParseError::Form) } else { Ok((whole, fraction, suffix)) }
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, exponent: 0, format: Format::DecimalSi };

    /// `amount` times ten to the power of `exponent`; beyond nano it is rounded away from zero,
    /// as upstream does.
    fn new(mut amount: i128, mut exponent: i32, format: Format) -> Self {
        if exponent < -9 - DIGITS {
            (amount, exponent) = (amount.signum(), -9);
        }
        while exponent < -9 && amount != 0 {
            let rest = amount % 10;
            amount = amount / 10 + rest.signum();
            exponent += 1;
        }
        while amount != 0 && amount % 10 == 0 {
            amount /= 10;
            exponent = exponent.saturating_add(1);
        }
        Self { mantissa: amount, exponent: if amount == 0 { 0 } else { exponent }, format }
    }

    /// Parses `1`, `1.5Gi`, `500m`, `12e6`.
    ///
    /// # Errors
    /// When `text` is no quantity, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, fraction, suffix) = split(unsigned)?;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        if digits.len() > DIGITS_MAX {
            return Err(ParseError::Number);
        }
        let amount: i128 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i128::MAX) };
        let amount = if text.starts_with('-') { -amount } else { amount };
        let places = i32::try_from(fraction.len()).map_err(|_| ParseError::Number)?;
        match scale(suffix).ok_or(ParseError::Suffix)? {
            Scale::Ten(exponent, format) => {
                Ok(Self::new(amount, exponent.saturating_sub(places), format))
            }
            Scale::Two(shift) => Self::binary(amount, shift, places),
        }
    }

    fn binary(amount: i128, shift: u32, places: i32) -> Result<Self, ParseError> {
        let amount = amount.checked_mul(1 << shift).ok_or(ParseError::Number)?;
        let quantity = Self::new(amount, -places, Format::BinarySi);
        let most = Self::new(i128::from(i64::MAX), 0, Format::BinarySi);
        // Upstream caps what is written in powers of two at 64 bits.
        Ok(if quantity > most { most } else { quantity })
    }

    /// Reads the JSON form: a string or a number.
    ///
    /// # Errors
    /// When it is neither, or no quantity.
    pub fn from_json(value: &Value) -> Result<Self, ParseError> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(ParseError::Form),
        }
    }

    /// `bytes` in binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self::new(i128::from(bytes), 0, Format::BinarySi)
    }

    /// `count` in decimal suffixes.
    pub fn from_count(count: i64) -> Self {
        Self::new(i128::from(count), 0, Format::DecimalSi)
    }

    /// `milli` thousandths: `1500` is `1500m`.
    pub fn from_millis(milli: i64) -> Self {
        Self::new(i128::from(milli), -3, Format::DecimalSi)
    }

    /// `nano` billionths: `250000` is `250u`.
    pub fn from_nanos(nano: i64) -> Self {
        Self::new(i128::from(nano), -9, Format::DecimalSi)
    }

    /// The amount in units of ten to the power of `unit`, rounded up (away from zero), at most
    /// what fits 64 bits.
    fn scaled(self, unit: i32) -> i64 {
        let shift = self.exponent.saturating_sub(unit);
        let amount = if shift >= 0 {
            10_i128
                .checked_pow(shift.unsigned_abs())
                .and_then(|power| self.mantissa.checked_mul(power))
                .unwrap_or(self.mantissa.signum() * i128::MAX)
        } else {
            match 10_i128.checked_pow(shift.unsigned_abs()) {
                Some(power) => self.mantissa / power + (self.mantissa % power).signum(),
                None => self.mantissa.signum(),
            }
        };
        i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whole units, rounded up: bytes of a memory quantity.
    pub fn value(self) -> i64 {
        self.scaled(0)
    }

    /// Thousandths, rounded up: millicores of a CPU quantity.
    pub fn milli_value(self) -> i64 {
        self.scaled(-3)
    }

    /// As a number in the unit in which `resource` is counted: thousandths of `cpu`, else wholes.
    pub fn figure(self, resource: &str) -> i64 {
        if resource == "cpu" { self.milli_value() } else { self.value() }
    }

    /// Whether it has a part that thousandths cannot show.
    pub fn is_finer_than_milli(self) -> bool {
        self.exponent < -3
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i32 {
        i32::try_from(self.mantissa.signum()).unwrap_or(0)
    }

    /// The sum, in the format of `self`; saturates beyond what a mantissa holds.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |q: Self| {
            10_i128
                .checked_pow(q.exponent.abs_diff(exponent))
                .and_then(|power| q.mantissa.checked_mul(power))
                .unwrap_or(q.mantissa.signum() * i128::MAX)
        };
        let format = if self.mantissa == 0 { other.format } else { self.format };
        Self::new(aligned(self).saturating_add(aligned(other)), exponent, format)
    }

    /// The negative amount.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }

    /// How it was written.
    pub fn format(self) -> Format {
        self.format
    }

    /// Decimal digits of the mantissa plus the exponent: where the first digit stands.
    fn magnitude(self) -> i64 {
        let digits = self.mantissa.unsigned_abs().checked_ilog10().map_or(0, |log| log + 1);
        i64::from(digits) + i64::from(self.exponent)
    }

    fn cmp_magnitude(self, other: Self) -> Ordering {
        let order = self.magnitude().cmp(&other.magnitude());
        if order != Ordering::Equal {
            return order;
        }
        // The first digits stand at the same place, so aligning adds at most 38 zeros to few
        // digits: it fits.
        let least = self.exponent.min(other.exponent);
        let aligned = |q: Self| {
            q.mantissa
                .unsigned_abs()
                .saturating_mul(10_u128.saturating_pow(q.exponent.abs_diff(least)))
        };
        aligned(self).cmp(&aligned(other))
    }

    fn decimal_text(self, exponent_form: bool) -> String {
        let shift = self.exponent.rem_euclid(3);
        let exponent = self.exponent - shift;
        let zeros = "0".repeat(usize::try_from(shift).unwrap_or(0));
        let mantissa = self.mantissa;
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, e)| *e == exponent).map(|(name, _)| *name);
        match suffix {
            Some(suffix) if !exponent_form => format!("{mantissa}{zeros}{suffix}"),
            _ if exponent == 0 => format!("{mantissa}{zeros}"),
            _ => format!("{mantissa}{zeros}e{exponent}"),
        }
    }

    fn binary_text(self) -> Option<String> {
        let power = 10_i128.checked_pow(u32::try_from(self.exponent).ok()?)?;
        let mut amount = self.mantissa.checked_mul(power)?;
        if (-1023..=1023).contains(&amount) {
            return None;
        }
        let mut suffixes = BINARY_SUFFIXES.iter();
        let mut suffix = suffixes.next()?;
        while amount % 1024 == 0 {
            let Some(next) = suffixes.next() else { break };
            suffix = next;
            amount /= 1024;
        }
        Some(format!("{amount}{suffix}"))
    }
}

/// The canonical form: no fraction, no precision lost, the largest suffix that allows both.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        let text = match self.format {
            Format::DecimalSi => self.decimal_text(false),
            Format::DecimalExponent => self.decimal_text(true),
            Format::BinarySi => self.binary_text().unwrap_or_else(|| self.decimal_text(false)),
        };
        f.write_str(&text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        (self.mantissa, self.exponent) == (other.mantissa, other.exponent)
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.signum().cmp(&other.signum());
        if sign != Ordering::Equal {
            return sign;
        }
        let order = self.cmp_magnitude(*other);
        if self.signum() < 0 { order.reverse() } else { order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_smaller_than_nano_is_one_nano_however_small() {
        for text in ["1e-10", "7e-99", "1e-2147483647", "0.000000000000000001"] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity, Quantity::parse("1n").unwrap(), "{text}");
        }
    }
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).unwrap().to_string()
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, wanted) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("1.5", "1500m"),
            ("0.1m", "100u"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Mi", "1000Mi"),
            ("0.5Ki", "512"),
            ("12e6", "12e6"),
            ("1e3", "1e3"),
            ("100e2", "10e3"),
            ("-5k", "-5k"),
            ("+5", "5"),
            ("1.", "1"),
            (".5", "500m"),
            ("0.0000000001", "1n"),
            ("8Ei", "9223372036854775807"),
            ("1E", "1E"),
        ] {
            assert_eq!(canonical(text), wanted, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_quantities_say_why() {
        for (text, error) in [
            ("", ParseError::Form),
            ("m", ParseError::Form),
            ("1 G", ParseError::Form),
            ("1.2.3", ParseError::Form),
            ("1KiB", ParseError::Form),
            ("1KK", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("1i", ParseError::Suffix),
        ] {
            assert_eq!(Quantity::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_convert() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert_eq!(parse("1"), parse("1000m"));
        assert_eq!(parse("1Ki"), parse("1024"));
        assert!(parse("1Gi") > parse("1G") && parse("-1") < parse("1m"));
        assert!(parse("1e100") > parse("9E") && parse("-1e100") < parse("-9E"));
        assert_eq!(parse("0.5").milli_value(), 500);
        assert_eq!(parse("100u").milli_value(), 1, "upstream rounds up");
        assert_eq!(parse("64Mi").value(), 67_108_864);
        assert_eq!(parse("1e100").value(), i64::MAX);
        assert_eq!(parse("1Gi").plus(parse("512Mi")).to_string(), "1536Mi");
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_the_same_amount_and_stable(
            amount in any::<i64>(), suffix in 0_usize..17,
        ) {
            let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E",
                "Ki", "Mi", "Gi", "Ti", "e5", "e-3", "E2"];
            let parsed = Quantity::parse(&format!("{amount}{}", suffixes[suffix])).unwrap();
            let again = Quantity::parse(&parsed.to_string()).unwrap();
            prop_assert_eq!(parsed, again);
            prop_assert_eq!(parsed.to_string(), again.to_string());
        }

        #[test]
        fn order_is_that_of_the_numbers(a in any::<i32>(), b in any::<i32>()) {
            let (x, y) = (Quantity::from_millis(a.into()), Quantity::from_millis(b.into()));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.plus(y), Quantity::from_millis(i64::from(a) + i64::from(b)));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[-+]?[0-9.]{0,50}[a-zA-Z0-9+-]{0,12}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _shown = (quantity.to_string(), quantity.value(), quantity.milli_value());
                prop_assert_eq!(quantity.cmp(&quantity), Ordering::Equal);
            }
        }
    }
}
