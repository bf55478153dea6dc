//! The words for a body that cannot be read, as clients know them from Go's decoders.

use std::fmt::Display;

use coracle_api::patch::json::type_name;
use coracle_api::{Kind, Status, hex};
use serde_json::Value;

/// How much of the body is shown.
const SHOWN: usize = 30;

/// How serde_json begins what Go says in other words.
const PHRASES: [(&str, &str); 10] = [
    ("expected value", "looking for beginning of value"),
    ("expected ident", "looking for beginning of value"),
    ("trailing comma", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
];

/// `bytes` are no object that could be of `kind`, because of `error`.
pub(crate) fn object(kind: &Kind, bytes: &[u8], error: impl Display) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {error} ({})",
        kind.kind,
        summary(bytes)
    ))
}

/// Why `value`, which is no map, is no object.
pub(crate) fn no_object(value: &Value) -> String {
    format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of \
         type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
         \"json:\\\"kind,omitempty\\\"\" }}",
        type_name(value)
    )
}

/// Why `value` does not even say of which type it is.
pub(crate) fn unversioned(value: &Value) -> Option<String> {
    if !matches!(value, Value::Null | Value::Object(_)) {
        return Some(no_object(value));
    }
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    (version.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {version}"))
}

/// What is wrong with `bytes`, which are no JSON.
pub(crate) fn json(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let text = error.to_string();
    let phrase = PHRASES.iter().find(|(begin, _)| text.starts_with(begin));
    match (phrase, at(bytes, error)) {
        (Some((_, phrase)), Some(byte)) => {
            // Go takes the byte for a character, and shows a double quote as it is.
            let shown = match byte {
                b'"' => "\"".to_owned(),
                0..0x80 => byte.escape_ascii().to_string(),
                _ => char::from(byte).to_string(),
            };
            format!("invalid character '{shown}' {phrase}")
        }
        _ => text,
    }
}

/// The byte at which `error` was noticed.
fn at(bytes: &[u8], error: &serde_json::Error) -> Option<u8> {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    line.get(error.column().checked_sub(1)?).copied()
}

/// The begin of `bytes`: as text when they may be JSON, else as hexadecimal digits.
fn summary(bytes: &[u8]) -> String {
    let (begin, more) = match bytes.get(..SHOWN) {
        Some(begin) if bytes.len() > SHOWN => (begin, " ..."),
        _ => (bytes, ""),
    };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(begin).into_owned() + more,
        Some(_) => hex(begin) + more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_json_is_named_as_go_names_it() {
        let check = |bytes: &[u8], expected: &str| {
            let error = crate::pipeline::content::json::parse(bytes).err().unwrap();
            assert_eq!(json(bytes, &error), expected);
        };
        check(b"", "unexpected end of JSON input");
        check(b"{\"a\":", "unexpected end of JSON input");
        check(b"nonsense", "invalid character 'o' looking for beginning of value");
        check(b"<xml>", "invalid character '<' looking for beginning of value");
        check(b"{\"a\" 1}", "invalid character '1' after object key");
        check(b"{\"a\": 1 \"b\": 2}", "invalid character '\"' after object key:value pair");
        check(b"{a: 1}", "invalid character 'a' looking for beginning of object key string");
        check(b"[1 2]", "invalid character '2' after array element");
        check(b"{}\n x", "invalid character 'x' after top-level value");
        check(b"\xff", "invalid character 'ÿ' looking for beginning of value");
    }

    #[test]
    fn a_body_is_shown_by_its_begin() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{\"a\""), "{\"a\"");
        assert_eq!(summary(&[b'{'; 31]), format!("{} ...", "{".repeat(30)));
        assert_eq!(summary(b"\x00\xff"), "00ff");
    }
}
