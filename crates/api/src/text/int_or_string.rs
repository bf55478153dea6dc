//! `intstr.IntOrString`: a number, or a percentage, or the name of a port.

use serde_json::Value;

/// A JSON number or string, as `targetPort` and `maxUnavailable` take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A name or a percentage.
    String(String),
}

/// Why a value cannot be scaled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// The string does not end in `%`.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotAPercentage,
    /// What stands before the `%` is no number.
    #[error(
        "invalid value for IntOrString: invalid value {0:?}: strconv.Atoi: parsing {1:?}: invalid syntax"
    )]
    NotANumber(String, String),
}

impl IntOrString {
    /// Reads the JSON form; `None` for other types and for numbers beyond 32 bits.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => Some(Self::Int(i32::try_from(n.as_i64()?).ok()?)),
            Value::String(s) => Some(Self::String(s.clone())),
            _ => None,
        }
    }

    /// The percentage, when it is one.
    pub fn percent(&self) -> Option<i32> {
        match self {
            Self::Int(_) => None,
            Self::String(text) => text.strip_suffix('%')?.parse().ok(),
        }
    }

    /// The number, or the percentage of `total`, rounded up or down to a whole.
    ///
    /// # Errors
    /// When the string is no percentage.
    pub fn scaled(&self, total: i32, round_up: bool) -> Result<i32, ScaleError> {
        let text = match self {
            Self::Int(n) => return Ok(*n),
            Self::String(text) => text,
        };
        let digits = text.strip_suffix('%').ok_or(ScaleError::NotAPercentage)?;
        let percent: i32 =
            digits.parse().map_err(|_| ScaleError::NotANumber(text.clone(), digits.to_string()))?;
        let hundredths = i64::from(percent) * i64::from(total);
        let whole = if round_up {
            hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) != 0)
        } else {
            hundredths.div_euclid(100)
        };
        Ok(i32::try_from(whole).unwrap_or(i32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_percentage_is_of_something() {
        let quarter = IntOrString::from_json(&json!("25%")).unwrap();
        assert_eq!(quarter.scaled(10, false), Ok(2));
        assert_eq!(quarter.scaled(10, true), Ok(3));
        assert_eq!(IntOrString::from_json(&json!(4)).unwrap().scaled(10, true), Ok(4));
        assert_eq!(
            IntOrString::String("http".into()).scaled(1, true),
            Err(ScaleError::NotAPercentage)
        );
        assert_eq!(IntOrString::from_json(&json!(1.5)), None);
    }
}
