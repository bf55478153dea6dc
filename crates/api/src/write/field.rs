//! Errors of validation: which field, what is wrong with it, in upstream's words.

use std::fmt;

/// What is wrong with a field. Texts and reasons are those of
/// `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The field must have a value.
    Required,
    /// The value (rendered as JSON) does not fit.
    Invalid(String),
    /// The value is not one of those supported.
    NotSupported {
        /// The value, rendered as JSON.
        value: String,
        /// What would have been accepted, in upstream's order.
        supported: Vec<String>,
    },
    /// The field may not be set or changed here.
    Forbidden,
    /// The value (rendered as JSON) occurs twice.
    Duplicate(String),
    /// The object that the value names does not exist.
    NotFound(String),
    /// The value has more than so many bytes or items.
    TooLong(usize),
    /// There are so many items (first) and may be so many (second).
    TooMany(usize, usize),
    /// The value has a wrong JSON type.
    TypeInvalid(String),
    /// The server failed.
    Internal,
}

/// One error of validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the object: `spec.template.spec.containers[0].name`.
    pub field: String,
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// The rest of the sentence; may be empty.
    pub detail: String,
}

impl FieldError {
    /// `FIELD: Required value: DETAIL`
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), kind: FieldErrorKind::Required, detail: detail.into() }
    }

    /// `FIELD: Invalid value: VALUE: DETAIL`
    pub fn invalid(
        field: impl Into<String>,
        value: &serde_json::Value,
        detail: impl Into<String>,
    ) -> Self {
        let kind = FieldErrorKind::Invalid(value.to_string());
        Self { field: field.into(), kind, detail: detail.into() }
    }

    /// `FIELD: Forbidden: DETAIL`
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), kind: FieldErrorKind::Forbidden, detail: detail.into() }
    }

    /// `FIELD: Duplicate value: VALUE`
    pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> Self {
        let kind = FieldErrorKind::Duplicate(value.to_string());
        Self { field: field.into(), kind, detail: String::new() }
    }

    /// `FIELD: Unsupported value: VALUE: supported values: "A", "B"`
    pub fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        Self::not_supported_json(field, &value.into(), supported)
    }

    /// As [`FieldError::not_supported`], of a value that is no text.
    pub fn not_supported_json(
        field: impl Into<String>,
        value: &serde_json::Value,
        supported: &[&str],
    ) -> Self {
        let supported = supported.iter().map(|s| (*s).to_string()).collect();
        let kind = FieldErrorKind::NotSupported { value: value.to_string(), supported };
        Self { field: field.into(), kind, detail: String::new() }
    }

    /// The error without its field, as in `details.causes[].message`.
    pub fn message(&self) -> String {
        let head = match &self.kind {
            FieldErrorKind::Required => "Required value".to_string(),
            // A value that is too large to show.
            FieldErrorKind::Invalid(value) if value.is_empty() => "Invalid value".to_string(),
            FieldErrorKind::Duplicate(value) if value.is_empty() => "Duplicate value".to_string(),
            FieldErrorKind::Invalid(value) => format!("Invalid value: {value}"),
            FieldErrorKind::NotSupported { value, supported } => {
                let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
                format!("Unsupported value: {value}: supported values: {}", list.join(", "))
            }
            FieldErrorKind::Forbidden => "Forbidden".to_string(),
            FieldErrorKind::Duplicate(value) => format!("Duplicate value: {value}"),
            FieldErrorKind::NotFound(value) => format!("Not found: {value}"),
            FieldErrorKind::TooLong(max) => format!("Too long: may not be more than {max} bytes"),
            FieldErrorKind::TooMany(n, max) => {
                format!("Too many: {n}: must have at most {max} items")
            }
            FieldErrorKind::TypeInvalid(value) => format!("Invalid value: {value}"),
            FieldErrorKind::Internal => "Internal error".to_string(),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }

    /// All of `errors` in one sentence: `[A, B]`, or one alone.
    pub fn list(errors: &[Self]) -> String {
        match errors {
            [one] => one.to_string(),
            many => {
                let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
                format!("[{}]", texts.join(", "))
            }
        }
    }

    /// `details.causes[].reason`.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid(_) => "FieldValueInvalid",
            FieldErrorKind::NotSupported { .. } => "FieldValueNotSupported",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::Duplicate(_) => "FieldValueDuplicate",
            FieldErrorKind::NotFound(_) => "FieldValueNotFound",
            FieldErrorKind::TooLong(_) => "FieldValueTooLong",
            FieldErrorKind::TooMany(..) => "FieldValueTooMany",
            FieldErrorKind::TypeInvalid(_) => "FieldValueTypeInvalid",
            FieldErrorKind::Internal => "InternalError",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}
